"""PerSAM and PerSAM-F (Zhang et al., arXiv 2305.03048): a frozen SAM shown the target on labelled images.

Published for one image. Of several, what each gives is averaged over those of the same text, and over all for a text
that none of them has. [ours] Where the authors measure in pixels of the
image itself, here they are those of SAM's square input. [ours]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.baselines.guided_transformer import GuidedTransformer
from alignsam_gym.baselines.shuffled_indices import ShuffledIndices
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset, EncodedSample
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, decoder_of
from alignsam_gym.srm.segmentation_loss import dice_loss

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2


class _Personalised(ABC):
    """Finds the target by what its features look like, and asks SAM there; one image at a time."""

    multimask = True

    def __init__(self, model: BatchedSamPredictor) -> None:
        self.model = model
        self.decoder = decoder_of(model.sam)

    @abstractmethod
    def fit(self, shots: EncodedDataset, seed: int) -> None: ...

    def fit_target(self, samples: Sequence[EncodedSample], features: Sequence[Tensor]) -> None:
        """Take what labelled images show, (C) each, as what is to be found."""
        self.anything, by_text = torch.stack(list(features)).mean(0), defaultdict(list)
        for sample, feature in zip(samples, features, strict=True):
            by_text[sample.text].append(feature)
        self.targets = {text: torch.stack(found).mean(0) for text, found in by_text.items()}

    def target(self, sample: EncodedSample) -> Tensor:
        """The features (C) to be found in an image."""
        return self.targets.get(sample.text, self.anything)

    @torch.no_grad()
    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        return torch.stack([self.segment(sample) for sample in samples.fetch(indices)])

    @abstractmethod
    def segment(self, sample: EncodedSample) -> Tensor:
        """Low-resolution logits (4h, 4w)."""

    def likeness(self, sample: EncodedSample) -> Tensor:
        """The cosine of each place's features to the target's, float (S, S) at SAM's input size."""
        target = F.normalize(self.target(sample), dim=0)
        cosines = torch.einsum("chw,c->hw", F.normalize(sample.embedding, dim=0), target)
        fine = F.interpolate(cosines[None, None], scale_factor=4, mode="bilinear")
        return F.interpolate(fine, (self.model.input_size,) * 2, mode="bilinear")[0, 0]

    def predict_masks(
        self,
        sample: EncodedSample,
        prompts: tuple[Tensor, Tensor],
        box: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """SAM's masks, as logits (K, 4h, 4w), and what it predicts of their IoU, (K): three, or one if not `multimask`.

        prompts: points (1, N, 2) and labels (1, N). box: (1, 4), x and y of two corners. All in pixels of SAM's input.
        mask: logits (4h, 4w) of an earlier answer.
        """
        sparse, _ = self.decoder.prompt_encoder(points=prompts, boxes=box, masks=None)
        image = self.decoder.prepare_image(sample.encoding[None].float(), None if mask is None else mask[None, None])
        logits, scores = self.decoder.decode_tokens(image, sparse, multimask_output=self.multimask)
        return logits[0], scores[0]

    def refine(self, sample: EncodedSample, prompts: tuple[Tensor, Tensor], logits: Tensor, boxed: bool) -> Tensor:
        """Ask again with an answer as mask prompt, and, if `boxed`, the box around it: the best of SAM's masks.

        An empty answer has no box. [ours]
        """
        box = self.box_around(logits) if boxed else None
        masks, scores = self.predict_masks(sample, prompts, box, logits)
        return masks[scores.argmax()]

    def box_around(self, logits: Tensor) -> Tensor | None:
        """(1, 4) in pixels of SAM's input, or None."""
        answer = F.interpolate(logits[None, None], (self.model.input_size,) * 2, mode="bilinear")[0, 0] > 0
        y, x = answer.nonzero(as_tuple=True)
        return torch.stack([x.min(), y.min(), x.max(), y.max()])[None].float() if len(x) else None


class PerSAM(_Personalised):
    """Nothing is learned but the target's mean features. SAM is prompted where they are found most and least; the first
    time they guide its decoder too (`GuidedTransformer`), and two refinements follow, the second with a box.

    multimask, boxes: False for refinements by the single-mask output, and without a box: for a SAM that was not
    trained for the other, as the embedded one. [ours]

    Raises OptionError for a SAM whose decoder is not the original one, for which PerSAM is not published.
    """

    def __init__(self, model: BatchedSamPredictor, multimask: bool, boxes: bool) -> None:
        super().__init__(model)
        self.multimask, self.boxes = multimask, boxes
        if type(model.sam.mask_decoder) is not MaskDecoder:
            raise OptionError(
                "method=persam guides SAM's own mask decoder; take sam=tiny, vit_b, vit_l, vit_h or vit_t."
            )

    @torch.no_grad()
    def fit(self, shots: EncodedDataset, seed: int) -> None:
        samples, features = zip(*_foregrounds(shots), strict=True)
        self.fit_target(samples, [part.mean(0) for part in features])
        self.guided = deepcopy(self.model.sam.mask_decoder)
        self.guided.transformer = GuidedTransformer(self.guided.transformer)

    def segment(self, sample: EncodedSample) -> Tensor:
        likeness = self.likeness(sample)
        points = torch.stack([_place(likeness.argmax(), likeness), _place(likeness.argmin(), likeness)])[None]
        prompts = points, torch.tensor([[1, 0]], device=points.device)
        logits = self.ask_guided(sample, prompts, likeness)
        for boxed in (False, self.boxes):
            logits = self.refine(sample, prompts, logits, boxed)
        return logits

    def ask_guided(self, sample: EncodedSample, prompts: tuple[Tensor, Tensor], likeness: Tensor) -> Tensor:
        """The single mask of SAM's own decoder, guided: logits (4h, 4w)."""
        encoder = self.model.sam.prompt_encoder
        standard = (likeness - likeness.mean()) / likeness.std()
        cells = F.interpolate(standard[None, None], encoder.image_embedding_size, mode="bilinear")
        self.guided.transformer.set_target(self.target(sample), cells.sigmoid().flatten())
        sparse, dense = encoder(points=prompts, boxes=None, masks=None)
        logits, _ = self.guided(
            image_embeddings=sample.embedding[None],
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return logits[0, 0]


class PerSAMF(_Personalised):
    """Learns how much each of SAM's three masks counts: two weights, the third being what they leave of 1.

    SAM is prompted at the one likeliest place, by features halfway between the mean and the maximum over the target,
    and is not guided. Two refinements with boxes follow.

    steps, learning_rate: of AdamW on the Dice and focal losses, with cosine decay, on one labelled image after another.
    """

    def __init__(self, model: BatchedSamPredictor, steps: int, learning_rate: float) -> None:
        super().__init__(model)
        self.steps, self.learning_rate = steps, learning_rate

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        with torch.no_grad():
            samples, features = zip(*_foregrounds(shots), strict=True)
            self.fit_target(samples, [(part.mean(0) + part.amax(0)) / 2 for part in features])
            masks = torch.stack([self.predict_masks(sample, self.prompt(sample))[0] for sample in samples])
        truth, valid = (torch.stack([getattr(sample, name) for sample in samples]) for name in ("truth", "valid"))
        two = torch.full((2,), 1 / 3, device=self.model.device, requires_grad=True)
        optimizer = torch.optim.AdamW([two], self.learning_rate, eps=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        shuffled = ShuffledIndices(len(samples), seed)
        for _ in range(self.steps):
            row = shuffled.draw(1)
            loss = _dice_and_focal(torch.einsum("bkhw,k->bhw", masks[row], _three(two)), truth[row], valid[row])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.weights = _three(two).detach()

    def prompt(self, sample: EncodedSample) -> tuple[Tensor, Tensor]:
        likeness = self.likeness(sample)
        point = _place(likeness.argmax(), likeness)[None, None]
        return point, torch.ones(1, 1, dtype=torch.int64, device=point.device)

    def segment(self, sample: EncodedSample) -> Tensor:
        prompts = self.prompt(sample)
        logits = torch.einsum("khw,k->hw", self.predict_masks(sample, prompts)[0], self.weights)
        for _ in range(2):
            logits = self.refine(sample, prompts, logits, boxed=True)
        return logits


def _foregrounds(shots: EncodedDataset) -> Iterator[tuple[EncodedSample, Tensor]]:
    """Labelled images and the features in their foreground, (n, C). Images that have none are left out. [ours]

    Raises DataError if all are.
    """
    found = False
    for index in range(len(shots)):
        sample = shots[index]
        cells = F.interpolate(sample.truth[None, None], sample.embedding.shape[1:], mode="bilinear")[0, 0] > 0
        if cells.any():
            found = True
            yield sample, sample.embedding[:, cells].T
    if not found:
        raise DataError(f"No mask of {shots.dataset.name}'s labelled images has any foreground to learn from.")


def _place(flat: Tensor, like: Tensor) -> Tensor:
    """(x, y) of a place in a flattened map."""
    return torch.stack([flat % like.shape[1], flat // like.shape[1]]).float()


def _three(two: Tensor) -> Tensor:
    return torch.cat([1 - two.sum(0, keepdim=True), two])


def _dice_and_focal(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Means over images (B, h, w); unlabelled cells are left out."""
    answer, target = logits.sigmoid() * valid, truth * valid
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = answer * (1 - truth) + (1 - answer) * truth
    focal = (FOCAL_ALPHA * truth + (1 - FOCAL_ALPHA) * (1 - truth)) * wrong**FOCAL_GAMMA * entropy * valid
    return (dice_loss(answer, target) + focal.sum((1, 2)) / valid.sum((1, 2))).mean()
