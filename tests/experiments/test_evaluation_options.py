import pytest
from omegaconf import OmegaConf

from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.evaluation_options import check_evaluation_options, chosen_strategies


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "evaluate.batch_size=0"),
        ({"limit": "abc"}, "evaluate.limit='abc': it must be a whole number"),
        ({"limit": 0}, "evaluate.limit=0: at least one test image is measured."),
        ({"split": "train"}, "evaluate.split='train' is unknown"),
        ({"filmstrips": -1}, "evaluate.filmstrips=-1"),
    ],
)
def test_counts_that_cannot_be_are_told(options, says):
    with pytest.raises(OptionError, match=says):
        check_evaluation_options(OmegaConf.create({"seed": 0, "evaluate": {"limit": None, "batch_size": 1} | options}))


@pytest.mark.parametrize("seed", [-1, "abc"])
def test_a_seed_that_cannot_be_is_told(seed):
    with pytest.raises(OptionError, match="seed="):
        check_evaluation_options(OmegaConf.create({"seed": seed, "evaluate": {"limit": None, "batch_size": 1}}))


def test_a_wrong_strategy_is_told_by_its_own_key(make_toy_vec):
    config = OmegaConf.create({"seed": 0, "evaluate": {"deterministic": True, "filmstrip_strategies": ["agnet"]}})
    with pytest.raises(OptionError, match=r"evaluate\.filmstrip_strategies='agnet' is unknown"):
        chosen_strategies(config, make_toy_vec(1).unwrapped.episode, None, None)


@pytest.mark.parametrize("name", ["strategies", "filmstrip_strategies"])
def test_a_single_strategy_must_be_in_a_list(make_toy_vec, name):
    config = OmegaConf.create({"seed": 0, "evaluate": {"limit": None, "deterministic": True, name: "agent"}})
    with pytest.raises(OptionError, match=rf"evaluate.{name}=agent: it must be a list, such as \[agent\]"):
        chosen_strategies(config, make_toy_vec(1).unwrapped.episode, None, None)
