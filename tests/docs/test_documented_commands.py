"""Commands in the documentation are typed as they stand there, up to where they would begin to work."""

import argparse
import configparser
import importlib
import re
import shlex

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from alignsam_gym.experiments.argument_check import check_arguments
from alignsam_gym.experiments.hydra_arguments import hydra_arguments
from tests.docs.pages import PAGES, ROOT, commands, name_of

PLACE = re.compile(r"<[^<>]+>")  # outputs/train/<date>
KEY = re.compile(r"`((?:env|srm|agent|policy|evaluate)\.\w+)(?:=[^`]*)?`")


def words_of(line):
    return shlex.split(PLACE.sub("x", line), comments=True)


COMMANDS = {" ".join(words): (where, words) for where, line in commands() for words in [words_of(line)]}


@pytest.fixture(scope="module", autouse=True)
def conf():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


@pytest.mark.parametrize(("where", "words"), COMMANDS.values(), ids=COMMANDS)
def test_every_command_is_one(where, words, monkeypatch, tmp_path):
    match words:
        case ["python", "-m", module, *arguments] if module.startswith("experiments.pretrain."):
            monkeypatch.chdir(tmp_path)
            for name in arguments:
                (tmp_path / name).touch()  # some must be there
            check_script(module, arguments)
        case ["python", "-m", module, *arguments] if module.startswith("experiments."):
            check_typer(module.partition(".")[2], arguments)
        case ["python", script, *arguments] if script.startswith("examples/"):
            check_argparse(script.removesuffix(".py").replace("/", "."), arguments, monkeypatch)
        case ["alignsam", command, *arguments]:
            check_typer(command, arguments)
        case ["make", target]:
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        case ["pip", "install", "-e", package]:
            extras = re.findall(r"\w+", package)
            assert set(extras) <= set(config("setup.cfg")["options.extras_require"])
        case (
            ["python", "-m", "pytest", *_] | ["pre-commit", "install"] | ["hf", "auth", "login"] | ["hf", "download", _]
        ):
            pass
        case _:
            pytest.fail(f"{where} has a command that nothing checks: {words}")


def config(file):
    parser = configparser.ConfigParser()
    parser.read(ROOT / file)
    return parser


def check_hydra(command, arguments):
    if "--help" in arguments:
        return
    check_arguments(command, arguments)
    swept = [argument for argument in arguments if argument != "-m"]
    if "hydra/launcher=ray_cluster" in swept:
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")  # which wants an environment of its own
    sets = [swept]
    if "-m" in arguments:
        points = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(swept), None)[0]
        sets = [points[0], points[-1]]
    for overrides in sets:
        assert compose(command, hydra_arguments(command, overrides), return_hydra_config=True)


def check_typer(name, arguments):
    from typer.main import get_command

    command = get_command(importlib.import_module("alignsam_gym.experiments.cli").app).commands[name]
    if command.params:
        command.make_context(name, arguments)
    else:  # they are passed on as they are
        check_hydra(name, arguments)


def check_script(module, arguments):
    import typer

    app = typer.Typer()
    app.command()(importlib.import_module(f"alignsam_gym.{module}").main)
    typer.main.get_command(app).make_context(module, arguments)


class Parsed(Exception):
    pass


def check_argparse(module, arguments, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser, *_):
        parse(parser, arguments)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    with pytest.raises(Parsed):
        importlib.import_module(module).main()


def test_every_key_exists():
    known = compose("train")
    keys = [(name_of(page), key) for page in PAGES for key in KEY.findall(page.read_text("utf-8"))]
    assert keys
    assert not [(page, key) for page, key in keys if OmegaConf.select(known, key, default=KEY) is KEY]
