import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.vec_env import VecMonitor

import alignsam_gym  # noqa: F401  # registers the environment
from alignsam_gym.agents.algorithms import make_learner
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.errors import OptionError

STEPS = 3
PPO = {"algorithm": "ppo", "n_steps": STEPS, "n_epochs": 1, "batch_size": 12, "gae_lambda": 1.0, "gamma": 0.9}
NETWORK = {"network": "patch", "width": 8}


def make_venv(**options):
    env = gym.make_vec(
        "AlignSAM-v0",
        num_envs=4,
        vectorization_mode="vector_entry_point",
        autoreset_mode="SameStep",
        observation="patches",
        shots=4,
        max_steps=STEPS,
        **options,
    )
    return PromptVecEnv(env)


def test_every_ending_is_a_truncation_that_carries_its_last_observation():
    venv = make_venv(label_source="oracle")
    venv.seed(3)
    venv.reset()
    twin = gym.make_vec(
        "AlignSAM-v0", num_envs=4, autoreset_mode="Disabled", observation="patches", shots=4, max_steps=STEPS,
        label_source="oracle",
    )  # fmt: skip
    twin.reset(seed=3)
    for step in range(1, STEPS + 1):
        actions = np.arange(4) * 7 + step
        observation, _, dones, infos = venv.step(actions)
        expected, *_ = twin.step(actions)
        assert dones.all() == (step == STEPS)
    for row, info in enumerate(infos):
        assert info["TimeLimit.truncated"] is True
        np.testing.assert_array_equal(info["terminal_observation"], expected[row])
        assert not np.array_equal(observation[row], expected[row]), "the next episode has begun"


def test_a_stop_is_no_truncation(make_toy_venv):
    venv = make_toy_venv(2, stop=True, max_steps=2)
    venv.seed(0)
    venv.reset()
    _, _, dones, infos = venv.step(np.array([16, 3]))
    assert dones.tolist() == [True, False]
    assert infos[0]["TimeLimit.truncated"] is False
    assert "terminal_observation" in infos[0]
    _, _, dones, infos = venv.step(np.array([1, 5]))
    assert dones.tolist() == [False, True]
    assert infos[1]["TimeLimit.truncated"] is True


def test_infos_of_an_ending_are_the_ended_episodes():
    venv = make_venv(label_source="oracle")
    venv.seed(0)
    venv.reset()
    for action in range(STEPS):
        *_, infos = venv.step(np.full(4, action))
    centres = venv.env.episode.centres.numpy()
    for info in infos:
        np.testing.assert_array_equal(info["point"], centres[STEPS - 1])


def test_a_loaded_learner_that_seeds_its_environment_warns_of_what_the_srm_forgets(tmp_path):
    venv = make_venv()
    srm = venv.env.srm
    make_learner(venv, PPO, NETWORK, seed=0).learn(12).save(tmp_path / "ppo.zip")
    learner = SB3PPO.load(tmp_path / "ppo.zip")
    learner.set_env(venv)
    venv.reset()
    assert srm.learned
    SB3PPO.load(tmp_path / "ppo.zip", env=venv)
    with pytest.warns(UserWarning, match="what the SRM has learned is forgotten"):
        venv.reset()
    assert not srm.learned


def test_seed_repeats_through_the_adapter():
    first, second = make_venv(), make_venv()
    for venv in (first, second):
        venv.seed(11)
    np.testing.assert_array_equal(first.reset(), second.reset())
    for _ in range(2 * STEPS):
        a, b = (venv.step(np.array([5, 17, 60, 99]))[0] for venv in (first, second))
        np.testing.assert_array_equal(a, b)


def test_options_reach_the_next_reset_alone():
    venv = make_venv()
    venv.seed(0)
    venv.set_options({"index": 2})
    venv.reset()
    assert [info["index"] for info in venv.reset_infos] == [2, 2, 2, 2]
    venv.set_options([{"index": row} for row in (3, 1, 0, 2)])
    venv.reset()
    assert [info["index"] for info in venv.reset_infos] == [3, 1, 0, 2]
    drawn = []
    for _ in range(4):
        venv.reset()
        drawn.append([info["index"] for info in venv.reset_infos])
    assert sorted(row[0] for row in drawn) == [0, 1, 2, 3]
    venv.set_options([{"index": 1}, {}, {}, {}])
    with pytest.raises(OptionError, match="same names"):
        venv.reset()


def test_other_autoreset_modes_are_refused():
    env = gym.make_vec("AlignSAM-v0", num_envs=2, shots=2)
    with pytest.raises(OptionError, match="SameStep"):
        PromptVecEnv(env)


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (lambda: gym.make("AlignSAM-v0", shots=2), "<OrderEnforcing<.*AlignSAMEnv"),
        (lambda: RecordEpisodeStatistics(make_venv().env), "<RecordEpisodeStatistics, AlignSAMVectorEnv"),
    ],
)
def test_single_and_wrapped_environments_are_refused(make, given):
    with pytest.raises(OptionError, match=f"needs an AlignSAMVectorEnv without wrappers, .*, not {given}"):
        PromptVecEnv(make())


def test_sb3_wrappers_and_methods_work():
    venv = VecMonitor(make_venv(revisit="forbid"))
    venv.reset()
    for action in range(STEPS):
        *_, infos = venv.step(np.full(4, action))
    assert all(info["episode"]["l"] == STEPS for info in infos)
    masks = venv.env_method("action_masks")
    assert len(masks) == 4
    assert masks[0].shape == (100,)


def test_advantages_are_equation_6_minus_equation_7():
    """Against a hand loop over whole episodes, each bootstrapped with the value of the state it ends in."""
    venv = make_venv(label_source="oracle")
    model = make_learner(venv, PPO, NETWORK, seed=0)
    rewards, last_values = [], np.zeros(4)

    def collect(variables, _):
        rewards.append(np.array(variables["rewards"]))  # before SB3 adds the bootstrap to them
        if len(rewards) == STEPS:
            for row, info in enumerate(variables["infos"]):
                last = model.policy.obs_to_tensor(info["terminal_observation"])[0]
                with torch.no_grad():
                    last_values[row] = model.policy.predict_values(last).item()
        return True

    model.learn(4 * STEPS, callback=collect)
    buffer = model.rollout_buffer
    values = buffer.values.reshape(4, STEPS)
    advantages = buffer.advantages.reshape(4, STEPS)
    for row in range(4):
        for t in range(STEPS):
            q = sum(0.9 ** (k - t) * rewards[k][row] for k in range(t, STEPS)) + 0.9 ** (STEPS - t) * last_values[row]
            assert advantages[row, t] == pytest.approx(q - values[row, t], abs=1e-5)


def test_rollouts_hold_patches_not_states():
    venv = make_venv()
    model = make_learner(venv, PPO, NETWORK, seed=0)
    states = STEPS * 4 * np.prod(venv.env.episode.states().shape[1:]) * 4
    assert model.rollout_buffer.observations.nbytes < states / 20  # of SAM's own states, four times as many cells, / 80
