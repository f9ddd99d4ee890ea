import csv
import json

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from alignsam_gym.data.mask_files import write_mask
from alignsam_gym.errors import DataError
from alignsam_gym.experiments import score as command
from alignsam_gym.metrics import MetricTotals, score_mask


class Labelled:
    """Three images of different sizes, with void, of two categories."""

    name = "labelled"
    ids = ("a/0_cat", "a/0_dog", "b.1_cat")

    def __len__(self):
        return 3

    def __getitem__(self, index):
        from alignsam_gym.data import Sample

        rng, shape = np.random.default_rng(index), (20 + index, 30)
        mask, void = rng.random(shape) > 0.5, rng.random(shape) > 0.9
        name = self.ids[index]
        return Sample(name, np.zeros((*shape, 3), np.uint8), mask & ~void, void, text=name[-3:])


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command on predictions that a test has put in tmp_path / "masks"."""
    monkeypatch.setattr(command, "load_dataset", lambda *_, **__: Labelled())

    def run(*overrides):
        with initialize_config_dir(f"{command.__file__.rpartition('experiments')[0]}conf", version_base="1.3"):
            config = compose("score", [f"predictions={tmp_path / 'masks'}", *overrides])
        command.main.__wrapped__(config)
        return json.loads((tmp_path / "masks" / "scores.json").read_text())

    return run


@pytest.fixture
def answers(tmp_path):
    """Random masks, saved under the samples' names."""
    saved = {}
    for sample in Labelled():
        saved[sample.id] = np.random.default_rng(9).random(sample.mask.shape) > 0.4
        write_mask(tmp_path / "masks", sample.id, saved[sample.id])
    return saved


def expected(answers):
    totals = MetricTotals()
    for sample in Labelled():
        if sample.id in answers:
            totals.add(score_mask(answers[sample.id], sample.mask, sample.void), sample.text)
    return totals.summary()


def test_scores_are_those_of_the_masks(run, answers, tmp_path):
    record = run()
    assert record["metrics"] == expected(answers)
    assert (record["images"], record["skipped"]) == (3, {})
    assert list(record["metrics"]["by_category"]) == ["cat", "dog"]
    with (tmp_path / "masks" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == list(Labelled.ids)
    mean = np.mean([float(row["s_measure"]) for row in rows])
    assert mean == pytest.approx(record["metrics"]["over_images"]["s_measure"], abs=1e-5)


def test_grey_levels_are_scored(run, answers, tmp_path):
    rng = np.random.default_rng(4)
    for sample in Labelled():
        answers[sample.id] = rng.integers(0, 256, sample.mask.shape, dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "masks" / f"{sample.id}.png"), answers[sample.id])
    record = run()
    assert record["metrics"] == expected(answers)
    figures = record["metrics"]["over_images"]
    assert figures["f_beta_adaptive"] != figures["f_beta"] != figures["f_beta_curve_max"]


def test_missing_predictions_are_counted_and_named(run, answers, tmp_path):
    (tmp_path / "masks" / "a" / "0_dog.png").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of the 3 predictions for labelled: a/0_dog\."):
        run()
    record = run("on_error=skip")
    del answers["a/0_dog"]
    assert record["metrics"] == expected(answers)
    assert record["skipped"] == {"a/0_dog": "missing"}


def test_broken_predictions_stop_or_are_skipped(run, answers, tmp_path):
    (tmp_path / "masks" / "a" / "0_dog.png").write_text("no picture")
    with pytest.raises(DataError, match=r"0_dog\.png cannot be read"):
        run()
    record = run("on_error=skip")
    assert record["images"] == 2
    assert "cannot be read" in record["skipped"]["a/0_dog"]


def test_another_size_is_an_error_unless_it_may_be_scaled(run, answers, tmp_path):
    small = np.kron(np.eye(2), np.ones((4, 4))) > 0
    write_mask(tmp_path / "masks", "b.1_cat", small)
    with pytest.raises(DataError, match=r"b\.1_cat\.png is 8×8, its image 30×22"):
        run()
    record = run("resize=true")
    answers["b.1_cat"] = cv2.resize(small.astype(np.uint8) * 255, (30, 22))
    assert record["metrics"] == expected(answers)


@pytest.mark.parametrize("level", [1, 2, 100])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_are_scored_by_what_they_mean_as_ground_truth_is_read(run, answers, tmp_path, level, dtype):
    expected = run()
    cv2.imwrite(str(tmp_path / "masks" / "b.1_cat.png"), answers["b.1_cat"].astype(dtype) * dtype(level))
    assert run() == expected


def test_a_mask_in_the_alpha_channel_is_scored_as_one(run, answers, tmp_path):
    expected = run()
    pixels = np.full((*answers["b.1_cat"].shape, 4), 255, np.uint8)
    pixels[..., 3] = answers["b.1_cat"] * 255
    cv2.imwrite(str(tmp_path / "masks" / "b.1_cat.png"), pixels)
    assert run() == expected


def test_predictions_of_many_colours_are_told_with_the_key(run, answers, tmp_path):
    expected = run()
    colours = np.where(answers["b.1_cat"][..., None], (0, 0, 255), (9, 9, 9)).astype(np.uint8)
    colours[:, :3] = np.where(answers["b.1_cat"][:, :3, None], (0, 9, 255), (9, 9, 9))
    cv2.imwrite(str(tmp_path / "masks" / "b.1_cat.png"), colours)
    with pytest.raises(DataError, match=r"b\.1_cat: .*does not say what is foreground.* foreground=\[\["):
        run()
    assert run("foreground=[[255,0,0],[255,9,0],white]") == expected


def test_nothing_to_score_is_an_error(run, tmp_path):
    with pytest.raises(DataError, match="no folder"):
        run()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match=r"Nothing in .* could be scored"):
        run("on_error=skip")
    write_mask(tmp_path / "masks", "a/0_cat", np.ones((2, 2), bool))
    cv2.imwrite(str(tmp_path / "masks/a/0_cat.bmp"), np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match="one name"):
        run("on_error=skip")


def test_other_files_do_not_matter(run, answers, tmp_path):
    write_mask(tmp_path / "masks", "c/of another data set", np.ones((2, 2), bool))
    (tmp_path / "masks" / "notes.txt").write_text("done")
    assert run()["metrics"] == expected(answers)
