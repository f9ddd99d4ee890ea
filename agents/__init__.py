"""Stable-Baselines3 agents for `AlignSAM-v0`. `alignsam_gym.AlignSAM` is a trained one, for images without masks."""
