"""Encodes every image once, and keeps its embedding on disk."""
