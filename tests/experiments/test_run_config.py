import json

from alignsam_gym.agents.trained_run import load_config
from alignsam_gym.experiments.run_config import config_diff, flatten, save_config


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
