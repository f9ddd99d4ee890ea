"""Stable-Baselines3 agents for `AlignSAM-v0`."""
