"""The frozen models, SAM and CLIP, and what they make of images."""
