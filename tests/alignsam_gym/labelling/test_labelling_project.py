import json

import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image
from pycocotools import mask as mask_utils

from alignsam_gym import AlignSAM
from alignsam_gym.data.coco_dataset import CocoDataset
from alignsam_gym.data.folder_dataset import FolderDataset
from alignsam_gym.data.mask_files import write_mask, write_picture
from alignsam_gym.errors import DataError, OptionError, WeightsError
from alignsam_gym.experiments.hydra_arguments import hydra_arguments
from alignsam_gym.labelling.clicked_sam import clean_mask, inner_point
from alignsam_gym.labelling.labelling_exports import export_labels, predict_rest
from alignsam_gym.labelling.labelling_session import LabellingSession
from alignsam_gym.labelling.window_state import project_state
from alignsam_gym.metrics import overlap
from tests.alignsam_gym.labelling.conftest import SIZE


@pytest.fixture
def run(make_run):
    """An agent with the toy SAM."""
    return make_run("agent")


@pytest.fixture
def proposing(make_project, photos, run):
    """A project whose agent proposes masks, and a window that shows the photograph a."""
    project = make_project(photos, run=run)
    window = LabellingSession(project)
    window.open("a")
    return window


def test_a_proposal_is_the_agents_mask_and_is_not_saved(proposing, run, photos):
    expected = clean_mask(AlignSAM.from_pretrained(run).predict(photos / "images/a.png").logits, SIZE)
    assert (proposing.mask == expected).mean() > 0.999  # it is kept in half precision
    assert proposing.shows_proposal
    assert not proposing.is_saved
    assert proposing.project.masks.stems() == set()


def test_a_proposal_that_is_accepted_is_saved_unchanged(proposing):
    proposal = proposing.mask.copy()
    proposing.accept()
    np.testing.assert_array_equal(proposing.project.masks.read("a", SIZE), proposal)
    assert not proposing.shows_proposal
    assert proposing.project.outcomes.summary() == (1, 1, 1.0)
    proposing.accept()
    assert proposing.edits == 1
    proposing.undo()
    assert proposing.shows_proposal
    assert proposing.project.outcomes.summary() == (0, 0, None)


def test_a_proposal_that_a_full_disk_refused_is_saved_when_it_is_accepted_again(proposing, full_disk):
    proposal = proposing.mask.copy()
    with full_disk(), pytest.raises(DataError, match="disk full"):
        proposing.accept()
    assert not proposing.is_saved
    assert not proposing.project.masks.stems()
    proposing.accept()
    assert proposing.is_saved
    np.testing.assert_array_equal(proposing.project.masks.read("a", SIZE), proposal)
    assert proposing.project.outcomes.summary() == (1, 1, 1.0)


def test_a_correction_counts_with_its_iou_also_when_it_comes_later(proposing):
    proposal = proposing.mask.copy()
    proposing.accept()
    proposing.open("b")
    proposing.accept()
    proposing.open("a")
    assert proposing.is_saved
    proposing.paint([(5, 5)], 6, adds=not proposal[5, 5])
    intersection, union = overlap(proposal, proposing.mask)
    summary = proposing.project.outcomes.summary()
    assert summary == (1, 2, pytest.approx((1 + intersection / union) / 2))
    assert intersection < union


def test_outcomes_outlive_the_page_and_belong_to_their_agent(proposing, make_project, photos, run, make_run):
    proposing.accept()
    assert make_project(photos, run=run).outcomes.summary() == (1, 1, 1.0)
    assert make_project(photos, run=make_run("another")).outcomes.summary() == (0, 0, None)


def test_a_proposal_counts_for_the_agent_that_made_it(proposing, make_run):
    project = proposing.project
    project.take_agent(make_run("another"))
    proposing.accept()
    assert project.outcomes.summary() == (0, 0, None)
    project.outcomes.agent = "agent"
    assert project.outcomes.summary() == (1, 1, 1.0)


def test_prompts_change_the_proposal_itself(proposing):
    proposing.add_point(30, 20, positive=True)
    sam, project = proposing.project.sam, proposing.project
    before = sam.as_logits(proposing.proposal)
    points = [inner_point(proposing.proposal, proposing.draft.points), *proposing.draft.points]
    expected = sam.answer(project.encoding("a"), SIZE, points, None, before)
    torch.testing.assert_close(proposing.draft.logits, expected)


def test_photographs_come_in_their_order_without_an_agent(session):
    project = session.project
    assert project.next_stem("a") == "b"
    assert project.next_stem("f") == "a"
    assert project.next_stem("a", taken=["b", "c"]) == "d"
    for stem in ("b", "c", "d", "deep/e", "f"):
        session.open(stem)
        session.nothing_here()
    assert project.next_stem("b") == "a"
    assert project.next_stem("a") is None


