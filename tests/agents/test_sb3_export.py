import numpy as np
import pytest
from stable_baselines3 import PPO

from agents.archive import export
from agents.runs import load_config, load_run
from agents.sb3_export import export_sb3


@pytest.mark.parametrize("bundled", [None, "bundle", "one.alignsam"])
def test_stable_baselines_loads_it_and_chooses_the_same(make_run, toy_dataset, tmp_path, bundled):
    run = make_run()
    if bundled:
        export(run, tmp_path / bundled)
    export_sb3(tmp_path / bundled if bundled else run, tmp_path / "out/policy.zip")
    model = PPO.load(tmp_path / "out/policy.zip", device="cpu")
    env, policy = load_run(run, load_config(run), samples=toy_dataset)
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        chosen, _ = model.predict(observation, deterministic=True)
        np.testing.assert_array_equal(chosen, policy.predict(observation, deterministic=True)[0])
        observation, *_ = env.step(chosen)
