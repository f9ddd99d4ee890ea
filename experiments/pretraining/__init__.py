"""What `experiments.pretrain_tiny` is made of: images and targets, simulated clicks, held-out scores."""
