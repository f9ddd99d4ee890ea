"""What a command has no use for is refused; what it has stays as it is."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.argument_check import check_arguments
from alignsam_gym.experiments.run_config import flatten

CONF = Path(__file__).parents[2] / "conf"
COMMANDS = sorted(file.stem for file in CONF.glob("*.yaml"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_a_command_is_one(command):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        keys = flatten(OmegaConf.to_container(compose(command), resolve=False))
    check_arguments(command, [f"{key}=1" for key in keys if not key.startswith("dataset")])
    check_arguments(command, [f"+{key}=1" for key in keys if not key.startswith("dataset")])


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("train", ["dataset=folder", "dataset.root=photos", "++dataset.mask_name={stem}_m"]),
        ("train", ["-m", "dataset=folder,coco", "dataset.root=photos", "hydra/launcher=local", "+hydra.launcher.x=1"]),
        ("train", ["+agent.target_kl=0.02", "~agent.clip_range", "+agent.policy_kwargs.n_quantiles=5"]),
        ("train", ["--cfg", "job"]),
        ("train", ["env={shots: 5}"]),
        ("train", ["--config-dir", "mine", "+experiment=mine", "+my_key=1"]),
        ("train", ["hydra.searchpath=[file://mine]", "+experiment=mine", "+my_key=1"]),
        ("evaluate", ["run=x", "++seed=4", "dataset=folder", "+dataset.root=x"]),
        ("baseline", ["method=samed", "env.shots=5"]),
        ("reproduce", ["~tasks.blur", "tasks.semantic=VOC2012"]),
    ],
)
def test_what_a_command_takes_is_left_alone(command, arguments):
    check_arguments(command, arguments)


@pytest.mark.parametrize(
    ("command", "arguments", "says"),
    [
        ("train", ["shots=5"], "shots is no key of train; did you mean env.shots?"),
        ("train", ["+shots=5"], "shots is no key of train; did you mean env.shots?"),
        ("train", ["++srm.foldz=5"], "srm.foldz is no key of train; did you mean srm.folds?"),
        ("train", ["+batch_size=5"], "did you mean evaluate.batch_size or srm.batch_size or agent.batch_size?"),
        ("train", ["env.max_stepz=5"], "env.max_stepz is no key of train; did you mean env.max_steps?"),
        ("evaluate", ["run=x", "+limit=2"], "limit is no key of evaluate; did you mean evaluate.limit?"),
        ("evaluate", ["+evaluate.limt=2"], "evaluate.limt is no key of evaluate; did you mean evaluate.limit?"),
        ("embed", ["env.shots=2"], "env.shots is no key of embed: alignsam embed --cfg job prints them."),
        ("train", ["dataset.root=x"], "dataset.root belongs to dataset=folder, coco, "),
        ("train", ["dataset.root=x"], "VOC2012; add dataset=folder."),
        ("evaluate", ["run=R", "+dataset.root=x"], "add dataset=folder."),
        ("score", ["predictions=a", "+dataset.annotations=x"], "add dataset=coco."),
        ("embed", ["+dataset.root=x"], "add dataset=folder."),
        ("baseline", ["+dataset.root=x"], "add dataset=folder."),
        ("train", ["dataset=coco", "dataset.mask_name=x"], "dataset=coco got an unexpected keyword argument 'mask_"),
        ("train", ["photos"], "photos: arguments are KEY=VALUE, such as dataset=folder dataset.root=photos."),
        ("evaluate", ["R"], "R: arguments are KEY=VALUE, such as run=R."),
        ("evaluate", ["--run", "R"], "R: arguments are KEY=VALUE, such as run=R."),
        ("weights", ["vit_b"], "vit_b: arguments are KEY=VALUE, such as names=vit_b."),
        ("train", ["--seed", "3"], "--seed is no option of train: arguments are KEY=VALUE, such as seed=…."),
        ("train", ["--num-envs=3"], "arguments are KEY=VALUE, such as env.num_envs=…."),
    ],
)  # fmt: skip
def test_what_a_command_does_not_take_is_told(command, arguments, says):
    with pytest.raises(OptionError) as error:
        check_arguments(command, arguments)
    assert says in str(error.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_word_alone_is_told_in_every_command(command):
    with pytest.raises(OptionError, match=r"x: arguments are KEY=VALUE, such as .*=x"):
        check_arguments(command, ["x"])
