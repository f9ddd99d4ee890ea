"""Every image is encoded once, and its embedding kept on disk."""
