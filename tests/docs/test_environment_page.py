import inspect
import re

import gymnasium as gym

import alignsam_gym  # noqa: F401  # registers the environment
from alignsam_gym.envs.alignsam_env import AlignSAMEnv
from alignsam_gym.envs.episode_factory import make_episode
from tests.docs.pages import ROOT


def test_every_keyword_is_explained_and_nothing_else():
    arguments = inspect.getdoc(AlignSAMEnv).partition("## Arguments\n")[2].partition("\n\n")[0]
    explained = re.findall(r"^- ``(\w+)``: ", arguments, re.MULTILINE)
    parameters = [*inspect.signature(make_episode).parameters.values()]
    parameters += inspect.signature(AlignSAMEnv).parameters.values()
    keywords = {parameter.name for parameter in parameters if parameter.kind == parameter.KEYWORD_ONLY}
    assert len(explained) == len(set(explained))
    assert set(explained) == keywords


def test_every_fact_of_info_is_explained(make_toy):
    _, info = make_toy().reset(seed=0)
    information = inspect.getdoc(AlignSAMEnv).partition("## Information\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"``(\w+)``", information)) == info.keys()


def test_the_spaces_are_as_shown():
    env = gym.make("AlignSAM-v0")
    page = (ROOT / "docs" / "environment.md").read_text("utf-8")
    assert f"`{env.action_space}`" in page
    assert f"`{env.observation_space}`" in page
