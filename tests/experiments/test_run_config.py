import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.agents.trained_run import load_config
from alignsam_gym.experiments.run_config import config_diff, flatten, folder_name, save_config

CONF = Path(__file__).parents[2] / "conf"
OVERRIDES = st.lists(st.from_regex(r"[a-z.]{1,9}=.{0,60}", fullmatch=True), min_size=1, max_size=9, unique=True)


def test_keys_unlike_those_in_a_folder_are_named(make_run):
    run = make_run()
    config = load_config(run)
    assert config_diff(run, config) == []
    config.env.shots, config.device, config.evaluate.batch_size = 9, "cuda", 7
    assert config_diff(run, config) == ["device", "env.shots", "evaluate.batch_size"]
    assert config_diff(run, config, ignored=("device", "evaluate")) == ["env.shots"]


def test_a_saved_configuration_is_the_same_and_has_its_versions_beside_it(make_run, tmp_path):
    config = load_config(make_run())
    save_config(tmp_path, config)
    assert config_diff(tmp_path, config) == []
    assert {"alignsam-gym", "python", "torch"} <= json.loads((tmp_path / "versions.json").read_text()).keys()


def test_nested_groups_become_dotted_keys():
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["seed=0", "env.max_steps=5"], "env.max_steps=5_seed=0"),
        (["seed=0", "device=cuda:1", "cache_dir=/tmp", "resume=x"], "seed=0"),
        (["device=cpu"], "default"),
        ([], "default"),
    ],
)
def test_a_run_is_named_by_its_overrides(overrides, name):
    assert folder_name(overrides) == name


@given(OVERRIDES, OVERRIDES)
def test_names_are_short_single_folders_that_tell_overrides_apart(some, others):
    name = folder_name(some)
    assert name.isascii()
    assert 0 < len(name) < 140
    assert Path(name).parts == (name,)
    assert folder_name(some[::-1]) == name
    assert (folder_name(others) == name) == (sorted(others) == sorted(some))


def test_long_names_and_paths_are_shortened_readably():
    name = folder_name(["dataset=folder", f"dataset.root=/home/me/{'photos/' * 50}", "env.max_steps=5", "seed=3"])
    assert name.startswith("dataset.root=_home_me_photos_photos_phot_dataset=folder_env.max_steps=5_seed=3_")


@pytest.mark.parametrize("command", ["train", "baseline"])
def test_a_sweep_s_folders_are_named_so_each_time(command):
    overrides = ["dataset=folder", f"dataset.root='{'/a b' * 99}'", "seed=1", "evaluate.limit=3"]
    names = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for _ in range(2):
            names.append(compose(command, overrides, return_hydra_config=True).hydra.sweep.subdir)
    assert names == [folder_name(overrides)] * 2
    assert names[0].startswith("dataset.root=_a_b_a_b")
