"""PerSAM and PerSAM-F (Zhang et al., arXiv 2305.03048): a frozen SAM that is shown the target on labelled images.

They are published for one labelled image, the reference. Here each text has one, drawn from the labelled images; a text
that none of them has takes the average over all references. [ours] Several references of a text are averaged.
[ours; method.references] Where the authors measure in pixels of the image itself, here the pixels are those of SAM's
square input. [ours]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.baselines.guided_transformer import GuidedTransformer
from alignsam_gym.baselines.shuffled_indices import ShuffledIndices
from alignsam_gym.errors import DataError, OptionError, check_choice
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset, EncodedSample
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, decoder_of
from alignsam_gym.srm.segmentation_loss import dice_loss

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2

CELLS = {"majority": 0.5, "any": 0.0}
"""Which cells of the embedding show the target, and the fraction of foreground that each must exceed."""


class _PersonalizedSAM(ABC):
    """A SAM that is prompted where an image's features are similar to the target's, one image at a time.

    Args:
        model: The frozen SAM.
        references: At most so many labelled images of each text show the target. Published: 1.
        cells: Which cells of a reference's embedding show it. ``majority``: those whose centre is more than half
            foreground, as published, where the mask must exceed SAM's mean of red, 48% of white. ``any``: those whose
            centre has any foreground. [ours; method.cells]

    Raises:
        OptionError: If `cells` is neither.
    """

    multimask = True

    def __init__(self, model: BatchedSamPredictor, references: int, cells: str) -> None:
        self.model = model
        self.decoder = decoder_of(model.sam)
        self.references, self.cells = references, check_choice("method.cells", cells, tuple(CELLS))

    @abstractmethod
    def fit(self, shots: EncodedDataset, seed: int) -> None:
        """Learn from the labelled images; see `Baseline.fit`."""

    @abstractmethod
    def segment(self, sample: EncodedSample) -> Tensor:
        """Return the logits, float (4h, 4w), of an image."""

    @torch.no_grad()
    def predict(self, samples: EncodedDataset, indices: Sequence[int]) -> Tensor:
        """Return logits, float (B, 4h, 4w), of the images at B indices."""
        return torch.stack([self.segment(sample) for sample in samples.fetch(indices)])

    def reference_features(self, shots: EncodedDataset, seed: int) -> Iterator[tuple[EncodedSample, Tensor]]:
        """Draw the references; yield each with the features of its target, (n, C).

        Images in which no cell shows the target are no references. [ours]

        Raises:
            DataError: If no image is one.
        """
        found: Counter[str | None] = Counter()
        for index in ShuffledIndices(len(shots), seed).draw(len(shots)).tolist():
            sample = shots[index]
            if found[sample.text] < self.references:
                fraction = F.interpolate(sample.truth[None, None], sample.embedding.shape[1:], mode="bilinear")[0, 0]
                shows = fraction > CELLS[self.cells]
                if shows.any():
                    found[sample.text] += 1
                    yield sample, sample.embedding[:, shows].T
        if not found:
            hint = " Targets smaller than a cell need method.cells=any." if self.cells == "majority" else ""
            raise DataError(f"No mask of {shots.dataset.name}'s labelled images shows a target to learn from.{hint}")

    def fit_target(self, samples: Sequence[EncodedSample], features: Sequence[Tensor]) -> None:
        """Remember what the target looks like.

        Args:
            samples: Labelled images.
            features: float (C,) for each of them, the target's features in it.
        """
        by_text = defaultdict(list)
        for sample, feature in zip(samples, features, strict=True):
            by_text[sample.text].append(feature)
        self.targets = {text: torch.stack(found).mean(0) for text, found in by_text.items()}
        self.mean_target = torch.stack(list(features)).mean(0)

    def target(self, sample: EncodedSample) -> Tensor:
        """Return the features, float (C,), to find in an image."""
        return self.targets.get(sample.text, self.mean_target)

    def target_similarity(self, sample: EncodedSample) -> Tensor:
        """Return the cosine between each place's features and the target's, float (S, S) at SAM's input size."""
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
        """Prompt SAM. Coordinates are in pixels of SAM's input.

        Args:
            sample: The image.
            prompts: Points (x, y), float (1, N, 2), and labels, int (1, N).
            box: float (1, 4), x and y of the upper left corner, then of the lower right one.
            mask: float (4h, 4w), logits of an earlier mask.

        Returns:
            Logits, float (K, 4h, 4w), and SAM's scores, float (K,): of three masks, or of one if not `multimask`.
        """
        sparse, _ = self.decoder.prompt_encoder(points=prompts, boxes=box, masks=None)
        mask_input = None if mask is None else mask[None, None]
        image = self.decoder.prepare_image(sample.encoding[None].float(), mask_input)
        logits, scores = self.decoder.decode_tokens(image, sparse, multimask_output=self.multimask)
        return logits[0], scores[0]

    def refine(self, sample: EncodedSample, prompts: tuple[Tensor, Tensor], logits: Tensor, boxed: bool) -> Tensor:
        """Prompt SAM again, with its last mask too.

        Args:
            sample: The image.
            prompts: Points and labels, as in `predict_masks`.
            logits: float (4h, 4w), SAM's last mask.
            boxed: Whether to prompt with the box around that mask as well. An empty mask has no box. [ours]

        Returns:
            Logits, float (4h, 4w), of the mask that SAM scores highest.
        """
        box = self.box_around(logits) if boxed else None
        masks, scores = self.predict_masks(sample, prompts, box, logits)
        return masks[scores.argmax()]

    def box_around(self, logits: Tensor) -> Tensor | None:
        """Return the box around a mask, float (1, 4) as in `predict_masks`, or None if the mask is empty."""
        mask = F.interpolate(logits[None, None], (self.model.input_size,) * 2, mode="bilinear")[0, 0] > 0
        y, x = mask.nonzero(as_tuple=True)
        return torch.stack([x.min(), y.min(), x.max(), y.max()])[None].float() if len(x) else None


