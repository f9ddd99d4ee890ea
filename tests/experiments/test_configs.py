import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from alignsam_gym.data import DATASETS
from alignsam_gym.envs.env_config import EnvConfig
from alignsam_gym.experiments.hydra_schema import CLIPS
from alignsam_gym.experiments.run_config import flatten
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS

CONF = Path(__file__).parents[2] / "conf"

CHOSEN = {"env.branch", "agent.algorithm", "policy.network"}
"""What paper.yaml settles by its choices in other groups."""
NO_HYPERPARAMETERS = {
    "env.precision", "env.decode_precision", "env.compile", "env.sam", "env.clip", "env.on_error", "env.shots_seed",
}  # fmt: skip


def composed(*overrides, name="train"):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, list(overrides))


CHOICES = {
    "dataset": tuple(DATASETS),
    "sam": ("tiny", *CHECKPOINTS),
    "clip": tuple(CLIPS),
    **{
        group: tuple(sorted(file.stem for file in (CONF / group).glob("*.yaml")))
        for group in ("branch", "agent", "policy", "experiment")
    },
}


@pytest.mark.parametrize(("group", "choice"), [(group, choice) for group, some in CHOICES.items() for choice in some])
def test_every_choice_composes(group, choice):
    config = composed(f"{group}={choice}")
    assert {"env", "srm", "agent", "policy", "dataset"} <= set(config)
    assert not OmegaConf.missing_keys(config)


def test_a_choice_sets_what_it_is_named_for():
    config = composed("sam=vit_b", "clip=vit_b_16", "dataset=DUTS", "dataset.root=2024")
    assert (config.env.sam, config.env.clip) == ("vit_b", "ViT-B-16/openai")
    assert config.dataset == {
        "name": "DUTS",
        "root": "2024",
        "threshold": 127,
        "invert": False,
        "text": "saliency object",
    }


def test_the_best_preset_is_the_game_that_training_plays():
    """`alignsam train` without arguments, and gym.make(…, preset="best"): the same rules, images and SRM."""
    config = composed()
    best = EnvConfig(preset="best")
    own = {each.name for each in fields(EnvConfig)} & set(config.env)
    assert {"max_steps", "reward", "state", "srm_grid_size", "shots", "sam"} <= own
    assert {name: config.env[name] for name in own} == {name: getattr(best, name) for name in own}
    assert OmegaConf.to_container(config.srm) == asdict(best.srm_config)
    assert config.dataset.name == best.dataset


def test_the_papers_preset_is_its_experiment():
    config = composed("experiment=paper")
    paper = EnvConfig(preset="paper")
    own = {each.name for each in fields(EnvConfig)} & set(config.env)
    assert {name: config.env[name] for name in own} == {name: getattr(paper, name) for name in own}
    assert OmegaConf.to_container(config.srm) == asdict(paper.srm_config)


@pytest.mark.parametrize(
    "name",
    [
        "embed",
        "evaluate",
        "pretrain",
        "report",
        "reproduce",
        "baseline",
        "score",
        "summarize",
        "weights",
    ],
)
def test_every_command_composes_even_without_arguments(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, return_hydra_config=True)
    assert config.hydra.run.dir  # else Hydra ends in a traceback before the command can say what is missing


@pytest.mark.parametrize("method", sorted(file.stem for file in (CONF / "method").glob("*.yaml")))
def test_every_method_composes(method):
    assert composed(f"method={method}", name="baseline").method.name == method


@pytest.mark.parametrize("model", sorted(file.stem for file in (CONF / "model").glob("*.yaml")))
def test_every_model_to_pretrain_composes(model):
    assert composed(f"model={model}", name="pretrain").model == model


@pytest.mark.parametrize("launcher", sorted(file.stem for file in (CONF / "hydra" / "launcher").glob("*.yaml")))
def test_every_launcher_composes(launcher):
    if launcher == "ray_cluster":
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"hydra/launcher={launcher}"], return_hydra_config=True)
    assert "Launcher" in config.hydra.launcher._target_


def test_a_typo_fails_at_once():
    with pytest.raises(ConfigCompositionException):
        composed("env.max_stepz=5")


def test_what_is_no_number_fails_at_once():
    with pytest.raises(ConfigCompositionException, match="max_steps"):
        composed("env.max_steps=many")


def test_the_papers_settings():
    """§4.1, and the sizes that it gives in passing."""
    config = composed("experiment=paper")
    assert (config.episodes, config.env.max_steps, config.env.shots) == (50, 15, 50)
    assert (config.env.image_size, config.env.patch_size) == (800, 80)
    assert (config.agent.learning_rate, config.agent.gamma, config.agent.clip_range) == (1e-4, 0.99, 0.2)
    assert (config.agent.n_epochs, config.agent.gae_lambda) == (20, 1.0)
    assert (config.srm.learning_rate, config.srm.updates) == (1e-4, None)  # None: §4.1's, by branch
    assert (config.env.reward, config.env.state) == ("foreground", "product")
    assert config.env.revisit == "allow"
    assert (config.env.branch, config.agent.algorithm, config.policy.network) == ("auto", "ppo", "full_cnn")


def test_the_papers_letter_differs_in_what_an_update_follows_alone():
    letter, paper = (
        flatten(OmegaConf.to_container(composed(f"experiment={name}"), resolve=True))
        for name in ("paper_letter", "paper")
    )
    assert {key: value for key, value in letter.items() if value != paper[key]} == {
        "env.num_envs": 1,
        "srm.batch_size": 1,
        "agent.batch_size": 15,
        "agent.normalize_advantage": False,
    }


@pytest.mark.parametrize("group", ["env", "srm", "agent", "policy"])
def test_no_default_becomes_the_papers_unnoticed(group):
    keys = {f"{group}.{key}" for key in composed("experiment=paper")[group]}
    written = flatten(OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / "paper.yaml"))).keys()
    assert keys <= {*written, *CHOSEN, *NO_HYPERPARAMETERS}


def test_another_agent_takes_the_papers_settings_without_ppos_own_keys():
    header = (CONF / "experiment" / "paper.yaml").read_text().split("defaults:")[0]
    advice = re.search(r"agent=a2c( ~agent\.\w+)+", header.replace("\n#", "")).group()
    assert composed("experiment=paper", *advice.split()).agent.keys() == composed("agent=a2c").agent.keys()
