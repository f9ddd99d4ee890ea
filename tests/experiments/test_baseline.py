import json
import re

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from alignsam_gym.baselines import make_baseline
from alignsam_gym.envs.env_config import EnvConfig
from alignsam_gym.envs.episode_factory import make_episode
from alignsam_gym.errors import OptionError
from alignsam_gym.experiments import baseline as command

SMALL = ["env.image_size=64", "env.shots=3", "evaluate.limit=4", "evaluate.batch_size=3", "device=cpu"]


def composed(*overrides):
    with initialize_config_dir(f"{command.__file__.rpartition('experiments')[0]}conf", version_base="1.3"):
        return compose("baseline", [*SMALL, *overrides])


@pytest.fixture
def compete(tmp_path, monkeypatch, toy_model):
    """The command on the toy SAM; returns what it measured."""
    monkeypatch.setattr(command, "load_sam", lambda *_: toy_model)

    def compete(*overrides):
        command.run_baseline(tmp_path, composed(*overrides))
        return json.loads((tmp_path / "metrics.json").read_text())

    return compete


def test_the_record_has_an_evaluations_form(compete, tmp_path):
    metrics = compete("method=persam", "evaluate.save_predictions=true", "seed=3")
    assert set(metrics) == {"training_minutes", "seed", "split", "measured_on", "table", "prompting", "iou_by_image"}
    assert (metrics["seed"], metrics["table"]) == (3, ["iou", "f_beta"])
    summary, by_image = metrics["prompting"]["persam"], metrics["iou_by_image"]["persam"]
    assert summary["images"] == len(by_image) == 4
    assert summary["miou"] == pytest.approx(np.mean(list(by_image.values())), abs=1e-4)
    assert summary["miou_by_step"] == [round(summary["miou"], 5)]
    assert summary["foreground_rate"] is None
    for name in by_image:
        assert cv2.imread(str(tmp_path / "predictions" / "persam" / f"{name}.png"), 0) is not None
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("method", ["persam_f", "samed", "msa"])
def test_what_learns_repeats_itself_by_seed(compete, method):
    first, again = (compete(f"method={method}", "method.steps=2") for _ in range(2))
    assert first["iou_by_image"] == again["iou_by_image"]


@pytest.mark.slow
def test_points_by_text(compete):
    assert compete("method=clip_points", "dataset=shapes-named")["prompting"]["clip_points"]["images"] == 4


def test_the_labelled_images_are_the_agents(toy_model):
    mine = command.open_split(composed("seed=5"), "train", toy_model)
    options = {"sam": toy_model, "image_size": 64, "patch_size": 16, "shots": 3, "shots_seed": 5}
    theirs = make_episode(EnvConfig.of(options)).encoded
    assert mine.dataset.ids == theirs.dataset.ids
    assert torch.equal(mine[1].embedding, theirs[1].embedding)


def test_an_unknown_method_is_an_error(toy_model):
    with pytest.raises(OptionError, match="persam, persam_f, samed, msa, clip_points, seggpt"):
        make_baseline(toy_model, {"name": "sem"})


ONE = {"references": 1, "cells": "majority"}


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("persam", {**ONE, "references": 0, "multimask": True, "boxes": True}, "method.references=0: it must be at"),
        ("persam", {**ONE, "multimask": "no", "boxes": True}, "method.multimask='no': it must be true or false"),
        ("persam_f", {**ONE, "steps": 0, "learning_rate": 1e-3}, "method.steps=0: it must be at least 1"),
        ("persam_f", {**ONE, "steps": 1.5, "learning_rate": 1e-3}, "method.steps=1.5: it must be a whole number"),
        ("persam_f", {**ONE, "steps": 1, "learning_rate": "high"}, "method.learning_rate='high': it must be a number"),
        ("persam_f", {**ONE, "steps": 1, "learning_rate": -1.0}, "method.learning_rate=-1.0: it must be 0 or more"),
        (
            "samed",
            {
                "rank": 4,
                "dice": 2.0,
                "warmup": 1,
                "steps": 1,
                "batch_size": 1,
                "learning_rate": 0.1,
                "weight_decay": 0.0,
            },
            "method.dice=2.0: the Dice loss's share of the whole loss lies from 0 to 1",
        ),
        (
            "persam_f",
            {**ONE, "steps": 1},
            "method.learning_rate: this method takes references, cells, steps, learning_rate, and nothing else",
        ),
        (
            "persam",
            {**ONE, "multimask": True, "boxes": True, "rank": 4},
            "method.rank: this method takes references, cells, multimask, boxes",
        ),
    ],
)
def test_a_mistaken_option_is_an_error(toy_model, name, options, named):
    with pytest.raises(OptionError, match=re.escape(named)):
        make_baseline(toy_model, {"name": name, **options})


def test_points_by_text_need_a_clip(compete):
    with pytest.raises(OptionError, match=r"method\.clip=None: this method needs a name or a path here; give"):
        compete("method=clip_points", "env.clip=null", "dataset=shapes-named")


def test_a_mistaken_option_is_told_before_images_are_looked_for(compete, tmp_path):
    with pytest.raises(OptionError, match=r"method\.rank=0"):
        compete("method=samed", "method.rank=0", "dataset=folder", f"dataset.root={tmp_path / 'nowhere'}")


@pytest.mark.parametrize(("method", "key"), [("samed", "rank"), ("msa", "ratio")])
def test_options_of_what_they_have_in_common_are_checked_too(compete, method, key):
    for option in (key, "batch_size"):
        with pytest.raises(OptionError, match=f"method.{option}=0"):
            compete(f"method={method}", f"method.{option}=0")
