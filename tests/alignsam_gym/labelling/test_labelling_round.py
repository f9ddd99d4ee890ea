"""The whole round with the embedded SAM and the command that trains: label, train, correct, predict, export."""

import shutil
import sys
import time

import cv2
import numpy as np
import pytest

from alignsam_gym import AlignSAM
from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.data.shapes_dataset import ShapesDataset
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.labelling.clicked_sam import ClickedSam
from alignsam_gym.labelling.label_server import run_job
from alignsam_gym.labelling.labelling_project import LabellingProject
from alignsam_gym.labelling.labelling_session import LabellingSession
from alignsam_gym.labelling.photo_folder import PhotoFolder
from alignsam_gym.metrics import overlap
from tests.experiments.small import HARDLY_EVALUATED, SMALL

TRAIN = [sys.executable, "-m", "alignsam_gym.experiments.cli", "train"]
OPTIONS = [*SMALL, *HARDLY_EVALUATED]


def wait_for_agent(project):
    for _ in range(12_000):
        status = project.training.status()
        assert status.state in ("running", "finished"), status.message
        if project.proposals:
            return status
        time.sleep(0.1)
    return pytest.fail("the training has not ended in twenty minutes")


@pytest.mark.slow
def test_the_whole_round(tmp_path):
    scenes = ShapesDataset("saliency", "train")
    folder = tmp_path / "my photographs (1)"
    folder.mkdir()
    for index in range(8):
        cv2.imwrite(str(folder / f"{index}.jpg"), scenes[index].image[..., ::-1])
    sam = ClickedSam(load_sam("tiny", "cpu"), EmbeddingStore())
    project = LabellingProject(PhotoFolder.find(folder), sam, TRAIN, OPTIONS, "cpu")
    try:
        window = LabellingSession(project)
        window.open("0")
        window.nothing_here()  # from which nothing can be learned, and on which nothing can be tested
        ious = []
        for index in range(1, 6):
            truth = scenes[index].mask
            window.open(str(index))
            y, x = np.argwhere(truth).mean(0)
            window.add_point(x + 0.5, y + 0.5, positive=True)
            ious.append(np.divide(*overlap(window.mask, truth)))
        assert np.mean(ious) > 0.6
        run_job(project, "train")
        status = wait_for_agent(project)
        assert (status.agent, status.done) == ("agent-1", 1.0)
        window.open(project.next_stem("5"))
        assert window.shows_proposal
        window.accept()
        assert project.outcomes.summary() == (1, 1, 1.0)
        assert run_job(project, "predict").startswith("1 masks")
        run_job(project, "export")
    finally:
        project.close()
    assert AlignSAM.from_pretrained(project.folder.beside("agent.alignsam"))
    # What was labelled is what was learned from, and what is there for anybody else.
    options = {"images": folder.name, "masks": project.folder.masks.name, "on_error": "skip"}
    ids = [name for split in ("train", "test") for name in FolderDataset(split, tmp_path, **options).ids]
    assert len(ids) == 7
    again = LabellingProject(PhotoFolder.find(folder), sam, TRAIN, OPTIONS, "cpu")
    again.close()
    assert again.outcomes.summary() == (1, 1, 1.0)
    shutil.rmtree(project.folder.state)
    assert len(project.masks.stems()) == 7