def test_the_most_doubtful_proposal_comes_first(proposing, monkeypatch):
    project = proposing.project
    doubts = {"a": 0.9, "b": 0.1, "c": 0.8, "d": 0.7}
    monkeypatch.setattr(project.proposals, "doubts", lambda: doubts)
    assert project.next_stem("f") == "a"
    assert project.next_stem("a") == "c"
    assert project.next_stem("a", taken=["c"]) == "d"
    proposing.open("c")
    proposing.accept()
    assert project.next_stem("a") == "d"


def test_doubt_is_where_the_srm_and_sam_disagree(run, photos):
    session = AlignSAM.from_pretrained(run).session()
    session.set_image(photos / "images/a.png")
    while session.step():
        pass
    episode = session._episode
    srm_map = torch.nn.functional.interpolate(episode.srm_logits[None], (32, 32), mode="bilinear")[0, 0]
    sam, srm = episode.logits[0] > 0, srm_map > 0
    assert session.disagreement() == pytest.approx(1 - float((sam & srm).sum() / (sam | srm).sum()))


def test_the_rest_is_predicted_and_everything_exported(proposing, photos, run):
    project = proposing.project
    proposing.accept()
    accepted = proposing.mask.copy()
    proposing.open("b")
    proposing.nothing_here()
    assert predict_rest(project) == f"4 masks are in {photos / 'predictions'}."
    assert project.masks.stems() == {"a", "b"}
    told = export_labels(project)
    for name in ("annotations.json", "agent.alignsam"):
        assert str(photos / name) in told
    AlignSAM.from_pretrained(photos / "agent.alignsam")
    assert len(json.loads((photos / "annotations.json").read_text())["images"]) == 6
    samples = CocoDataset("test", photos, annotations="annotations.json", test=["*"])
    by_id = {stem: samples[index] for index, stem in enumerate(samples.ids)}
    np.testing.assert_array_equal(by_id["a"].mask, accepted)
    mask = by_id["deep/e"].mask
    predicted = clean_mask(AlignSAM.from_pretrained(run).predict(photos / "images/deep/e.png").logits, mask.shape)
    if predicted.any():
        assert (mask == predicted).mean() > 0.999


def test_without_an_agent_nothing_is_predicted_and_masks_are_exported_alone(session, photos):
    with pytest.raises(OptionError, match="train one first"):
        predict_rest(session.project)
    session.paint([(5, 5)], 3, adds=True)
    assert "There is no agent to export" in export_labels(session.project)
    assert (photos / "annotations.json").exists()


def test_masks_are_exported_as_they_lie_on_their_photographs(make_project, photos, monkeypatch):
    turn = Image.Exif()
    turn[0x0112] = 6
    Image.new("RGB", (60, 40)).save(photos / "images/turned.jpg", exif=turn)
    drawn = np.random.default_rng(0).random((40, 60)) < 0.3
    write_mask(photos / "masks", "turned", drawn)  # by another tool, which turns nothing
    write_picture(photos / "masks", "f", np.zeros(SIZE, np.uint8))
    (photos / "masks/f.png").rename(photos / "masks/f.bmp")
    export_labels(make_project(photos))
    small = json.loads((photos / "annotations.json").read_text())
    monkeypatch.setattr("alignsam_gym.data.image_files.FULL_SIZE_PIXELS", 700)
    export_labels(make_project(photos))
    large = json.loads((photos / "annotations.json").read_text())
    for content in (small, large):
        sizes = {image["file_name"]: (image["width"], image["height"]) for image in content["images"]}
        assert sizes == {"f.png": (60, 40), "turned.jpg": (40, 60)}
    found = mask_utils.decode(small["annotations"][0]["segmentation"])
    np.testing.assert_array_equal(found, np.rot90(drawn, -1))
    assert large["annotations"][0]["segmentation"]["size"] == [60, 40]


def test_without_pycocotools_the_rest_is_exported(session, photos, monkeypatch):
    def missing():
        raise OptionError("pip install 'alignsam-gym[coco]'")

    monkeypatch.setattr("alignsam_gym.data.annotation_export.pycocotools_mask", missing)
    assert "alignsam-gym[coco]" in export_labels(session.project)


def test_the_state_tells_how_far_the_folder_is(proposing):
    proposing.accept()
    state = project_state(proposing.project)
    assert (state["labelled"], state["count"], state["canTrain"], state["agent"]) == (1, 6, False, "agent")
    assert state["outcomes"] == {"unchanged": 1, "proposed": 1, "mean_iou": 1.0}
    assert state["command"].startswith("alignsam train dataset=folder dataset.root=")
    json.dumps(state)


