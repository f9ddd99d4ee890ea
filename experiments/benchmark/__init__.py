"""What `experiments.benchmark` times, one benchmark a file."""
