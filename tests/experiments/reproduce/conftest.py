"""Runs that take no time: their metrics are drawn from the seed."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir

from alignsam_gym.data import drawn_scenes
from alignsam_gym.experiments.reproduce import __main__ as reproduction
from alignsam_gym.experiments.reproduce import planned_runs

CONF = Path(__file__).parents[3] / "conf"
KINDS = ("bottle", "ring")


def summary(rng, steps, categories):
    metrics = {name: float(rng.random()) for name in ("iou", "f_beta", "ber_percent", "mae", "e_phi")}
    curve = rng.random(steps + 1).tolist()
    metrics["iou"] = curve[-1]
    found = {
        "images": 4, "miou": curve[-1], "miou_by_step": curve, "foreground_rate": float(rng.random()), "repeated": 0.0,
        "metrics": {"over_images": metrics, "over_pixels": metrics},
    }  # fmt: skip
    if categories:
        curves = {kind: rng.random(steps + 1).tolist() for kind in KINDS}
        found["iou_by_category_by_step"] = curves
        found["metrics"]["by_category"] = {kind: {"iou": curve[-1]} for kind, curve in curves.items()}
        found["metrics"]["over_categories"] = {"iou": float(np.mean([curve[-1] for curve in curves.values()]))}
    return found


def option(command, key, default=None):
    """The last value that a command gives a key, without quotes."""
    values = [each.split("=", 1)[1] for each in command if each.startswith(f"{key}=")]
    return values[-1].strip("'") if values else default


class Stub:
    """Carries out commands by writing `metrics.json`. fails: whether one does, of the command."""

    def __init__(self):
        self.commands, self.fails = [], lambda command: False

    def __call__(self, command, log):
        self.commands.append(command)
        if self.fails(command):
            log.write_text("Loading\nerror: there is no such data set\n")
            return 1
        module = command[3]
        evaluates = module == "evaluate"
        folder = Path(option(command, "output" if evaluates else "hydra.run.dir"))
        if option(command, "resume"):
            command = [*command, *json.loads((folder / "overrides.json").read_text())]
        origin = option(command, "run", str(folder))
        seed = int(re.search(r"seed=(\d+)", origin).group(1))
        strategies = [option(command, "method")]
        if module != "baseline":
            strategies = yaml.safe_load(option(command, "evaluate.strategies", "[agent]"))
        rng = np.random.default_rng([seed, len(origin)])
        steps = 0 if module == "baseline" else int(option(command, "evaluate.max_steps", 15))
        prompting, by_image = {}, {}
        for strategy in strategies:
            found = summary(rng, steps, "shapes-named" in origin)
            prompting[strategy] = found
            by_image[strategy] = {f"i{k}": found["miou"] + 0.01 * (k - 1.5) for k in range(4)}
            if module == "baseline":
                del found["foreground_rate"], found["repeated"]
        metrics = {"seed": seed, "table": ["iou"], "prompting": prompting, "iou_by_image": by_image}
        (folder / "filmstrip.png").write_bytes(b"")
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return 0

    def interrupt(self):
        raise AssertionError


@cache
def _compose_once(name, overrides):
    return compose(name, list(overrides))


@pytest.fixture
def composed():
    """Composes a command's configuration from overrides, each once for all tests, as it takes a tenth of a second."""
    return lambda name, overrides: _compose_once(name, tuple(overrides))


@pytest.fixture
def plotting_stub():
    return Stub()


@pytest.fixture
def stub(plotting_stub, monkeypatch):
    """Plots are left out, as each takes a second."""
    for name in ("plot_dots", "plot_curves"):
        monkeypatch.setattr(reproduction, name, lambda *_: None)
    return plotting_stub


@pytest.fixture
def configured(tmp_path, monkeypatch, composed):
    """The configuration of `experiments.reproduce` with some overrides; Hydra stays ready to compose."""
    monkeypatch.setattr(planned_runs, "compose", composed)
    monkeypatch.setitem(drawn_scenes.SPLIT_SIZES, "test", 10)  # all are drawn where their kinds are asked for
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda *overrides: compose(
            "reproduce", [f"output='{tmp_path / 'out'}'", "seeds=[0,1]", "resamples=20", *overrides]
        )
