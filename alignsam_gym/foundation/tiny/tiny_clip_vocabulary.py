"""Words that the embedded CLIP knows best: names of what has masks in its training and a data set here."""

from __future__ import annotations

from alignsam_gym.data import drawn_scenes
from alignsam_gym.data.shapes_dataset import TEXTS
from alignsam_gym.data.voc_dataset import CATEGORIES, TWO_WORDS

_OTHER_WORDS = {
    "aeroplane": ("airplane", "plane"),
    "bicycle": ("bike",),
    "boat": ("ship",),
    "cat": ("kitten",),
    "cow": ("cattle",),
    "diningtable": (TWO_WORDS["diningtable"], "table"),
    "dog": ("puppy",),
    "motorbike": ("motorcycle",),
    "person": ("man", "woman", "human"),
    "pottedplant": (TWO_WORDS["pottedplant"], "plant"),
    "sheep": ("lamb",),
    "sofa": ("couch",),
    "tvmonitor": (TWO_WORDS["tvmonitor"], "tv", "television", "monitor"),
}

VOC = tuple((category, *_OTHER_WORDS.get(category, ())) for category in CATEGORIES)
"""Pascal VOC's categories in the order of their class indices, which begin at 1, each with other words for it."""

TASKS = {
    "saliency": (TEXTS["saliency"], "saliency", "salient object"),
    "shadow": (TEXTS["shadow"],),
    "mirror": (TEXTS["mirror"], "mirror"),
    "defocus": (TEXTS["defocus"], "defocus", "out of focus"),
}
"""The drawn tasks with one target in each scene, and the words for that."""

NAMES = (*((kind,) for kind in drawn_scenes.KINDS), *TASKS.values(), *VOC)
"""All of these, in tuples of words that mean the same."""
