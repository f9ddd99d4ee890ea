from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alignsam_gym.errors import DataError
from alignsam_gym.experiments.command_line import exit_on_user_error

CONF = str(Path(__file__).parents[2] / "conf")


@exit_on_user_error
def fail(error):
    raise error


@exit_on_user_error
def fail_to_write(file):
    file.write_text("{}")


def missing_value():
    return OmegaConf.create({"dataset": {"root": "???"}}).dataset.root


def wrong_type():
    config = OmegaConf.create({"seed": 0})
    OmegaConf.set_struct(config, True)
    return config.sead


def test_a_users_mistake_is_the_last_line_without_a_traceback():
    with pytest.raises(SystemExit, match=r"^error: no images in here$"):
        fail(DataError("no images in here"))


@pytest.mark.parametrize(
    ("action", "message"),
    [(missing_value, r"^error: dataset\.root is needed: give dataset\.root=…\.$"), (wrong_type, "^error: Key 'sead'")],
)
def test_a_mistake_in_the_configuration_is_told_likewise(action, message):
    with pytest.raises(SystemExit, match=message), exit_on_user_error:
        action()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "dataset=shadow",
            r"^error: dataset=shadow is unknown; choose one of CUHK, .* mean shapes-shadow\?$",
        ),
        ("env.shots=many", "^error: env.shots=many: Value 'many' of type 'str' could not be converted to Integer$"),
        ("env.shotz=5", r"^error: Could not override 'env\.shotz'.*: Key 'shotz' not in 'VectorEnvConfig'$"),
        ("shots=5", r"^error: Could not override 'shots': Key 'shots' is not in struct$"),
        ("agent.use_sde=true", r"^error: Could not override 'agent\.use_sde'\. .* use \+agent\.use_sde=true: "),
        ("env.shots=(5)", r"^error: Error parsing override 'env\.shots=\(5\)' [^\n]*$"),
        ("agent=ppo,dqn", "^error: Ambiguous value [^\n]* add --multirun"),
    ],
)
def test_hydras_errors_are_one_line(argument, message):
    with pytest.raises(SystemExit, match=message), exit_on_user_error, initialize_config_dir(CONF, version_base="1.3"):
        compose("train", [argument])


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"^error: .*/file/new\.json cannot be read or written \(Not a directory\)\.$"):
        fail_to_write(tmp_path / "file/new.json")


def test_an_interruption_has_the_shells_exit_status():
    with pytest.raises(SystemExit, match="130"):
        fail(KeyboardInterrupt())


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_on_user_error:
        1 / 0  # noqa: B018


def test_what_succeeds_returns_its_result():
    assert exit_on_user_error(lambda: 3)() == 3
