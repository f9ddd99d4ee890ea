import inspect
import re
from dataclasses import fields

import gymnasium as gym
import pytest

import alignsam_gym  # noqa: F401  # registers the environment
from alignsam_gym.envs.alignsam_env import AlignSAMEnv
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.envs.env_config import EnvConfig, VectorEnvConfig
from tests.docs.pages import ROOT


def rows_of(page):
    """The table of options: keyword -> its type, its value by `paper` and by `best`, and what it is."""
    rows = re.findall(r"^\s*\| `(\w+)` \| (.+?) \| `(.*?)` \| `(.*?)` \| (.+) \|$", page, re.MULTILINE)
    return {name: cells for name, *cells in rows}


@pytest.mark.parametrize(
    ("env", "config", "shown"),
    [
        (AlignSAMEnv, EnvConfig, {each.name for each in fields(EnvConfig)}),
        (AlignSAMVectorEnv, VectorEnvConfig, {"num_envs", "autoreset_mode", "max_episode_steps"}),
    ],
)
def test_every_keyword_stands_with_its_values(env, config, shown):
    rows = rows_of(inspect.getdoc(env))
    assert rows.keys() == shown
    for column, preset in ((1, "paper"), (2, "best")):
        values = config(preset=preset)
        for name in shown - {"preset"}:
            assert rows[name][column] == str(getattr(values, name))


def test_choices_stand_beside_the_keyword():
    kind, *_ = rows_of(inspect.getdoc(AlignSAMEnv))["label_source"]
    assert re.findall(r"`(\w+)`", kind) == ["srm", "last", "clip", "positive", "oracle"]


def test_the_signature_is_that_of_the_options():
    keywords = {name for name in inspect.signature(AlignSAMEnv).parameters if name != "self"}
    assert keywords == {each.name for each in fields(EnvConfig)}


def test_every_fact_of_info_is_explained(make_toy):
    _, info = make_toy().reset(seed=0)
    information = inspect.getdoc(AlignSAMEnv).partition("## Information\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"``(\w+)``", information)) == info.keys()


def test_the_spaces_are_as_shown():
    env = gym.make("AlignSAM-v0")
    page = (ROOT / "docs" / "environment.md").read_text("utf-8")
    assert f"`{env.action_space}`" in page
    assert f"`{env.observation_space}`" in page