class PerSAM(_PersonalizedSAM):
    """Learns nothing but the target's mean features.

    SAM is prompted where the image is most and least similar to the target. For the first mask the target guides SAM's
    decoder too (`GuidedTransformer`). Two refinements follow, the second with a box.

    Args:
        model: The frozen SAM.
        references: As `_PersonalizedSAM` has it.
        cells: As `_PersonalizedSAM` has it.
        multimask: Whether refinements take the best of three masks, as published. False takes SAM's single mask, for a
            SAM that was not trained for three. [ours]
        boxes: Whether the second refinement has a box, as published. False is for a SAM that was not trained with
            boxes. [ours]

    Raises:
        OptionError: If the SAM's decoder is not the original one, for which PerSAM is published.
    """

    def __init__(self, model: BatchedSamPredictor, references: int, cells: str, multimask: bool, boxes: bool) -> None:
        super().__init__(model, references, cells)
        self.multimask, self.boxes = multimask, boxes
        if type(model.sam.mask_decoder) is not MaskDecoder:
            raise OptionError(
                "method=persam guides SAM's own mask decoder; take sam=tiny, vit_b, vit_l, vit_h or vit_t."
            )

    @torch.no_grad()
    def fit(self, shots: EncodedDataset, seed: int) -> None:
        samples, features = zip(*self.reference_features(shots, seed), strict=True)
        self.fit_target(samples, [feature.mean(0) for feature in features])
        self.guided = deepcopy(self.model.sam.mask_decoder)
        self.guided.transformer = GuidedTransformer(self.guided.transformer)

    def segment(self, sample: EncodedSample) -> Tensor:
        similarity = self.target_similarity(sample)
        most, least = _xy(similarity.argmax(), similarity), _xy(similarity.argmin(), similarity)
        prompts = torch.stack([most, least])[None], torch.tensor([[1, 0]], device=similarity.device)
        logits = self.predict_guided(sample, prompts, similarity)
        for boxed in (False, self.boxes):
            logits = self.refine(sample, prompts, logits, boxed)
        return logits

    def predict_guided(self, sample: EncodedSample, prompts: tuple[Tensor, Tensor], similarity: Tensor) -> Tensor:
        """Prompt SAM while the target guides its decoder.

        Args:
            sample: The image.
            prompts: Points and labels, as in `predict_masks`.
            similarity: float (S, S), from `target_similarity`.

        Returns:
            Logits, float (4h, 4w), of SAM's single mask.
        """
        encoder = self.model.sam.prompt_encoder
        standardized = (similarity - similarity.mean()) / similarity.std()
        cells = F.interpolate(standardized[None, None], encoder.image_embedding_size, mode="bilinear")
        self.guided.transformer.set_target(self.target(sample), cells.sigmoid().flatten())
        sparse, dense = encoder(points=prompts, boxes=None, masks=None)
        logits: Tensor
        logits, _ = self.guided(
            image_embeddings=sample.embedding[None],
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return logits[0, 0]


class PerSAMF(_PersonalizedSAM):
    """Learns from the references how much each of SAM's three masks counts: two weights; the third is the rest of 1.

    SAM is prompted at the place that is most similar to the target, whose features are halfway between their mean and
    their maximum. The decoder is not guided. Two refinements with boxes follow.

    Args:
        model: The frozen SAM.
        references: As `_PersonalizedSAM` has it.
        cells: As `_PersonalizedSAM` has it.
        steps: Number of steps of AdamW on the sum of Dice and focal loss, with cosine decay. Each has one reference.
        learning_rate: AdamW's first learning rate.
    """

    def __init__(
        self, model: BatchedSamPredictor, references: int, cells: str, steps: int, learning_rate: float
    ) -> None:
        super().__init__(model, references, cells)
        self.steps, self.learning_rate = steps, learning_rate

    def fit(self, shots: EncodedDataset, seed: int) -> None:
        with torch.no_grad():
            samples, features = zip(*self.reference_features(shots, seed), strict=True)
            self.fit_target(samples, [(feature.mean(0) + feature.amax(0)) / 2 for feature in features])
            masks = torch.stack([self.predict_masks(sample, self.prompts(sample))[0] for sample in samples])
        truth = torch.stack([sample.truth for sample in samples])
        valid = torch.stack([sample.valid for sample in samples])
        learned = torch.full((2,), 1 / 3, device=self.model.device, requires_grad=True)
        optimizer = torch.optim.AdamW([learned], self.learning_rate, eps=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        shuffled = ShuffledIndices(len(samples), seed)
        for _ in range(self.steps):
            row = shuffled.draw(1)
            logits = torch.einsum("bkhw,k->bhw", masks[row], _mask_weights(learned))
            loss = _dice_and_focal_loss(logits, truth[row], valid[row])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.weights = _mask_weights(learned).detach()

    def prompts(self, sample: EncodedSample) -> tuple[Tensor, Tensor]:
        """Return one positive point and its label, as in `predict_masks`."""
        similarity = self.target_similarity(sample)
        point = _xy(similarity.argmax(), similarity)[None, None]
        return point, torch.ones(1, 1, dtype=torch.int64, device=point.device)

    def segment(self, sample: EncodedSample) -> Tensor:
        prompts = self.prompts(sample)
        masks, _ = self.predict_masks(sample, prompts)
        logits = torch.einsum("khw,k->hw", masks, self.weights)
        for _ in range(2):
            logits = self.refine(sample, prompts, logits, boxed=True)
        return logits


def _xy(index: Tensor, image_map: Tensor) -> Tensor:
    """Convert an index into a flattened map to (x, y)."""
    width = image_map.shape[1]
    return torch.stack([index % width, index // width]).float()


def _mask_weights(learned: Tensor) -> Tensor:
    """Return the three masks' weights, whose sum is 1, from the two that are learned."""
    return torch.cat([1 - learned.sum(0, keepdim=True), learned])


def _dice_and_focal_loss(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over B images of maps (B, h, w). Cells without labels are left out."""
    predicted, target = logits.sigmoid() * valid, truth * valid
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = predicted * (1 - truth) + (1 - predicted) * truth
    focal = (FOCAL_ALPHA * truth + (1 - FOCAL_ALPHA) * (1 - truth)) * wrong**FOCAL_GAMMA * entropy * valid
    return (dice_loss(predicted, target) + focal.sum((1, 2)) / valid.sum((1, 2))).mean()
