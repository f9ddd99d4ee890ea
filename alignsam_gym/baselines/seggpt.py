"""SegGPT (Wang et al., arXiv 2304.03284): a model that sees labelled examples and paints the next image like them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.baselines.hf_models import load_network
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor

_ADVICE = "Fetch it where there is a network (hf download BAAI/seggpt-vit-large) and give its folder."


class SegGPT:
    """The SegGPT of ``transformers``.

    Args:
        model: A SAM, which plays no part but to name the device.
        checkpoint: A folder with a checkpoint, or the name of one in Hugging Face's cache. Nothing is downloaded.
        examples: How many labelled images are shown, drawn at random. SegGPT averages the features of several.

    Raises:
        OptionError: If ``transformers`` is not installed.
        WeightsError: If the checkpoint is not there, or not whole.
    """

    def __init__(self, model: BatchedSamPredictor, checkpoint: str, examples: int) -> None:
        try:
            from transformers import SegGptForImageSegmentation, SegGptImageProcessor
        except ImportError as error:
            raise OptionError("method=seggpt needs transformers: pip install 'alignsam-gym[baselines]'.") from error
        network = load_network(SegGptForImageSegmentation, checkpoint, "SegGPT", _ADVICE)
        self.device, self.network = model.device, network.to(model.device).eval()
        height, width = network.config.image_size  # of an example above the image
        self.processor: Any = SegGptImageProcessor(size={"height": height // 2, "width": width})
        self.examples = examples

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        """Choose the examples; see `Baseline.fit`."""
        count = min(self.examples, len(shots))
        chosen = sorted(np.random.default_rng(seed).choice(len(shots), count, replace=False).tolist())
        self.images = shots.frames(chosen)
        self.masks = [shots[index].mask.astype(np.uint8) * 255 for index in chosen]

    @torch.no_grad()
    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        """Return how much brighter than grey the B images are painted: float (B, h', w') in [−½, ½]."""
        return torch.stack([self.paint(frame) for frame in samples.frames(indices)])

    def paint(self, frame: np.ndarray) -> Tensor:
        """Paint one image like the examples.

        Args:
            frame: uint8 (S, S, 3), RGB.

        Returns:
            How much brighter than grey each place is painted, float (h', w') in [−½, ½].
        """
        count = len(self.images)
        inputs = self.processor(
            images=[frame] * count, prompt_images=self.images, prompt_masks=self.masks, return_tensors="pt"
        ).to(self.device)
        painted: Tensor = self.network(**inputs, feature_ensemble=count > 1).pred_masks
        painted = painted[0, :, painted.shape[2] // 2 :]  # the upper half is the example's own mask
        mean = torch.tensor(self.processor.image_mean, device=self.device)[:, None, None]
        std = torch.tensor(self.processor.image_std, device=self.device)[:, None, None]
        return (painted * std + mean).clamp(0, 1).mean(0) - 0.5
