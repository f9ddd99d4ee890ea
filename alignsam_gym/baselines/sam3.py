"""SAM 3 (Carion et al., arXiv 2511.16719): a model that segments every instance of what a text names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.baselines.hf_models import load_network, loading_errors
from alignsam_gym.baselines.sample_texts import texts_of
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor

_ADVICE = (
    "Its weights are given to whoever accepts their licence: do so at https://huggingface.co/facebook/sam3, then hf "
    "auth login, then hf download facebook/sam3; or give the folder of a copy."
)
_NOTHING = -10.0  # the logit everywhere, where no instance is found


class SAM3:
    """The SAM 3 of ``transformers``. It needs no labelled image, but every image needs a text.

    Args:
        model: A SAM, which plays no part but to name the device.
        checkpoint: A folder with a checkpoint, or the name of one in Hugging Face's cache. Nothing is downloaded.
        threshold: Instances count whose score, SAM 3's confidence in them, is above this.

    Raises:
        OptionError: If ``transformers`` is not installed, or has no SAM 3.
        WeightsError: If the checkpoint is not there, or not whole.
    """

    def __init__(self, model: BatchedSamPredictor, checkpoint: str, threshold: float) -> None:
        try:
            from transformers import Sam3Model, Sam3Processor
        except ImportError as error:
            raise OptionError(
                "method=sam3 needs a transformers that has SAM 3: pip install -U 'alignsam-gym[baselines]'."
            ) from error
        network = load_network(Sam3Model, checkpoint, "SAM 3", _ADVICE)
        with loading_errors(checkpoint, "SAM 3", _ADVICE):
            self.processor: Any = Sam3Processor.from_pretrained(checkpoint, local_files_only=True)
        self.device = model.device
        self.network: Any = network.to(model.device).eval()
        self.threshold = threshold

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        """Do nothing: this method does not learn."""

    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        """Segment what each image's text names: float (B, h', w').

        Raises:
            DataError: If an image has no text.
        """
        texts = texts_of(samples, indices, "sam3")
        return torch.stack([self.segment(*pair) for pair in zip(samples.frames(indices), texts, strict=True)])

    @torch.no_grad()
    def segment(self, frame: np.ndarray, text: str) -> Tensor:
        """Segment what a text names.

        Args:
            frame: uint8 (S, S, 3), RGB.
            text: A noun phrase.

        Returns:
            Each place's highest logit among the masks of all instances above the threshold, float (h', w'). It is above
            0 in the masks' union. Where there is no instance, it is −10 everywhere. [ours]
        """
        inputs = self.processor(images=frame, text=text, return_tensors="pt").to(self.device)
        outputs = self.network(**inputs)
        scores = (outputs.pred_logits.sigmoid() * outputs.presence_logits.sigmoid())[0]
        masks: Tensor = outputs.pred_masks[0, scores > self.threshold].float()
        return torch.cat([masks, torch.full_like(outputs.pred_masks[0, :1], _NOTHING).float()]).amax(0)
