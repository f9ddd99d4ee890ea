"""What the paper measured, measured again: plan, runs, tables."""