def test_a_broken_photograph_keeps_no_proposal_from_the_others(make_project, photos, run):
    (photos / "images/b.png").write_bytes(b"no photograph")
    project = make_project(photos, run=run)
    told = predict_rest(project)
    assert "5 masks are in" in told
    assert "b.png cannot be read" in told


def test_the_latest_agent_that_was_trained_proposes_when_the_page_is_opened_again(make_project, photos, run):
    trained = photos / ".alignsam/agent-1"
    trained.parent.mkdir()
    run.rename(trained)
    assert make_project(photos).proposals is None  # it has no metrics yet: it is not finished
    (trained / "metrics.json").write_text("{}")
    assert make_project(photos).outcomes.agent == "agent-1"


def test_a_trained_agent_that_cannot_be_loaded_is_told_and_does_not_close_the_page(make_project, photos, run):
    trained = photos / ".alignsam/agent-1"
    trained.parent.mkdir()
    run.rename(trained)
    (trained / "metrics.json").write_text("{}")
    (trained / "config.yaml").write_text("no: agent")
    project = make_project(photos)
    assert project.proposals is None
    assert project_state(project)["problem"].startswith("agent-1 cannot propose: ")
    with pytest.raises(WeightsError):
        make_project(photos, run=trained)


def test_an_agent_that_needs_a_text_and_has_none_is_refused(make_project, photos, make_run):
    guided = {"branch": "explicit", "clip": "tiny"}
    with pytest.raises(OptionError, match="trained on one category"):
        make_project(photos, run=make_run("several", **guided))
    assert make_project(photos, run=make_run("one", text="a star", **guided)).proposals


def test_a_training_runs_where_the_page_does_unless_it_is_told_otherwise(make_project, photos):
    keys = make_project(photos, options=["device=cuda:1"]).training_options
    assert [key for key in keys if key.startswith("device=")] == ["device=cpu", "device=cuda:1"]
    assert "device=cuda:1" in hydra_arguments("train", keys)


def test_an_encoding_that_failed_is_tried_again(project, photos):
    content = (photos / "images/a.png").read_bytes()
    (photos / "images/a.png").write_bytes(b"no photograph")
    with pytest.raises(DataError):
        project.encoding("a")
    (photos / "images/a.png").write_bytes(content)
    assert project.encoding("a").shape[0] == 1
    assert project.encode_ahead("a") is project.encode_ahead("a")


def paint(session, *stems):
    for stem in stems:
        session.open(stem)
        session.paint([(5, 5)], 3, adds=True)


def held_out(project):
    """The photographs that a training would test on, of those that have masks."""
    words = hydra_arguments("train", project.training_arguments())
    found = [OverridesParser.create().parse_override(word) for word in words if word.startswith("dataset.test=")]
    assert len(found) == 1
    test = OmegaConf.to_container(OmegaConf.create({"test": found[0].value()}), resolve=True)["test"]
    return FolderDataset("test", project.folder.root, on_error="skip", test=test).ids


def test_one_photograph_with_something_in_its_mask_is_held_out(session, photos):
    session.nothing_here()
    paint(session, "b", "c", "d", "deep/e", "f")
    assert held_out(session.project) == ["b"]  # not its folder
    (photos / "images/b.png").write_bytes((photos / "images/b.png").read_bytes()[:2000])  # torn, which a header hides
    session.project.pixels.cache_clear()
    assert held_out(session.project) == ["c"]


@pytest.mark.parametrize("stem", ["7", "null", "a[1]", "a*, b", "it's ${so}", r"back\\slash\\", "été"])
def test_a_photograph_of_any_name_is_held_out_alone(make_project, photos, stem):
    for name in ("a", "b", "c", "d", "deep/e", "f"):
        (photos / f"images/{name}.png").rename(photos / f"images/{stem}{name[-1].strip('a')}.png")
    project = make_project(photos)
    assert next(iter(project.folder.photographs)) == stem
    paint(LabellingSession(project), *project.folder.photographs)
    assert held_out(project) == [stem]


def test_empty_masks_are_too_few_to_train_on(session):
    paint(session, "b", "c", "d", "f")
    for stem in ("a", "deep/e"):
        session.open(stem)
        session.nothing_here()
    assert project_state(session.project)["labelled"] == 6
    assert not project_state(session.project)["canTrain"]
    with pytest.raises(OptionError, match="Label 5 photographs first"):
        session.project.training.start()
    session.paint([(5, 5)], 3, adds=True)
    assert project_state(session.project)["canTrain"]
