"""What the page of experiments.report is made of."""
