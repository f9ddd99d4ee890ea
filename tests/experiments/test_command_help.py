"""Every command's help: what it says, and that it answers at once."""

import importlib
import json

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from alignsam_gym.experiments.cli import app
from alignsam_gym.experiments.command_help import (
    CONF,
    EXPERIMENTS,
    REGISTERED,
    choices,
    first_sentence,
    help_page,
    module_of,
)

HYDRAS_KEYS = ("defaults", "hydra")
COMMANDS = get_command(app).commands
HYDRA_COMMANDS = [name for name in COMMANDS if (CONF / f"{name}.yaml").exists()]


def shown(*arguments):
    result = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_these_are_all_commands():
    expected = (
        "train evaluate predict score baseline reproduce report summarize embed datasets weights export push demo label"
    )
    assert set(COMMANDS) == {*expected.split(), "benchmark", "pretrain"}
    assert set(HYDRA_COMMANDS) == {file.stem for file in CONF.glob("*.yaml")}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    assert f"alignsam {command} " in shown(command) or command == "push"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_of_commands_says_what_each_does(command):
    line = COMMANDS[command].get_short_help_str(limit=200)
    assert line[0].isupper()
    assert line.endswith(".")


@pytest.mark.parametrize("command", HYDRA_COMMANDS)
def test_help_shows_the_keys_with_their_comments_and_nothing_of_hydra(command):
    page = help_page(command)
    assert "Keys and their defaults" in page
    assert "#" in page
    assert not [word for word in ("defaults:", "override hydra", "_self_", "hydra:", "python -m") if word in page]


@pytest.mark.parametrize("command", HYDRA_COMMANDS)
def test_a_module_of_the_commands_name_runs_it_too(command):
    place = EXPERIMENTS / command
    assert (place / "__main__.py").exists() or place.with_suffix(".py").exists()


@pytest.mark.parametrize("command", HYDRA_COMMANDS)
def test_the_module_shows_the_same_help(command, capsys, monkeypatch):
    module = importlib.import_module(f"alignsam_gym.experiments.{module_of(command)}")
    monkeypatch.setattr("sys.argv", [command, "--help"])
    module.main()
    assert capsys.readouterr().out.strip() == help_page(command)


def test_help_of_train_lists_the_choices():
    page = help_page("train")
    assert f"dataset={'|'.join(choices('dataset'))}" in page
    assert {"shapes-shadow", "folder"} <= set(choices("dataset"))
    assert {"sam_hq_vit_b", "tiny"} <= set(choices("sam"))


@pytest.mark.slow
def test_choices_are_those_that_hydra_knows(run_python):
    """In a process of its own, as other tests may have added a data set to this one's."""
    lines = [
        "import json",
        "from hydra.core.config_store import ConfigStore",
        "from alignsam_gym.experiments.hydra_schema import register",
        "register()",
        f"known = {{group: ConfigStore.instance().list(group) for group in {sorted(REGISTERED)}}}",
        "print(json.dumps(known))",
    ]
    for group, known in json.loads(run_python("\n".join(lines))).items():
        registered = {name.removesuffix(".yaml") for name in known}
        assert set(choices(group)) == registered | {file.stem for file in (CONF / group).glob("*.yaml")}


def test_help_of_train_says_what_the_best_settings_are():
    assert "revisit: forbid" in help_page("train")


def test_a_summary_is_the_first_sentence_of_the_modules_page():
    assert first_sentence("weights") == "Lists, downloads, verifies or removes official SAM checkpoints."


@pytest.mark.parametrize(
    "arguments", ["--help", "train --help", "benchmark --help", "predict --help", "--version", "trian"]
)
def test_help_waits_for_nothing_heavy(run_python, arguments):
    lines = ["import sys", "from alignsam_gym.experiments.cli import app", f"try: app({arguments.split()})"]
    program = "\n".join([*lines, "except SystemExit: print(*sys.modules)"])
    heavy = {"torch", "hydra", "omegaconf", "yaml", "stable_baselines3", "cv2", "PIL", "matplotlib", "pandas"}
    loaded = set(run_python(program).split())
    assert "alignsam_gym.experiments.cli" in loaded
    assert not heavy & loaded


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "score", "reproduce"])
def test_a_command_composes_in_a_process_of_its_own(run_python, command):
    program = f"from alignsam_gym.experiments.cli import app; app(['{command}', '--cfg', 'job'], prog_name='alignsam')"
    keys = yaml.safe_load(run_python(program)).keys()
    first_key = next(key for key in yaml.safe_load((CONF / f"{command}.yaml").read_text()) if key not in HYDRAS_KEYS)
    assert first_key in keys
