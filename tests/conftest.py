"""What all tests share: quiet surroundings, a toy data set, and a toy SAM that answers in a millisecond."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, settings
from omegaconf import DictConfig, OmegaConf
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn

from alignsam_gym.data import Sample
from alignsam_gym.experiments import hydra_schema
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor

ROOT = Path(__file__).parents[1]

# A busy machine is no failure, and a run repeats the one before.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALIGNSAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("SDL_VIDEODRIVER", "dummy")
        patch.setenv("OMP_NUM_THREADS", "1")  # for subprocesses
        hydra_schema.register()  # for tests that compose a configuration themselves
        torch.set_num_threads(1)  # more would wait for each other where other programs keep the cores busy
        yield


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What a test draws without a seed of its own does not depend on the tests before it."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # Stable-Baselines3 draws from it


class ToyDataset:
    """Images of noise, each with one bright ellipse that is to be segmented. Sides are `size` = (H, W)."""

    name = "toy"

    def __init__(self, count: int = 5, size: tuple[int, int] = (64, 64)) -> None:
        self.ids = [f"toy{i}" for i in range(count)]
        self.samples = [self._draw(i, size) for i in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def _draw(self, i: int, size: tuple[int, int]) -> Sample:
        rng = np.random.default_rng(i)
        y, x = np.mgrid[0:1:complex(size[0]), 0:1:complex(size[1])]  # fmt: skip
        (cy, cx), (ry, rx) = rng.uniform(0.3, 0.7, 2), rng.uniform(0.2, 0.45, 2)
        mask = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
        image = rng.integers(0, 128, (*size, 3)) + 100 * mask[..., None]
        return Sample(self.ids[i], image.astype(np.uint8), mask)


class OneSample(ToyDataset):
    """A single image with the given mask and void."""

    def __init__(self, mask: np.ndarray, void: np.ndarray | None = None) -> None:
        self.ids = ["only"]
        image = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
        self.samples = [Sample("only", image, mask, void)]


class _PatchEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.img_size = 64
        self.project = nn.Conv2d(3, 32, 8, stride=8)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x)


def build_toy_sam() -> Sam:
    """segment_anything's parts around a linear encoder, with random weights and logits that spread over ±4."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sam = Sam(
            image_encoder=_PatchEncoder(),
            prompt_encoder=PromptEncoder(
                embed_dim=32, image_embedding_size=(8, 8), input_image_size=(64, 64), mask_in_chans=16
            ),
            mask_decoder=MaskDecoder(
                transformer_dim=32,
                transformer=TwoWayTransformer(depth=2, embedding_dim=32, num_heads=2, mlp_dim=64),
                iou_head_depth=2,
                iou_head_hidden_dim=32,
            ),
        )
        with torch.no_grad():
            for mlp in sam.mask_decoder.output_hypernetworks_mlps:
                for parameter in mlp.layers[-1].parameters():
                    parameter *= 30
    return sam.eval()


@pytest.fixture(scope="session")
def toy_model() -> BatchedSamPredictor:
    """Input 64, embedding (32, 8, 8), logits 32 × 32."""
    return BatchedSamPredictor(build_toy_sam(), "toy", torch.device("cpu"))


@pytest.fixture
def toy_dataset() -> ToyDataset:
    return ToyDataset()


@pytest.fixture
def one_sample() -> type[OneSample]:
    return OneSample


def _defaults(keywords: dict) -> dict:
    defaults = {"dataset": ToyDataset(), "image_size": 64, "patch_size": 16, "max_steps": 3, "srm": {"width": 8}}
    return {**defaults, **keywords}


@pytest.fixture
def toy_sam(toy_model: BatchedSamPredictor, monkeypatch: pytest.MonkeyPatch) -> BatchedSamPredictor:
    """Makes every environment of this test use the toy SAM."""
    monkeypatch.setattr("alignsam_gym.envs.episode_factory.load_sam", lambda *options: toy_model)
    return toy_model


@pytest.fixture
def make_toy(toy_sam: BatchedSamPredictor) -> Iterator[Callable[..., gym.Env]]:
    """gym.make of an environment on the toy data set and the toy SAM, 16 patches, 3 steps."""
    made: list[gym.Env] = []

    def make(**keywords) -> gym.Env:
        made.append(gym.make("alignsam_gym:AlignSAM-v0", **_defaults(keywords)))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.fixture
def make_toy_vec(toy_sam: BatchedSamPredictor) -> Iterator[Callable[..., gym.vector.VectorEnv]]:
    """gym.make_vec of the same."""
    made: list[gym.vector.VectorEnv] = []

    def make(num_envs: int, **keywords) -> gym.vector.VectorEnv:
        keywords = _defaults(keywords)
        made.append(
            gym.make_vec("alignsam_gym:AlignSAM-v0", num_envs, vectorization_mode="vector_entry_point", **keywords)
        )
        return made[-1]

    yield make
    for envs in made:
        envs.close()


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Runs a program in a fresh interpreter that finds this package; returns what it prints."""

    def run(program: str) -> str:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        finished = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    return run


@cache
def _small_training() -> DictConfig:
    """The configuration of a small training, composed as the command composes it."""
    small = [
        "branch=implicit", "env.num_envs=2", "env.image_size=64", "env.patch_size=16", "env.max_steps=3", "env.shots=5",
        "srm.features=sam", "srm.width=8", "srm.final_updates=2", "policy=patch",
        "agent.batch_size=2", "evaluate.batch_size=2", "device=cpu",
    ]  # fmt: skip

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", small)


@pytest.fixture
def make_run(toy_sam: BatchedSamPredictor, tmp_path: Path) -> Callable[..., Path]:
    """The folder of a run as training leaves it, with the toy SAM and an untrained agent; env: options of its game."""
    from alignsam_gym.agents.agent_weights import save_agent
    from alignsam_gym.agents.algorithms import make_policy
    from alignsam_gym.agents.embedded_weights import embedded_weights
    from alignsam_gym.agents.trained_run import make_env
    from alignsam_gym.agents.vec_env import PromptVecEnv

    def make(
        name: str = "run",
        text: str | None = None,
        network: str = "patch",
        width: int = 8,
        init: str = "none",
        features: str = "sam",
        **env: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        policy = {"network": network, "width": width, "init": init}
        config = OmegaConf.merge(_small_training(), {"env": env, "policy": policy, "srm": {"features": features}})
        OmegaConf.update(config, "dataset", {"name": "toy", "text": text}, merge=False)
        OmegaConf.update(config, "embedded", embedded_weights(config.env), force_add=True)
        envs = make_env(config, "train", 2, samples=ToyDataset())
        config.srm.blocks = envs.episode.srm.config.blocks
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            policy = make_policy(PromptVecEnv(envs), config.agent, config.policy)
        save_agent(folder, policy, envs.episode.srm)
        OmegaConf.save(config, folder / "config.yaml", resolve=True)
        return folder

    return make
