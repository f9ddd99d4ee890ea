"""What `experiments.pretrain_tiny` is made of: images, simulated clicks, names; a recipe a model; held-out scores."""
