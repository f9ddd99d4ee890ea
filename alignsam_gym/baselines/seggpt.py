"""SegGPT (Wang et al., arXiv 2304.03284): a model that is shown examples and paints the next image alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor


class SegGPT:
    """``transformers``' SegGPT. SAM takes no part in it; it only says on which device.

    checkpoint: a folder that holds one, or the name of one that is in Hugging Face's cache; nothing is downloaded.
    examples: how many labelled images are shown, drawn at random; of several, SegGPT averages features.

    Raises OptionError without ``transformers``, WeightsError without the checkpoint.
    """

    def __init__(self, model: BatchedSamPredictor, checkpoint: str, examples: int) -> None:
        try:
            from transformers import SegGptForImageSegmentation, SegGptImageProcessor
        except ImportError as error:
            raise OptionError("method=seggpt needs transformers: pip install 'alignsam-gym[baselines]'.") from error
        try:
            network: Any = SegGptForImageSegmentation.from_pretrained(checkpoint, local_files_only=True)
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"method.checkpoint={checkpoint!r} is neither a folder with a SegGPT nor in Hugging Face's cache; "
                "fetch it where there is a network (hf download BAAI/seggpt-vit-large) and give its folder."
            ) from error
        height, width = network.config.image_size
        self.device, self.network = model.device, network.to(model.device).eval()
        self.processor: Any = SegGptImageProcessor(size={"height": height // 2, "width": width})
        self.examples = examples

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        count = min(self.examples, len(shots))
        chosen = sorted(np.random.default_rng(seed).choice(len(shots), count, replace=False).tolist())
        self.images = shots.frames(chosen)
        self.masks = [shots[index].mask.astype(np.uint8) * 255 for index in chosen]

    @torch.no_grad()
    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        return torch.stack([self.paint(frame) for frame in samples.frames(indices)])

    def paint(self, frame: np.ndarray) -> Tensor:
        """How much brighter than grey SegGPT paints a frame, uint8 (S, S, 3): float (h', w') in [−½, ½]."""
        count, device = len(self.images), self.device
        inputs = self.processor(
            images=[frame] * count, prompt_images=self.images, prompt_masks=self.masks, return_tensors="pt"
        ).to(device)
        painted = self.network(**inputs, feature_ensemble=count > 1).pred_masks
        painted = painted[0, :, painted.shape[2] // 2 :]  # the upper half is the example's own mask
        mean, std = (
            torch.tensor(x, device=device)[:, None, None] for x in (self.processor.image_mean, self.processor.image_std)
        )
        return (painted * std + mean).clamp(0, 1).mean(0) - 0.5
