"""The rules of AlignSAM's prompting game (§3.2, Algorithm 1), for a batch of episodes at once.

This is the only copy of the rules: the single environment plays a batch of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.data.samples import assign_folds
from alignsam_gym.envs.fused_answer import fuse_answers
from alignsam_gym.envs.initial_prompts import INITIAL_PROMPTS, prompts_from_map, prompts_from_truth
from alignsam_gym.envs.patch_evidence import patch_evidence
from alignsam_gym.envs.patch_means import patch_means
from alignsam_gym.envs.rules import AnswerName, Rules
from alignsam_gym.envs.shuffled_draws import ShuffledDraws
from alignsam_gym.envs.srm_examples import coarse_labels, coarse_similarity, semantics_of
from alignsam_gym.errors import DataError, OptionError, check_count
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset, EncodedSample
from alignsam_gym.foundation.sam.batched_decoder import PADDING, PreparedImage
from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.rows import Rows
from alignsam_gym.srm import SRM
from alignsam_gym.state import State, make_srm_state, make_state
from alignsam_gym.transforms import frame_to_unit, resize_map

_PROGRESS = ("index", "points", "labels", "steps", "visited", "stopped", "hit", "repeated", "logits", "answers")


class Episode:
    """B episodes in progress.

    What a device computes is on the model's device. What depends on actions and files alone is on the CPU, where
    reading it does not wait for the device: index, steps, visited, stopped, hit, repeated, centre_is_foreground.

    The SRM and the agent see E(x), M and M_c on a grid of g cells a side: the embedding's own h, or
    `Rules.srm_grid_size` if that is less, where each cell is the mean of several. [ours]

    Args:
        rules: What kind of game is played.
        encoded: The images, with their encodings and ground truth.
        srm: The semantic recalibration module.
        learns: Whether the SRM learns after every action.
        count: B.

    Attributes:
        draws: Draws each row's next image.
        index: int64 (B,), which image of the data set each row plays on.
        image: What the decoder needs of each row's image.
        points: float32 (B, 2 + T, 2), (x, y) in the frame. The first two are the initial pair, then comes one for each
            step.
        labels: int64 (B, 2 + T): 1, 0, or −1 where there is no prompt.
        steps: int64 (B,), prompts given by actions.
        visited: bool (B, N), the patches that were chosen; `stopped`, bool (B,), whether the agent chose to stop.
        logits: float32 (B, 4h, 4w), SAM's last answer.
        answers: float32 (B, 4h, 4w), what is scored and shown, by `Rules.answer`.
        mask: float32 (B, g, g) in [0, 1], M_{t−1} of Eq. 4: SAM's probabilities (§3.3), means over cells [ours].
        embeddings: float32 (B, C, g, g), E(x).
        semantics: float32 (B, F, g, g), what the SRM sees in the place of E(x) (`SRMConfig.features`), or E(x) itself.
        truth: float32 (B, 4h, 4w), the foreground's fraction of each logit's labelled pixels. `truth_coarse` is the
            same on the grid (y′ of Eq. 13).
        valid: float32 (B, 4h, 4w), the fraction of each logit's pixels that have a label; `valid_coarse` on the grid.
        similarity: float32 (B, g, g) in [0, 1], M_c, CLIP's map of the image's text; zeros without a CLIP.
        srm_logits: float32 (B, g, g), the SRM's map y_r of the current state (Eq. 12), as logits.
        iou: float32 (B,), of `answers`, at the logits' own resolution; `gains`, its change by the last action.
        centre_is_foreground: bool (B, N), whether each patch's centre is foreground.
        hit: bool (B,), whether the last action's patch is foreground; `repeated`, whether it was chosen before.
    """

    def __init__(self, rules: Rules, encoded: EncodedDataset, srm: SRM, learns: bool, count: int) -> None:
        check_count("num_envs", count, "there must be at least one")
        self.rules, self.encoded, self.srm, self.learns = rules, encoded, srm, learns
        self.model = encoded.model
        device, grid = self.model.device, rules.grid
        slots = INITIAL_PROMPTS + rules.max_steps
        channels, height, _ = self.model.embedding_shape
        cells = min(rules.srm_grid_size, height)
        zeros = partial(torch.zeros, device=device)
        self.centres = grid.centres.to(device)
        self.index, self.steps = (torch.zeros(count, dtype=torch.int64) for _ in range(2))
        # Channels last, as all that follows is products over channels.
        self.embeddings = zeros(count, cells, cells, channels).permute(0, 3, 1, 2)
        self.semantics = self.embeddings
        if encoded.features:
            width = encoded.features.channels + channels * (srm.config.features == "both")
            self.semantics = zeros(count, cells, cells, width).permute(0, 3, 1, 2)
        one = self.model.prepare_image(zeros(1, *self.model.encoding_shape))
        self.image = PreparedImage(*(term.new_zeros(count, *term.shape[1:]) for term in one))
        self.logits, self.answers, self.truth, self.valid = (zeros(count, *self.model.logits_shape) for _ in range(4))
        self.mask, self.srm_logits, self.similarity = (zeros(count, cells, cells) for _ in range(3))
        self.truth_coarse, self.valid_coarse = (zeros(count, cells, cells) for _ in range(2))
        self.points = zeros(count, slots, 2)
        self.labels = torch.full((count, slots), PADDING, device=device)
        self.iou, self.gains = zeros(count), zeros(count)
        self.centre_is_foreground, self.visited = (torch.zeros(count, grid.count, dtype=torch.bool) for _ in range(2))
        self.hit, self.repeated, self.stopped = (torch.zeros(count, dtype=torch.bool) for _ in range(3))
        self._folds = torch.tensor(assign_folds(encoded.dataset, srm.config.folds)) if learns else None
        self.draws = ShuffledDraws(encoded.dataset, count)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def actions(self) -> int:
        """The number of actions: the patches, and after them, where the rules have it, stopping."""
        return self.rules.grid.count + self.rules.stop

    def states(self) -> Tensor:
        """Form s_t of Eq. 4, float32 (B, channels, h, w)."""
        size, embeddings, mask = self.model.embedding_shape[1:], self.embeddings, self.mask
        if mask.shape[1:] != size:  # the grid has fewer cells than the embedding
            embeddings = torch.stack([sample.embedding for sample in self.encoded.fetch(self.index.tolist())])
            mask = resize_map(self.logits.sigmoid(), size)
        srm_map = resize_map(self.srm_logits.sigmoid(), size)
        return make_state(self.rules.state, embeddings, mask, srm_map).formed().contiguous()

    def patches(self) -> Tensor:
        """Average the state over patches (see `patch_means`), float32 (B, channels, side, side)."""
        return patch_means(self.rules, self.embeddings, self.mask, self.srm_logits)

    def answer_of(self, logits: Tensor, srm_logits: Tensor) -> Tensor:
        """Make the answer, by `Rules.answer`, of SAM's logits and the SRM's map of what they led to."""
        return logits if self.rules.answer == "sam" else fuse_answers(logits, srm_logits)

    def evidence(self) -> Tensor:
        """Describe each patch by what any SAM gives (see `patch_evidence`), float32 (B, channels, side, side)."""
        points_unit = frame_to_unit(self.points, self.rules.grid.image_size)
        return patch_evidence(self.rules, self.logits.sigmoid(), self.srm_logits, points_unit, self.labels)

    def at_centres(self, maps: Tensor) -> Tensor:
        """Sample every row's map, float (B, h, w), at all patches' centres: float (B, N)."""
        return self.rules.grid.sample(maps, self.centres.expand(len(self), -1, -1))

    @torch.inference_mode(False)  # what a caller's inference mode made could not be changed, or learned from, later
    def start_run(self, seed: int | None) -> None:
        """Forget every draw of images. With a seed, an SRM that learns starts over, from weights drawn by it."""
        self.draws.forget()
        if self.learns and seed is not None:
            self.srm.start(seed)

    @torch.inference_mode(False)
    def reset(self, rows: Sequence[int], indices: Sequence[int], generators: Sequence[np.random.Generator]) -> None:
        """Begin episodes in some rows, with their initial prompts.

        It warns if something is to come from an SRM that has learned nothing and will not learn.

        Args:
            rows: The rows.
            indices: The image of each row.
            generators: What draws each row's initial prompts.

        Raises:
            OptionError: No sample has such an index.
            DataError: A sample cannot be loaded.
        """
        if self.rules.needs_srm and not self.learns:
            self.srm.warn_unless_learned()
        if outside := [index for index in indices if not 0 <= index < len(self.encoded)]:
            raise OptionError(f"index={outside[0]} is outside the data set's {len(self.encoded)} samples.")
        at = self._rows(rows)
        samples = self._load(at, indices)
        self.labels[at.there], self.points[at.there], self.gains[at.there] = PADDING, 0, 0
        for fresh in (self.steps, self.visited, self.hit, self.repeated, self.stopped):
            fresh[at.here] = 0
        side = self.rules.grid.image_size
        match self.rules.initial_prompts:
            case "truth":
                for row, sample, generator in zip(rows, samples, generators, strict=True):
                    self._place_initial(row, prompts_from_truth(sample.mask, sample.void, side, generator))
            case "srm":  # its map (§3.3) with M = 1, as nothing is known yet [ours]
                self.mask[at.there] = 1.0
                self._recalibrate(at)
                self._place_initial(at.there, prompts_from_map(self.srm_logits[at.there], side))
            case "clip":
                self._place_initial(at.there, prompts_from_map(self.similarity[at.there], side))
            case undecided:
                raise OptionError(f"initial_prompts={undecided!r} is for a split to decide: Rules.for_split.")
        self._prompt_sam(at)
        self._recalibrate(at)
        self._make_answers(at)

    @torch.inference_mode(False)
    def step(self, rows: Sequence[int], actions: Sequence[int] | np.ndarray) -> None:
        """Prompt at the chosen patches (lines 5–10 of Algorithm 1).

        Rows that stop now, or have stopped, stay as they are. Nothing waits for the device.

        Args:
            rows: The rows that act.
            actions: The patch of each, or N to stop.
        """
        acting = torch.tensor(rows, dtype=torch.int64)
        action = torch.as_tensor(np.asarray(actions), dtype=torch.int64)
        self.stopped[acting] |= action == self.rules.grid.count
        self.hit[acting], self.repeated[acting] = False, False
        self.gains.zero_()
        going = ~self.stopped[acting]
        if going.any():
            self._prompt(self._rows(acting[going]), action[going])

    def _prompt(self, at: Rows, action: Tensor) -> None:
        """Prompt rows `at` at the patches `action`, int64 (rows,), on the CPU."""
        point = self.centres[self._upload(action)]
        slot = self._upload(INITIAL_PROMPTS + self.steps[at.here])
        label = self._label(at, action, point)  # by the state that the agent saw
        place = self._upload(at.here), slot
        self.points[place], self.labels[place] = point, label
        self.steps[at.here] += 1
        self.hit[at.here] = self.centre_is_foreground[at.here, action]
        self.repeated[at.here] = self.visited[at.here, action]
        self.visited[at.here, action] = True
        before = self.iou.clone()
        self._prompt_sam(at)
        if self.learns:
            self._teach(at)
        self._recalibrate(at)
        self._make_answers(at)
        self.gains = self.iou - before

    @torch.no_grad()
    def lookahead_ious(self, actions: Tensor) -> dict[AnswerName, Tensor]:
        """Compute the IoU of both answers to one more prompt, with the SRM's present map, and change nothing.

        Args:
            actions: int64 (B, K), on the CPU, the patches to try in each row.

        Returns:
            For ``sam`` and ``fused``, float (B, K) in [0, 1].
        """
        used = int(INITIAL_PROMPTS + self.steps.max())
        every_row = torch.arange(len(self)).repeat_interleave(actions.shape[1])
        ious: dict[AnswerName, list[Tensor]] = {"sam": [], "fused": []}
        for row, action in zip(every_row.split(len(self)), actions.flatten().split(len(self)), strict=True):
            at, point = self._rows(row), self.centres[self._upload(action)]  # all at once would fill the memory
            points = torch.cat([self.points[at.there, :used], point[:, None]], dim=1)
            labels = torch.cat([self.labels[at.there, :used], self._label(at, action, point)[:, None]], dim=1)
            for answer, iou in self._both_ious(at, self._decode(at, points, labels)).items():
                ious[answer].append(iou)
        return {answer: torch.cat(parts).view(actions.shape) for answer, parts in ious.items()}

    def truncated(self) -> np.ndarray:
        """Tell which rows have taken all their steps, bool (B,)."""
        return (self.steps >= self.rules.max_steps).numpy()

    def terminated(self) -> np.ndarray:
        """Tell which rows chose to stop, bool (B,)."""
        return self.stopped.numpy().copy()

    def state_dict(self) -> dict[str, Any]:
        """Return where the episodes and the SRM stand. What follows from prompts and images is left out."""
        tensors = {name: getattr(self, name).clone() for name in _PROGRESS}
        return tensors | {
            "ids": list(self.encoded.dataset.ids),
            "shuffled_indices": self.draws.state(),
            "srm": self.srm.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was called.

        Raises:
            DataError: The images are others now.
        """
        if changed := set(state["ids"]) ^ set(self.encoded.dataset.ids):
            raise DataError(
                f"The labelled images of {self.encoded.dataset.name} are others now ({len(changed)} differ, such as "
                f"{min(changed)}); bring back those that were learned from, or begin anew."
            )
        if "srm" in state:
            self.srm.load_state_dict(state["srm"])
        self.draws.load_state(state["shuffled_indices"])
        everywhere = self._rows(range(len(self)))
        self._load(everywhere, state["index"].tolist())
        for name in _PROGRESS:
            getattr(self, name).copy_(state[name])
        self._keep(everywhere, self.logits.clone())
        self._recalibrate(everywhere)
        self.iou.copy_(self._iou(everywhere, self.answers))

    def allowed(self) -> np.ndarray:
        """Return the actions that the `revisit` rule leaves, bool (B, actions); all, once nothing is left."""
        allowed = np.ones((len(self), self.actions), bool)
        if self.rules.revisit == "forbid":
            free = ~self.visited
            allowed[:, : self.rules.grid.count] = (free | ~free.any(1, keepdim=True)).numpy()
        return allowed

    def _rows(self, rows: Sequence[int] | Tensor) -> Rows:
        return Rows.of(rows, self.model.device)

    def _upload(self, x: Tensor) -> Tensor:
        """Return a tensor of the CPU on the device, and do not wait until it is there."""
        return x.to(self.model.device, non_blocking=True)

    def _load(self, at: Rows, indices: Sequence[int]) -> list[EncodedSample]:
        """Load images into rows; return their samples."""
        samples = self.encoded.fetch(indices)
        self.index[at.here] = torch.tensor(indices, dtype=torch.int64)
        cells = self.embeddings.shape[2:]
        for row, sample in zip(at.here.tolist(), samples, strict=True):  # one by one, as an image fills megabytes
            encoding = sample.encoding[None].float()
            self.embeddings[row] = resize_map(encoding[0, : sample.channels], cells)
            if sample.features is not None:
                self.semantics[row] = semantics_of(sample, self.embeddings[row], self.srm.config.features)
            for kept, new in zip(self.image, self.model.prepare_image(encoding), strict=True):
                kept[row] = new[0]
        self.truth[at.there] = torch.stack([sample.truth for sample in samples])
        self.valid[at.there] = torch.stack([sample.valid for sample in samples])
        self.truth_coarse[at.there], self.valid_coarse[at.there] = coarse_labels(samples, cells)
        if self.encoded.clip:
            self.similarity[at.there] = coarse_similarity(samples, cells)
        centres = np.stack([self.rules.grid.truth(sample.mask) for sample in samples])
        self.centre_is_foreground[at.here] = torch.from_numpy(centres)
        return samples

    def _place_initial(self, rows: Tensor | slice | int, prompts: tuple[Tensor, Tensor]) -> None:
        points_frame, labels = prompts
        self.points[rows, :INITIAL_PROMPTS] = points_frame.to(self.points)
        self.labels[rows, :INITIAL_PROMPTS] = labels.to(self.labels)

    def _label(self, at: Rows, action: Tensor, point: Tensor) -> Tensor:
        """Label each chosen point 1 or 0 by the label source (Table 8): its map, interpolated there and cut. [ours]"""
        match self.rules.label_source:
            case "srm":
                return (self.rules.grid.sample(self.srm_logits[at.there], point) > 0).long()
            case "last":
                return (self.rules.grid.sample(self.logits[at.there], point) > 0).long()
            case "clip":
                return (self.rules.grid.sample(self.similarity[at.there], point) > 0.5).long()
            case "oracle":
                return self._upload(self.centre_is_foreground[at.here, action].long())
        return torch.ones_like(self.labels[at.there, 0])

    def _prompt_sam(self, at: Rows) -> None:
        """Decode the prompts so far (Eq. 2) and keep SAM's answer."""
        used = int(INITIAL_PROMPTS + self.steps[at.here].max())
        self._keep(at, self._decode(at, self.points[at.there, :used], self.labels[at.there, :used]))

    def _decode(self, at: Rows, points: Tensor, labels: Tensor) -> Tensor:
        """Decode prompts on the images of rows `at`: logits float (rows, 4h, 4w)."""
        points_unit = frame_to_unit(points, self.rules.grid.image_size)
        return self.model.decode(self.image, at.here, points_unit, labels)

    def _keep(self, at: Rows, logits: Tensor) -> None:
        self.logits[at.there] = logits
        self.mask[at.there] = resize_map(logits.sigmoid(), self.mask.shape[1:])

    def _iou(self, at: Rows, logits: Tensor) -> Tensor:
        return logits_iou(logits, self.truth[at.there], self.valid[at.there])

    def both_ious(self) -> dict[AnswerName, Tensor]:
        """Compute the IoU of both answers of every row, for ``sam`` and ``fused`` float (B,) in [0, 1]."""
        return self._both_ious(self._rows(range(len(self))), self.logits)

    def _both_ious(self, at: Rows, logits: Tensor) -> dict[AnswerName, Tensor]:
        fused = fuse_answers(logits, self.srm_logits[at.there])
        return {"sam": self._iou(at, logits), "fused": self._iou(at, fused)}

    def _recalibrate(self, at: Rows) -> None:
        states = self._srm_states(at, self.mask[at.there])
        self.srm_logits[at.there] = self.srm.logits(states, self._folds_at(at))

    def _make_answers(self, at: Rows) -> None:
        """Make the answers, and compare them with the truth."""
        answers = self.answer_of(self.logits[at.there], self.srm_logits[at.there])
        self.answers[at.there] = answers
        self.iou[at.there] = self._iou(at, answers)

    def srm_map(self, row: int, mask: Tensor) -> Tensor:
        """Let the SRM draw its map of a row where M is `mask`, float (1, g, g): logits of the same shape."""
        at = self._rows([row])
        return self.srm.logits(self._srm_states(at, mask), self._folds_at(at))

    def _srm_states(self, at: Rows, masks: Tensor) -> State:
        """Make s_t, with s_c before it if the branch is explicit."""
        rows = None if at.there == slice(0, len(self)) else at.here
        similarity = self.similarity[at.there] if self.srm.kind == "explicit" else None
        return make_srm_state(self.rules.state, self.semantics, masks, rows, similarity)

    def _teach(self, at: Rows) -> None:
        """Update the SRM q times after the action (§3.3), on the states that it led to. [ours]"""
        masks = self.mask[at.there]
        every = self.srm.config.full_mask_every
        if every:
            full = (at.here + self.steps[at.here]) % every == 0
            masks = masks.masked_fill(self._upload(full)[:, None, None], 1.0)
        states = self._srm_states(at, masks)
        self.srm.learn(states, self.truth_coarse[at.there], self.valid_coarse[at.there], self._folds_at(at))

    def _folds_at(self, at: Rows) -> Tensor | None:
        """Look up the fold of each image of rows `at`; None where the SRM has one branch, or has seen no image."""
        if self._folds is None or self.srm.config.folds == 1:
            return None
        return self._folds[self.index[at.here]]
