"""Measuring prompting strategies on a test set: playing, scores that survive an interruption, intervals over seeds."""
