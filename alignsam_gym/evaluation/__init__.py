"""Measuring prompting strategies and baselines on a test set, and the tables and files of what was measured."""
