"""What an agent saves on the page of `alignsam label`: a person is simulated in a Chromium, who knows the true masks.

    python examples/labelling_round.py photos/ --train-after 10 20

The person clicks once a second, always in the middle of the largest region where the mask is still wrong, until the
mask has the IoU wanted. After each number of masks in --train-after, an agent is trained; from then on the person
accepts a proposal that is good enough with one key, takes one that is hopeless away, and corrects the others. Without
--train-after SAM alone answers. Photographs and masks are in the layout of `dataset=folder`; the photographs are copied
to a temporary folder, where the labelling happens. It needs a Chromium:

    pip install -e ".[examples]"
    playwright install chromium
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from playwright.sync_api import Page, sync_playwright

from alignsam_gym.data.image_files import read_image
from alignsam_gym.experiments.pretrain.clicks import hardest_click
from alignsam_gym.foundation.encoding.embedding_store import RecentStore
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.labelling.clicked_sam import ClickedSam
from alignsam_gym.labelling.label_server import served_labels
from alignsam_gym.labelling.labelling_project import LabellingProject
from alignsam_gym.labelling.photo_folder import PhotoFolder
from alignsam_gym.labelling.saved_masks import SavedMasks
from alignsam_gym.metrics import iou_of

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOPELESS = 0.5
"""IoU below which the person takes a proposal away and begins anew."""
TRAIN = [sys.executable, "-m", "alignsam_gym.experiments.cli", "train"]


class Labelled(NamedTuple):
    """One photograph, in the order in which they were labelled.

    Attributes:
        stem: Its name.
        agent: Whose proposal it came with; None where there was none.
        proposed: IoU of that proposal with the true mask, or 0.
        clicks: How many there were.
        iou: Of the mask in the end.
        seconds: From when it was shown until the key that went on.
    """

    stem: str
    agent: str | None
    proposed: float
    clicks: int
    iou: float
    seconds: float


class Person:
    """Labels what the page shows.

    Args:
        page: Of the photographs.
        project: What the page labels. Only masks and proposals, which a person sees, are read from it.
        truths: The true mask of each photograph, bool (H, W).
        iou: When a mask is good enough.
        most: Clicks on a photograph.
        pace: Seconds between clicks.
    """

    def __init__(
        self,
        page: Page,
        project: LabellingProject,
        truths: Mapping[str, np.ndarray],
        iou: float,
        most: int,
        pace: float,
    ) -> None:
        self.page, self.project, self.truths = page, project, truths
        self.wanted, self.most, self.pace = iou, most, pace

    def label(self) -> Labelled:
        """Label the photograph that is shown, and go on to the next."""
        began = time.perf_counter()
        self._next = began + self.pace
        stem = self.page.evaluate("shown.stem")
        agent = self.project.outcomes.agent if self.page.evaluate("shown.isProposal") else None
        truth, clicks = self.truths[stem], 0
        iou = proposed = self._iou(stem, truth)
        if agent and proposed < HOPELESS:
            self._press("Delete")
            iou = self._iou(stem, truth)
        while iou < self.wanted and clicks < self.most:
            x, y, label = hardest_click(self._mask(stem), truth)
            self._click(x, y, label == 1)
            clicks += 1
            iou = self._iou(stem, truth)
        self._press("Enter")
        return Labelled(stem, agent, proposed, clicks, iou, time.perf_counter() - began)

    def train(self) -> float:
        """Have an agent trained, wait until it proposes masks, and return the seconds that it took."""
        began, before = time.perf_counter(), self.project.proposals
        self.page.locator('[data-job="train"]').click()
        self.page.locator('[data-job="stop"]').wait_for()  # it shows while a training goes on
        while self.project.proposals is before:
            status = self.project.training.status()
            if status.state in ("failed", "stopped"):
                sys.exit(f"The training failed: {status.message}")
            time.sleep(0.2)
        while len(self.project.proposals.doubts()) < len(self.project.unlabelled()):
            time.sleep(0.2)
        self.page.reload()
        self.page.evaluate("waiting")
        return time.perf_counter() - began

    def _mask(self, stem: str) -> np.ndarray:
        """The mask that is shown: what is saved, or else what is proposed, if that has not been changed."""
        truth = self.truths[stem]
        shown = self.project.masks.read(stem, truth.shape)
        if shown is None and self.page.evaluate("shown.isProposal"):
            shown = self.project.proposal(stem)
        return np.zeros_like(truth) if shown is None else shown

    def _iou(self, stem: str, truth: np.ndarray) -> float:
        return iou_of(self._mask(stem), truth)

    def _press(self, key: str) -> None:
        self._wait()
        self.page.keyboard.press(key)
        self.page.evaluate("waiting")

    def _click(self, x: float, y: float, positive: bool) -> None:
        self._wait()
        box = self.page.locator("#picture").bounding_box()
        left, top = self.page.evaluate("at => toPage(at)", [x, y])
        self.page.mouse.click(box["x"] + left, box["y"] + top, button="left" if positive else "right")
        self.page.evaluate("waiting")

    def _wait(self) -> None:
        """Wait until it is time for the next click or key."""
        time.sleep(max(0.0, self._next - time.perf_counter()))
        self._next = time.perf_counter() + self.pace


@contextmanager
def opened_page(address: str) -> Iterator[Page]:
    """Open a page in the Chromium that is installed."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"There is no browser here; install one of {', '.join(BROWSERS)}.")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])  # containers forbid its own
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.get_by_role("status").filter(has_text="No mask yet").wait_for()
        yield page
        chromium.close()


