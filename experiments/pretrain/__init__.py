"""What `experiments.pretrain` is made of: images, simulated clicks, names; a recipe a model; held-out scores."""
