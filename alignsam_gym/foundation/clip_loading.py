"""Loads a CLIP by its name. The embedded one comes without ``open_clip``, whose import takes seconds."""

from __future__ import annotations

import torch

from alignsam_gym.foundation.clip_model import ClipModel
from alignsam_gym.foundation.devices import resolve_device
from alignsam_gym.foundation.sam.official_checkpoints import file_digest
from alignsam_gym.foundation.tiny import CLIP_WEIGHTS
from alignsam_gym.foundation.tiny.tiny_clip import EmbeddedClip, load_tiny_clip


@torch.random.fork_rng(devices=[])  # building draws initial weights, which would change what its user draws
def load_clip(name: str, device: str | torch.device = "auto") -> ClipModel:
    """Load a CLIP by its name.

    Args:
        name: ``tiny`` for the embedded CLIP, or ``ARCHITECTURE/WEIGHTS`` for a ViT of ``open_clip``. WEIGHTS is a
            pretrained tag, which ``open_clip`` downloads once into its own cache, or the path of a checkpoint:
            ``ViT-B-16/openai``, ``ViT-B-16-quickgelu/weights/clip.safetensors``, ``ViT-L-14//home/me/clip.pt``. A tag
            determines the activation and the colour normalisation. A file gets those of the architecture, so OpenAI's
            weights need an architecture that ends in ``-quickgelu``. Nothing in a file is executed.
        device: As for `resolve_device`.

    Raises:
        OptionError: The name, model or device cannot be used.
        WeightsError: The weights cannot be downloaded or read, or are another model's.
    """
    if name == "tiny":
        # The file contains the digest of the backbone that it needs, so its own digest covers both.
        return EmbeddedClip(load_tiny_clip(), file_digest(CLIP_WEIGHTS), resolve_device(device))
    from alignsam_gym.foundation.clip_surgery import load_open_clip

    return load_open_clip(name, resolve_device(device))
