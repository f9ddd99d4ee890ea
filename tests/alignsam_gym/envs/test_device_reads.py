"""How often a step waits for the device, counted on an emulated one."""

import gymnasium as gym
import pytest

from alignsam_gym.envs import spaces
from alignsam_gym.foundation.devices import to_host
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from tests.conftest import ToyDataset, build_toy_sam
from tests.emulated_device import READS, emulated_device

SRM = {"width": 8, "folds": 2, "batch_size": 2, "dropout": 0.5, "full_mask_every": 2, "early_stopping_interval": 8}
GAME = {"image_size": 64, "patch_size": 16, "max_steps": 6, "preset": "best", "branch": "implicit", "shots": 4}


@pytest.mark.parametrize("observation", ["evidence", "patches", "cells", "state"])
@pytest.mark.parametrize("answer", ["sam", "fused"])
def test_a_step_waits_for_the_device_once(monkeypatch, observation, answer):
    with emulated_device() as device:
        envs = gym.make_vec(
            "alignsam_gym:AlignSAM-v0",
            num_envs=4,
            vectorization_mode="vector_entry_point",
            dataset=ToyDataset(),
            sam=BatchedSamPredictor(build_toy_sam(), "toy", device),
            srm=SRM,
            observation=observation,
            answer=answer,
            **GAME,
        )
        envs.reset(seed=0)
        read_at_once = []

        def counted(tensors):
            arrays = to_host(tensors)
            read_at_once.append(sorted(tensors))
            del READS[-len(tensors) :]
            return arrays

        monkeypatch.setattr(spaces, "to_host", counted)
        READS.clear()
        for step in range(3):
            envs.step([step, 4 + step, 8 + step, 12 + step])
        assert len(read_at_once) == 3
        assert READS == []
