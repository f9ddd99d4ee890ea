"""What `experiments.pretrain` is made of: images, simulated clicks, names; first weights, recipes, held-out scores."""
