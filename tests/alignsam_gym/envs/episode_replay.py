"""A replay of an episode by SamPredictor and NumPy, which knows nothing of the package's own rules."""

import cv2
import numpy as np
import torch
from segment_anything import SamPredictor


class Replay:
    """One episode on one sample, on a `side` × `side` grid of patches in a frame of `frame` pixels."""

    def __init__(self, model, sample, frame):
        self.frame, self.side = frame, 4
        self.void = np.zeros_like(sample.mask) if sample.void is None else sample.void
        self.truth = sample.mask & ~self.void
        self.predictor = SamPredictor(model.sam)
        if sample.image.shape[:2] == (64, 64) and frame == 64:
            self.predictor.set_image(sample.image)
        else:  # SamPredictor resizes with another filter
            height, width = sample.image.shape[:2]
            image = (
                sample.image
                if width <= frame
                else cv2.resize(sample.image, (frame, height), interpolation=cv2.INTER_AREA)
            )
            self.predictor.features = model.encode([cv2.resize(image, (frame, frame))])
            self.predictor.original_size, self.predictor.input_size = (frame, frame), (64, 64)
            self.predictor.is_image_set = True
        self.predictor.features = self.predictor.features.half().float()
        self.points, self.labels = [], []

    def centre(self, action):
        row, column = divmod(action, self.side)
        return np.array([column + 0.5, row + 0.5]) * self.frame / self.side

    def foreground(self, point):
        x, y = (np.array(point) / self.frame * self.truth.shape[::-1]).astype(int)
        return bool(self.truth[y, x])

    def prompt(self, point, label):
        self.points.append(point)
        self.labels.append(label)
        answer = self.predictor.predict(np.array(self.points), np.array(self.labels), multimask_output=False)
        self.logits = answer[2][0]

    @property
    def mask(self):
        return shrink(1 / (1 + np.exp(-self.logits)), 8)

    @property
    def state(self):
        return self.predictor.features[0].numpy() * self.mask

    @property
    def iou(self):
        truth, weight = labelled_fractions(self.truth, self.void, 32)
        truth, answer = truth > 0.5, self.logits > 0
        union = (weight * (truth | answer)).sum()
        return (weight * (truth & answer)).sum() / union if union else 1.0

    def logit_at(self, point):
        """Bilinear between the centres of the logits' cells."""
        x, y = np.clip(np.array(point) / self.frame * 32 - 0.5, 0, 31)
        left, top = min(int(x), 30), min(int(y), 30)
        a, b = x - left, y - top
        near = self.logits[top : top + 2, left : left + 2]
        return np.array([1 - b, b]) @ near @ np.array([1 - a, a])


def shrink(values, side):
    """Means over the cells of a `side` × `side` grid, for any size."""
    values = np.asarray(values, float)
    for axis in (0, 1):
        size = values.shape[axis]
        values = np.repeat(values, np.lcm(size, side) // size, axis)
        values = np.stack([part.mean(axis) for part in np.split(values, side, axis)], axis)
    return values


def labelled_fractions(mask, void, side):
    """The foreground's share of each cell's labelled pixels, 0 where there are none, and the share of these."""
    foreground, valid = shrink(mask & ~void, side), shrink(~void, side)
    return np.divide(foreground, valid, out=np.zeros_like(valid), where=valid > 0), valid


def replay_of(env, model, sample, frame=64):
    """A replay that knows the initial prompts of `env`."""
    replay, episode = Replay(model, sample, frame), env.unwrapped.episode
    for point, label in zip(episode.points[0, :2].tolist(), episode.labels[0, :2].tolist(), strict=True):
        if label >= 0:
            replay.prompt(np.array(point), label)
    return replay


def fix_srm(env, logits):
    """Let the SRM answer `logits` (8, 8), whatever it is asked; returns the states that it is shown."""
    seen = []

    def answer(states, folds):
        seen.append(states.formed())
        return torch.as_tensor(logits, dtype=torch.float32).expand(len(states), -1, -1)

    env.unwrapped.srm.logits = answer
    return seen


def halves(vertical=True):
    """A map that calls the left (or upper) half foreground."""
    half = np.where(np.arange(8) < 4, 1.0, -1.0)
    return np.tile(half, (8, 1)) if vertical else np.tile(half[:, None], (1, 8))
