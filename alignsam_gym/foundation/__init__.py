"""The frozen models, SAM and CLIP, and what they make of images."""

from alignsam_gym.foundation.postponed_import import postpone_import

postpone_import("segment_anything")  # its predictor imports torchvision, which takes as long as PyTorch