def true_masks(given: PhotoFolder) -> dict[str, np.ndarray]:
    """Read every mask that is not empty, bool (H, W), by its photograph."""
    masks, found = SavedMasks(given), {}
    for stem in sorted(masks.stems()):
        mask = masks.read(stem, read_image(given.photographs[stem]).shape[:2])
        if mask is not None and mask.any():
            found[stem] = mask
    return found


def main(arguments: Sequence[str] | None = None) -> list[Labelled]:
    """Label the photographs, print what it took, and return it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sam", default="tiny")
    parser.add_argument("--count", type=int, default=50, help="photographs, the first by name that have masks")
    parser.add_argument("--train-after", type=int, nargs="*", default=[], help="numbers of masks")
    parser.add_argument("--train", nargs="*", default=[], help="further keys of the training, such as episodes=4")
    parser.add_argument("--iou", type=float, default=0.8)
    parser.add_argument("--most", type=int, default=20, help="clicks on a photograph")
    parser.add_argument("--pace", type=float, default=1.0, help="seconds between clicks")
    options = parser.parse_args(arguments)
    given = PhotoFolder.find(options.folder)
    truths = dict(list(true_masks(given).items())[: options.count])
    labelled: list[Labelled] = []
    trained: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        for stem in truths:
            copied = Path(place) / "images" / given.photographs[stem].relative_to(given.images)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(given.photographs[stem], copied)
        sam = ClickedSam(load_sam(options.sam), RecentStore())
        project = LabellingProject(PhotoFolder.find(Path(place)), sam, TRAIN, options.train)
        with served_labels(project, 0) as address, opened_page(address) as page:
            person = Person(page, project, truths, options.iou, options.most, options.pace)
            for _ in truths:
                labelled.append(person.label())
                print(summary_of(labelled[-1]), flush=True)
                if len(labelled) in options.train_after:
                    trained.append(person.train())
    report(labelled, trained, options.iou)
    return labelled


def summary_of(one: Labelled) -> str:
    """Say how a photograph was labelled."""
    beginning = f"proposed by {one.agent} with IoU {one.proposed:.3f}, " if one.agent else ""
    return f"{one.stem}: {beginning}{one.clicks} clicks, IoU {one.iou:.3f}, {one.seconds:.1f} s"


def report(labelled: Sequence[Labelled], trained: Sequence[float], wanted: float) -> None:
    """Print what all of it took."""
    clicks, seconds = (sum(getattr(one, name) for one in labelled) for name in ("clicks", "seconds"))
    reached = sum(one.iou >= wanted for one in labelled)
    print(
        f"{reached} of {len(labelled)} masks reach IoU {wanted}, the mean is {np.mean([o.iou for o in labelled]):.3f}"
    )
    print(f"{clicks} clicks; {seconds / 60:.1f} minutes of labelling, {sum(trained) / 60:.1f} of training")
    agents: dict[Any, list[Labelled]] = {}
    for one in labelled:
        agents.setdefault(one.agent, []).append(one)
    for agent, group in agents.items():
        proposed = [one.proposed for one in group]
        accepted = sum(one.clicks == 0 for one in group)
        told = f", {accepted} accepted unchanged, mean IoU of the proposals {np.mean(proposed):.3f}" if agent else ""
        print(f"{agent or 'SAM alone'}: {len(group)} photographs, {sum(o.clicks for o in group)} clicks{told}")


if __name__ == "__main__":
    main()
