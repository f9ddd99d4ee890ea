"""A text or a path is what its user typed, however it looks, for the keys of every command."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from alignsam_gym.errors import OptionError
from alignsam_gym.experiments import hydra_arguments as module
from alignsam_gym.experiments.command_keys import key_types
from alignsam_gym.experiments.hydra_arguments import hydra_arguments
from alignsam_gym.experiments.run_config import flatten
from alignsam_gym.options import alternatives

CONF = Path(__file__).parents[2] / "conf"
COMMANDS = sorted(file.stem for file in CONF.glob("*.yaml"))
CHOICES = {"train": ["dataset=folder"], "baseline": ["dataset=folder", "method=seggpt"]}
LIKE_OTHERS = ["7", "-1", "1e5", "0x10", "1_000", "2024-01-01", "12:30", "0.5", "nan", "inf", "on", "off", "true"]
FOLDERS = [
    "(1)", "photos (1)", ",", "a,b", "=", "a=b", "#", "&", "a & b", "'", "it's", '"', "[a", "{a}", "{stem}_mask", "été",
    "写真", "Ελλάδα", "a b", " a ", "$", "$x", "%", "*", "\\", "C:\\photos\\new", "\\\\server\\x\\", "!", "@", ";",
    "|", "<a>", "?", "^", "`", "-m", "a\nb", "choice(a,b)", "😀", "\\'",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def conf(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, initialize_config_dir(str(CONF), version_base="1.3"):
        patch.chdir(tmp_path_factory.mktemp("empty"))  # where nothing is called as a value here
        yield


def read(argument, command="score"):
    """What Hydra takes the value of an argument for."""
    [override] = OverridesParser.create().parse_overrides(hydra_arguments(command, [argument]))
    return override.value()


def composed(command, *arguments):
    return compose(command, hydra_arguments(command, [*CHOICES.get(command, []), *arguments]))


def text_keys(command):
    """The keys of a command that take any text, and nothing but a text."""
    for key, hint in key_types(command).items():
        if {*alternatives(hint)} & {str, Path} and float not in alternatives(hint):
            yield key


@pytest.mark.parametrize("command", COMMANDS)
def test_every_text_of_every_command_arrives(command):
    """Once for each type of key."""
    keys = {key_types(command)[key]: key for key in text_keys(command)}
    assert keys
    for hint, key in keys.items():
        several = any("Sequence" in str(kind) for kind in alternatives(hint))
        for value in [*LIKE_OTHERS, *FOLDERS]:
            if not (several and "," in value):
                assert read(f"{key}={value}", command) == value


@pytest.mark.parametrize("command", COMMANDS)
def test_every_text_stays_one_in_the_configuration(command):
    known = flatten(OmegaConf.to_container(composed(command)))
    keys = [key for key in text_keys(command) if key in known]
    values = {key: LIKE_OTHERS[place % len(LIKE_OTHERS)] for place, key in enumerate(keys)}
    config = composed(command, *(f"{key}={value}" for key, value in values.items()))
    assert {key: OmegaConf.select(config, key) for key in keys} == values


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_may_be_called_anything(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = composed("score", f"predictions={name}", "dataset=folder", f"dataset.root={name}")
    assert config.predictions == config.dataset.root == config.output == name
    typed = hydra_arguments("score", [f"predictions={name}"])
    Path(name).mkdir()
    assert hydra_arguments("score", [f"predictions={name}"]) == typed


@given(st.text(min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_any_text_arrives(text):
    assume(not text.startswith("~") and "${" not in text and "\0" not in text)
    assume(not (len(text) > 1 and text[0] == text[-1] and text[0] in "'\"") and not Path(text[:50]).exists())
    assert read(f"predictions={text}") == text
    assert read(f"dataset.text={text}x") == f"{text}x"


def test_the_home_folder_is_put_in(monkeypatch):
    monkeypatch.setenv("HOME", "/home/an artist (2)")
    assert read("predictions=~/photos") == "/home/an artist (2)/photos"
    assert composed("summarize", "runs=[~/a,b]").runs == ["/home/an artist (2)/a", "b"]


@pytest.mark.parametrize(
    ("argument", "command", "value"),
    [
        ("predictions='7'", "score", "7"),
        ('predictions="a,b"', "score", "a,b"),
        ("cache_dir=null", "train", None),
        ("cache_dir='null'", "train", "null"),
        ("predictions=null", "score", "null"),
        ("runs=[1,on,'a,b']", "summarize", ["1", "on", "a,b"]),
        ("runs=[]", "summarize", []),
        ("tasks.blur=[folder,dataset.root=photos (1)]", "reproduce", ["folder", "dataset.root=photos (1)"]),
        ("overrides=['evaluate.strategies=[a,b]']", "reproduce", ["evaluate.strategies=[a,b]"]),
        ("dataset.test=[1]", "train", ["1"]),
        ("dataset.foreground=[[250,50,83],red]", "train", [[250, 50, 83], "red"]),
        ("dataset.foreground=[#ff0000,2]", "train", ["#ff0000", 2]),
        ("dataset.foreground=nonzero", "train", "nonzero"),
        ("dataset.intensity_range=[0,4095]", "train", [0, 4095]),
        ("dataset.test=0.25", "train", 0.25),
        ("dataset.test=true", "train", "true"),
        ("dataset.test=dog/*", "train", "dog/*"),
        ('evaluate.strategies=[agent,"agent, labels: last"]', "train", ["agent", "agent, labels: last"]),
        ("dataset=7", "train", "7"),
        ("env.sam=7", "train", "7"),
        ("seed=7", "train", 7),
        ("hydra.run.dir=outputs (1)/${now:%Y}", "train", "outputs (1)/${now:%Y}"),
        ("env.max_steps=5", "train", 5),
    ],
)
def test_quotes_lists_null_and_numbers_keep_their_meaning(argument, command, value):
    assert read(argument, command) == value


def test_there_may_be_no_clip():
    assert composed("train", "env.clip=null").env.clip is None


def test_a_list_of_numbers_stays_one_where_a_text_may_stand_as_well(monkeypatch):
    monkeypatch.setattr(module, "key_types", lambda command: {"predictions": str | Sequence[int]})
    assert read("predictions=[0,1]") == [0, 1]
    assert read("predictions=0") == "0"


def test_interpolations_keep_their_meaning(monkeypatch):
    monkeypatch.setenv("PHOTOS", "a (1)")
    assert composed("score", "predictions=${oc.env:PHOTOS}/(2)").predictions == "a (1)/(2)"
    assert composed("score", "predictions=x", "output=${predictions}/y").output == "x/y"


@pytest.mark.parametrize("name", ["[a,b]", "'a'", "${seed}", "a,b"])
def test_what_exists_by_the_whole_name_is_meant(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    assert composed("summarize", f"runs={name}").runs == name
    assert hydra_arguments("train", ["-m", f"dataset.root={name}"]) == [
        "-m", *hydra_arguments("train", [f"dataset.root={name}"])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "command", "says"),
    [
        ("predictions=", "score", "predictions= is empty: give a value or leave it out."),
        (
            "dataset.text=",
            "train",
            "dataset.text= is empty: give a value, dataset.text=null for none, or leave",
        ),
        ("runs=a,b", "summarize", """for several write runs=[a,b], for one with a comma runs="'a,b'"."""),
    ],
)
def test_what_may_be_meant_otherwise_is_asked(argument, command, says):
    with pytest.raises(OptionError) as error:
        hydra_arguments(command, [argument])
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("dataset.root=a (1),7", ["a (1)", "7"]),
        ("dataset.root='a,b',c", ["a,b", "c"]),
        ("dataset.root=choice(a,b)", ["a", "b"]),
        ("evaluate.strategies=[agent,random],[agent]", ["[agent,random]", "[agent]"]),
        ("seed=0,1", ["0", "1"]),
        ("agent=ppo,dqn", ["ppo", "dqn"]),
    ],
)
def test_commas_separate_the_values_of_a_sweep(argument, values):
    flag, swept = hydra_arguments("train", ["-m", argument])
    [points] = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides([swept]), None)
    found = [OverridesParser.create().parse_overrides(point)[0] for point in points]
    assert flag == "-m"
    assert [each.get_value_string().replace("'", "") for each in found] == values


@pytest.mark.parametrize(
    "arguments", [["--cfg", "job"], ["-m", "hydra/launcher=local"], ["~agent.clip_range"], ["+x=(1)"]]
)
def test_all_else_is_left_to_hydra(arguments):
    assert hydra_arguments("train", arguments) == arguments


@pytest.mark.parametrize("command", ["train", "baseline", "embed"])
def test_a_sam_of_the_hub_is_no_choice_of_the_group(command):
    given = ["sam=hf:me/sam", "sam=hf:a b/(1)", "sam=vit_b"]
    assert hydra_arguments(command, given) == ["env.sam=hf:me/sam", "env.sam='hf:a b/(1)'", "sam=vit_b"]
    assert hydra_arguments(command, ["-m", "sam=hf:me/a,hf:me/b"]) == ["-m", "env.sam=hf:me/a,hf:me/b"]
