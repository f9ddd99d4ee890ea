"""The rules of AlignSAM's prompting game (§3.2, Algorithm 1), for a batch of episodes at once.

This is the only copy of the rules: the single environment plays a batch of one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from alignsam_gym.data.samples import assign_folds
from alignsam_gym.envs.rules import Rules
from alignsam_gym.errors import DataError, OptionError, check_count
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset, EncodedSample, fraction_of
from alignsam_gym.foundation.sam.batched_decoder import PADDING, PreparedImage
from alignsam_gym.foundation.sam.predictor import take_rows
from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.srm import SRM
from alignsam_gym.state import State, make_state, srm_state, state_channels
from alignsam_gym.transforms import frame_to_unit, image_to_frame, resize_map, unit_to_frame

_INITIAL = 2  # prompts before the first action
_PROGRESS = ("index", "points", "labels", "steps", "visited", "stopped", "hit", "repeated", "logits")


class Episode:
    """B episodes in progress.

    What is learned sees E(x), M and M_c on a grid of g cells a side: the embedding's own h, or `Rules.srm_grid_size` if that is
    less, each cell then being the mean of several. [ours]

    Attributes that callers read, all on the model's device:

    - index: int64 (B,), which image of the data set each row plays on. image: what the decoder needs of each.
    - points: float32 (B, 2 + T, 2), (x, y) in the frame; labels: int64 (B, 2 + T), 1, 0 or −1 where there is
      no prompt. The first two are the initial pair, then comes one for each step.
    - steps: int64 (B,), prompts given by actions. visited: bool (B, N). stopped: bool (B,), by the agent's own choice.
    - logits: float32 (B, 4h, 4w), SAM's last answer. mask: float32 (B, g, g), M_{t−1} of Eq. 4: its
      probabilities, averaged over each cell. [ours]
    - embeddings: float32 (B, C, g, g), E(x). valid_coarse: float32 (B, g, g), the labelled pixels' share of each cell.
      truth_coarse: the foreground's share of these (y′ of Eq. 13).
    - similarity: float32 (B, g, g) in [0, 1], M_c, CLIP's map of the image's text; zeros without a CLIP.
    - srm_logits: float32 (B, g, g), the SRM's map y_r for the current state (Eq. 12), as logits.
    - iou: float32 (B,), of that answer with the truth, at the logits' own resolution.
    - centre_is_foreground: bool (B, N), whether each patch's centre is foreground.
    - hit, repeated: bool (B,), whether the last action's patch is foreground, and was chosen before.
    """

    def __init__(self, rules: Rules, encoded: EncodedDataset, srm: SRM, learns: bool, count: int) -> None:
        check_count("num_envs", count, "there must be at least one")
        self.rules, self.encoded, self.srm, self.learns = rules, encoded, srm, learns
        self.model = encoded.model
        device, grid = self.model.device, rules.grid
        slots = _INITIAL + rules.max_steps
        channels, height, _ = self.model.embedding_shape
        self.centres = grid.centres.to(device)
        self.index = torch.zeros(count, dtype=torch.int64, device=device)
        cells = min(rules.srm_grid_size, height)
        # Channels last, as the products over channels want them that are all that follows.
        self.embeddings = torch.zeros(count, cells, cells, channels, device=device).permute(0, 3, 1, 2)
        one = self.model.prepare_image(torch.zeros(1, *self.model.encoding_shape, device=device))
        self.image = PreparedImage(*(term.new_zeros(count, *term.shape[1:]) for term in one))
        self.truth, self.valid = (torch.zeros(count, *self.model.logits_shape, device=device) for _ in range(2))
        self.centre_is_foreground = torch.zeros(count, grid.count, dtype=torch.bool, device=device)
        self.points = torch.zeros(count, slots, 2, device=device)
        self.labels = torch.full((count, slots), PADDING, device=device)
        self.steps = torch.zeros(count, dtype=torch.int64, device=device)
        self.visited = torch.zeros(count, grid.count, dtype=torch.bool, device=device)
        self.logits = torch.zeros(count, *self.model.logits_shape, device=device)
        self.mask, self.srm_logits, self.similarity = (
            torch.zeros(count, cells, cells, device=device) for _ in range(3)
        )
        self.truth_coarse, self.valid_coarse = (torch.zeros(count, cells, cells, device=device) for _ in range(2))
        self.iou = torch.zeros(count, device=device)
        self.hit, self.repeated, self.stopped = (torch.zeros(count, dtype=torch.bool, device=device) for _ in range(3))
        self._folds = torch.tensor(assign_folds(encoded.dataset, srm.config.folds), device=device) if learns else None
        self._shuffled_indices: list[list[int]] = [[] for _ in range(count)]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def actions(self) -> int:
        """How many actions there are: the patches, and after them, if the rules have it, stopping."""
        return self.rules.grid.count + self.rules.stop

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(channels, h, w) of a row of `states`."""
        channels, height, width = self.model.embedding_shape
        return state_channels(self.rules.state, channels), height, width

    def states(self) -> Tensor:
        """s_t of Eq. 4, float32 (B, channels, h, w)."""
        size, embeddings, mask = self.model.embedding_shape[1:], self.embeddings, self.mask
        if mask.shape[1:] != size:  # what is learned sees fewer cells than there are
            embeddings = torch.stack([sample.embedding for sample in self.encoded.fetch(self.index.tolist())])
            mask = resize_map(self.logits.sigmoid(), size)
        return (
            make_state(self.rules.state, embeddings, mask, resize_map(self.srm_logits.sigmoid(), size))
            .formed()
            .contiguous()
        )

    @property
    def patches_shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of a row of `patches`."""
        side = self.rules.grid.side
        return self.state_shape[0] + 2 * (self.rules.state == "guided"), side, side

    def patches(self) -> Tensor:
        """The state's means over patches, float32 (B, channels, side, side).

        A guided state has two channels more, which the means do not tell: how much M and the SRM's map differ on
        average, and the SRM's map at the patch's centre, where the prompt would be.
        """
        return patch_means(self.rules, self.embeddings, self.mask, self.srm_logits)

    def at_centres(self, maps: Tensor) -> Tensor:
        """Values (B, N) of every row's map, float (B, h, w), at all patches' centres."""
        return self.rules.grid.sample(maps, self.centres.expand(len(self), -1, -1))

    def start_run(self, seed: int) -> None:
        """Forget every draw of images; an SRM that learns starts over, from weights drawn by `seed`."""
        for row in range(len(self)):
            self.forget_draws(row)
        if self.learns:
            self.srm.start(seed)

    def forget_draws(self, row: int) -> None:
        """Let `draw` begin anew in a row."""
        self._shuffled_indices[row] = []

    def draw(self, row: int, generator: np.random.Generator) -> int:
        """The next image of a row: each comes once, in random order, before any comes again. [ours]

        Raises DataError if there are none.
        """
        if not len(self.encoded):
            raise DataError(f"{self.encoded.dataset.name} has no samples.")
        if not self._shuffled_indices[row]:
            self._shuffled_indices[row] = generator.permutation(len(self.encoded)).tolist()
        return self._shuffled_indices[row].pop()

    def reset(self, rows: Sequence[int], indices: Sequence[int], generators: Sequence[np.random.Generator]) -> None:
        """Start anew in `rows`, each on the image at its index, with the initial prompts.

        Raises OptionError for an index that no sample has, and DataError for a sample that cannot be loaded. Warns if
        prompts or labels are to come from an SRM that has learned nothing, nor will.
        """
        if "srm" in (self.rules.label_source, self.rules.initial_prompts) and not (self.learns or self.srm.learned):
            warnings.warn(
                "The SRM that is to label the prompts has learned nothing: its labels are random. Give a trained one, "
                "srm=training_env.unwrapped.srm, or another label_source and initial_prompts.",
                stacklevel=2,
            )
        if outside := [i for i in indices if not 0 <= i < len(self.encoded)]:
            raise OptionError(f"index={outside[0]} is outside the data set's {len(self.encoded)} samples.")
        at = torch.tensor(rows, dtype=torch.int64, device=self.model.device)
        samples = self._look(at, indices)
        self.labels[at] = PADDING
        for fresh in (self.points, self.steps, self.visited, self.hit, self.repeated, self.stopped):
            fresh[at] = 0
        match self.rules.initial_prompts:
            case "truth":
                for row, sample, generator in zip(rows, samples, generators, strict=True):
                    self._prompt_from_truth(row, sample, generator)
            case "srm":  # its map (§3.3) with M = 1: nothing is known yet. [ours]
                self.mask[at] = 1.0
                self._recalibrate(at)
                self._prompt_from_map(at, self.srm_logits[at])
            case "clip":
                self._prompt_from_map(at, self.similarity[at])
        self._answer(at, again=False)
        self._recalibrate(at)

    def step(self, rows: Sequence[int], actions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Prompt at the chosen patches (lines 5–10 of Algorithm 1); returns rewards, float64 (rows,).

        Rows that stop now, or have stopped, stay as they are and get 0.
        """
        at = torch.tensor(rows, dtype=torch.int64, device=self.model.device)
        action = torch.as_tensor(np.asarray(actions), dtype=torch.int64, device=self.model.device)
        self.stopped[at] |= action == self.rules.grid.count
        self.hit[at], self.repeated[at] = False, False
        rewards = torch.zeros(len(at), dtype=torch.float64, device=at.device)
        if (going := ~self.stopped[at]).any():
            rewards[going] = self._prompt(at[going], action[going])
        return rewards.cpu().numpy()

    def _prompt(self, at: Tensor, action: Tensor) -> Tensor:
        """Rewards, float64 (rows,), of prompting rows `at` at the patches `action`."""
        point = self.centres[action]
        slot = _INITIAL + self.steps[at]
        label = self._label(at, action, point)  # by the state that the agent saw
        self.points[at, slot], self.labels[at, slot] = point, label
        self.steps[at] += 1
        self.hit[at], self.repeated[at] = self.centre_is_foreground[at, action], self.visited[at, action]
        self.visited[at, action] = True
        before = self.iou[at].clone()
        self._answer(at, again=True)
        if self.learns:
            self._teach(at)
        self._recalibrate(at)
        rewards = {
            "foreground": self.hit[at].double() * 2 - 1,
            "delta_iou": (self.iou[at] - before).double(),
        }
        return torch.stack([weight * rewards[name] for name, weight in self.rules.reward_weights.items()]).sum(0)

    @torch.no_grad()
    def lookahead_iou(self, actions: Tensor) -> Tensor:
        """The IoU that one more prompt at each of patches int64 (B, K) would lead to, float (B, K). Nothing changes."""
        at = torch.arange(len(self), device=actions.device).repeat_interleave(actions.shape[1])
        action = actions.flatten()
        point = self.centres[action]
        used = int(_INITIAL + self.steps.max())
        points = torch.cat([self.points[at, :used], point[:, None]], dim=1)
        labels = torch.cat([self.labels[at, :used], self._label(at, action, point)[:, None]], dim=1)
        parts = (part.split(len(self)) for part in (at, points, labels))  # answers to all at once would fill the memory
        return torch.cat(
            [self._iou(rows, self._ask(rows, p, given, again=True)) for rows, p, given in zip(*parts, strict=True)]
        ).view(actions.shape)

    def truncated(self) -> np.ndarray:
        """bool (B,): rows that have taken all their steps."""
        return (self.steps >= self.rules.max_steps).cpu().numpy()

    def terminated(self) -> np.ndarray:
        """bool (B,): rows that chose to stop."""
        return self.stopped.cpu().numpy().copy()

    def infos(self) -> dict[str, np.ndarray]:
        """What `info` tells of each row."""
        latest = torch.where(self.steps > 0, _INITIAL + self.steps - 1, 0)
        rows = torch.arange(len(self), device=latest.device)
        ids = self.encoded.dataset.ids
        return {
            "point": self.points[rows, latest].cpu().numpy(),
            "label": self.labels[rows, latest].where(~self.stopped, PADDING).cpu().numpy(),
            "foreground": self.hit.cpu().numpy().copy(),
            "repeated": self.repeated.cpu().numpy().copy(),
            "iou": self.iou.cpu().numpy().copy(),
            "index": self.index.cpu().numpy().copy(),
            "image_id": np.array([ids[i] for i in self.index.tolist()], dtype=object),
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the episodes and the SRM stand; what follows from prompts and images is left out."""
        tensors = {name: getattr(self, name).clone() for name in _PROGRESS}
        ids = list(self.encoded.dataset.ids)
        return tensors | {
            "ids": ids,
            "shuffled_indices": [list(order) for order in self._shuffled_indices],
            "srm": self.srm.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken. Raises DataError if the images are others now."""
        if changed := set(state["ids"]) ^ set(self.encoded.dataset.ids):
            raise DataError(
                f"The labelled images of {self.encoded.dataset.name} are others now ({len(changed)} differ, such as "
                f"{min(changed)}); bring back those that were learned from, or begin anew."
            )
        self.srm.load_state_dict(state["srm"])
        self._shuffled_indices = [list(order) for order in state["shuffled_indices"]]
        self._look(torch.arange(len(self), device=self.model.device), state["index"].tolist())
        for name in _PROGRESS:
            getattr(self, name).copy_(state[name])
        everywhere = torch.arange(len(self), device=self.model.device)
        self._keep(everywhere, self.logits.clone())
        self._recalibrate(everywhere)

    def allowed(self) -> np.ndarray:
        """bool (B, actions): those that the `revisit` rule leaves (all, once nothing is left)."""
        allowed = np.ones((len(self), self.actions), bool)
        if self.rules.revisit == "forbid":
            free = ~self.visited
            allowed[:, : self.rules.grid.count] = (free | ~free.any(1, keepdim=True)).cpu().numpy()
        return allowed

    def _look(self, at: Tensor, indices: Sequence[int]) -> list[EncodedSample]:
        """Put images in rows; returns their samples."""
        samples = self.encoded.fetch(indices)
        self.index[at] = torch.tensor(indices, dtype=torch.int64, device=self.model.device)
        cells = self.embeddings.shape[2:]
        for row, sample in zip(at, samples, strict=True):  # one by one: a encoding and its terms fill megabytes
            encoding = sample.encoding[None].float()
            self.embeddings[row] = resize_map(encoding[0, : sample.channels], cells)
            for kept, new in zip(self.image, self.model.prepare_image(encoding), strict=True):
                kept[row] = new[0]
        truth, valid = (torch.stack([getattr(sample, name) for sample in samples]) for name in ("truth", "valid"))
        self.truth[at], self.valid[at] = truth, valid
        self.valid_coarse[at] = resize_map(valid, cells)
        self.truth_coarse[at] = fraction_of(resize_map(truth * valid, cells), self.valid_coarse[at])
        if self.encoded.clip:
            self.similarity[at] = resize_map(
                torch.stack([cast(Tensor, sample.similarity) for sample in samples]), cells
            )
        centres = np.stack([self.rules.grid.truth(sample.mask) for sample in samples])
        self.centre_is_foreground[at] = torch.from_numpy(centres).to(self.model.device)
        return samples

    def _prompt_from_truth(self, row: int, sample: EncodedSample, generator: np.random.Generator) -> None:
        """One random foreground and one random background pixel (§3.2); if one kind is missing, only the other."""
        mask = sample.mask
        background = ~mask if sample.void is None else ~(mask | sample.void)
        for slot, (region, label) in enumerate(((mask, 1), (background, 0))):
            pixels = np.flatnonzero(region)
            if len(pixels):
                y, x = np.divmod(int(generator.choice(pixels)), mask.shape[1])
                point_px = torch.tensor([x + 0.5, y + 0.5], dtype=torch.float64)
                size = (mask.shape[0], mask.shape[1])
                self.points[row, slot] = image_to_frame(point_px, size, self.rules.grid.image_size).to(self.points)
                self.labels[row, slot] = label

    def _prompt_from_map(self, at: Tensor, maps: Tensor) -> None:
        """The highest point, as foreground, and the lowest, as background, of maps (rows, h, w)."""
        height, width = maps.shape[1:]
        scale = torch.tensor([width, height], device=maps.device)
        for slot, (extreme, label) in enumerate(((maps.flatten(1).argmax(1), 1), (maps.flatten(1).argmin(1), 0))):
            cell = torch.stack([extreme % width, extreme // width], dim=1)
            self.points[at, slot] = unit_to_frame((cell + 0.5) / scale, self.rules.grid.image_size)
            self.labels[at, slot] = label

    def _label(self, at: Tensor, action: Tensor, point: Tensor) -> Tensor:
        """1 or 0 for each chosen point, from the rules' label source (Table 8)."""
        match self.rules.label_source:
            case "srm":
                return (self.rules.grid.sample(self.srm_logits[at], point) > 0).long()
            case "last":
                return (self.rules.grid.sample(self.logits[at], point) > 0).long()
            case "clip":
                return (self.rules.grid.sample(self.similarity[at], point) > 0.5).long()
            case "oracle":
                return self.centre_is_foreground[at, action].long()
        return torch.ones_like(action)

    def _answer(self, at: Tensor, again: bool) -> None:
        """Ask SAM (Eq. 2) and keep what follows from its answer."""
        used = int(_INITIAL + self.steps[at].max())
        self._keep(at, self._ask(at, self.points[at, :used], self.labels[at, :used], again))

    def _ask(self, at: Tensor, points: Tensor, labels: Tensor, again: bool) -> Tensor:
        """SAM's logits float (rows, 4h, 4w) for prompts on the images of rows `at`; again: it has answered before."""
        last = self.logits[at] if again and self.rules.mask_prompt else None
        points_unit = frame_to_unit(points, self.rules.grid.image_size)
        return self.model.decode(self.image, at, points_unit, labels, last)

    def _keep(self, at: Tensor, logits: Tensor) -> None:
        self.logits[at] = logits
        self.mask[at] = resize_map(logits.sigmoid(), self.mask.shape[1:])
        self.iou[at] = self._iou(at, logits)

    def _iou(self, at: Tensor, logits: Tensor) -> Tensor:
        return logits_iou(logits, self.truth[at], self.valid[at])

    def _recalibrate(self, at: Tensor) -> None:
        """Ask the SRM for its map of the state that SAM's answer led to."""
        self.srm_logits[at] = self.srm.logits(self._srm_states(at, self.mask[at]), self._folds_at(at))

    def _srm_states(self, at: Tensor, masks: Tensor) -> State:
        """s_t, after s_c if the branch is explicit."""
        state = make_state(srm_state(self.rules.state), take_rows(self.embeddings, at), masks, masks)
        return state.after_text(self.similarity[at]) if self.srm.kind == "explicit" else state

    def _teach(self, at: Tensor) -> None:
        """The SRM's q updates after an action, on the states that the action led to."""
        masks = self.mask[at]
        if every := self.srm.config.full_mask_every:
            masks[(at + self.steps[at]) % every == 0] = 1.0
        states = self._srm_states(at, masks)
        self.srm.learn(states, self.truth_coarse[at], self.valid_coarse[at], self._folds_at(at))

    def _folds_at(self, at: Tensor) -> Tensor | None:
        """Which fold each row's image is in; None where the SRM has one branch, or has seen none of the images."""
        return None if self._folds is None or self.srm.config.folds == 1 else self._folds[self.index[at]]


def patch_means(rules: Rules, embeddings: Tensor, mask: Tensor, srm_logits: Tensor) -> Tensor:
    """`Episode.patches` of embeddings float (B, C, g, g), M and the SRM's map as logits, both (B, g, g)."""
    grid, likely = rules.grid, srm_logits.sigmoid()
    state = make_state(rules.state, embeddings, mask, likely)
    means = [grid.pool_product(embeddings, factor) for factor in state.factors.unbind(1)]
    means.append(grid.pool(state.maps))
    if rules.state == "guided":
        means.append(grid.pool((likely - mask).abs())[:, None])
        at_centres = grid.sample(srm_logits, grid.centres.to(srm_logits.device).expand(srm_logits.shape[0], -1, -1))
        means.append(at_centres.sigmoid().unflatten(1, (1, grid.side, -1)))
    return torch.cat(means, dim=1)
