"""How many clicks a mask takes on the page of `alignsam label`: a person is simulated, who knows the true masks.

    python examples/clicks_to_masks.py photos/ --sam tiny

Each click is in the middle of the largest region where the mask is still wrong. Photographs and masks are in the layout
of `dataset=folder`; they are copied to a temporary folder, where the labelling happens as on the page.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alignsam_gym.experiments.pretrain.clicks import hardest_click
from alignsam_gym.foundation.encoding.embedding_store import RecentStore
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.labelling.clicked_sam import ClickedSam
from alignsam_gym.labelling.labelling_project import LabellingProject
from alignsam_gym.labelling.labelling_session import LabellingSession
from alignsam_gym.labelling.photo_folder import PhotoFolder
from alignsam_gym.labelling.saved_masks import SavedMasks
from alignsam_gym.metrics import iou_of


class Labelled(NamedTuple):
    """One photograph. `ious` are those after 0, 1, … clicks, `seconds` those of opening and answering all of them."""

    stem: str
    ious: list[float]
    seconds: float


def label_by_clicks(session: LabellingSession, stem: str, truth: np.ndarray, iou: float, most: int) -> Labelled:
    """Click until the mask has that IoU with the truth, bool (H, W), or `most` clicks are made."""
    began, spent_looking = time.perf_counter(), 0.0
    session.open(stem)
    ious = [0.0]
    while ious[-1] < iou and len(ious) <= most:
        looked = time.perf_counter()
        x, y, label = hardest_click(session.mask, truth)
        spent_looking += time.perf_counter() - looked
        session.add_point(x, y, label == 1)
        ious.append(iou_of(session.mask, truth))
    return Labelled(stem, ious, time.perf_counter() - began - spent_looking)


def main(arguments: Sequence[str] | None = None) -> list[Labelled]:
    """Label every photograph that has a mask, print what it took, and return it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sam", default="tiny")
    parser.add_argument("--iou", type=float, default=0.9)
    parser.add_argument("--most", type=int, default=20, help="clicks on a photograph")
    options = parser.parse_args(arguments)
    given = PhotoFolder.find(options.folder)
    masks = SavedMasks(given)
    labelled = []
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(given.images, Path(place) / "images")
        sam = ClickedSam(load_sam(options.sam), RecentStore())
        project = LabellingProject(PhotoFolder.find(Path(place)), sam, train=[])
        session = LabellingSession(project)
        for stem in sorted(masks.stems()):
            truth = masks.read(stem, project.pixels(stem).shape[:2])
            if truth is not None and truth.any():
                labelled.append(label_by_clicks(session, stem, truth, options.iou, options.most))
                print(f"{stem}: {len(labelled[-1].ious) - 1} clicks, IoU {labelled[-1].ious[-1]:.3f}")
        project.close()
    if not labelled:
        parser.error(f"no photograph of {given.images} has a mask to label: put masks into {given.masks}")
    clicks = np.array([len(each.ious) - 1 for each in labelled])
    reached = np.array([each.ious[-1] >= options.iou for each in labelled])
    seconds = np.array([each.seconds for each in labelled])
    print(f"{reached.sum()} of {len(labelled)} masks reach IoU {options.iou}")
    print(f"clicks: median {np.median(clicks):g}, mean {clicks.mean():.1f}")
    print(f"seconds of computing: median {np.median(seconds):.2f}, {np.median(seconds / clicks):.3f} a click")
    return labelled


if __name__ == "__main__":
    main()
