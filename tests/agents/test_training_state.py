import random

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from alignsam_gym.agents.algorithms import ALGORITHMS
from alignsam_gym.agents.callbacks import Checkpoints, EpisodeStatistics
from alignsam_gym.agents.training_state import Curves, check_training_state, load_training_state
from alignsam_gym.errors import DataError, WeightsError

ROUND, TOTAL = 4 * 6, 3 * 4 * 6


class _Interruption(BaseCallback):
    """Ctrl-C after so many timesteps."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def _on_step(self):
        if self.num_timesteps >= self.at:
            raise KeyboardInterrupt
        return True


@pytest.fixture
def train(make_toy_learner):
    def run(algorithm, checkpoint, resume=False, interrupt=None, **options):
        model = make_toy_learner(algorithm, seed=5, **options)
        env = model.get_env().env
        curves = load_training_state(checkpoint, model, env) if resume else Curves()
        callbacks = [EpisodeStatistics(curves, 6), Checkpoints(checkpoint, env, curves)]
        if interrupt:
            callbacks.append(_Interruption(interrupt))
        try:
            model.learn(
                TOTAL - model.num_timesteps, CallbackList(callbacks), log_interval=None, reset_num_timesteps=False
            )
        except KeyboardInterrupt:
            assert interrupt
        return model, env, curves.history

    return run


@pytest.mark.parametrize(("algorithm", "stop"), [*((name, False) for name in ALGORITHMS), ("ppo", True), ("dqn", True)])
def test_an_interrupted_training_ends_as_a_whole_one(train, algorithm, stop, tmp_path):
    whole, whole_env, whole_history = train(algorithm, tmp_path / "whole.pt", stop=stop)
    train(algorithm, tmp_path / "half.pt", interrupt=2 * ROUND + 8, stop=stop)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002  # what a new process would have drawn from
    resumed, resumed_env, history = train(algorithm, tmp_path / "half.pt", resume=True, stop=stop)
    assert resumed.num_timesteps == whole.num_timesteps == TOTAL
    assert [one | {"seconds": 0} for one in history] == [one | {"seconds": 0} for one in whole_history]
    assert len(history) == TOTAL / ROUND
    for name, value in whole.policy.state_dict().items():
        torch.testing.assert_close(resumed.policy.state_dict()[name], value, rtol=0, atol=0)
    for name, value in whole_env.episode.srm.members.state_dict().items():
        torch.testing.assert_close(resumed_env.episode.srm.members.state_dict()[name], value, rtol=0, atol=0)
    np.testing.assert_array_equal(resumed_env.observe()["patches"], whole_env.observe()["patches"])


def test_a_resumed_training_is_held_near_the_policy_that_it_began_with(train, tmp_path):
    options = {"network": {"network": "evidence", "width": 48, "init": "pretrained"}, "observation": "evidence"}
    options["agent"] = {"ent_coef": 1.0}
    whole, _, _ = train("ppo", tmp_path / "whole.pt", **options)
    train("ppo", tmp_path / "half.pt", interrupt=2 * ROUND + 8, **options)
    resumed, _, _ = train("ppo", tmp_path / "half.pt", resume=True, **options)
    for name, value in whole.policy.state_dict().items():
        torch.testing.assert_close(resumed.policy.state_dict()[name], value, rtol=0, atol=0)


def test_a_memory_goes_on_in_the_middle_of_an_episode(train, tmp_path):
    agent = {"n_steps": 4, "batch_size": 8}  # which does not divide an episode's 6
    whole, _, _ = train("recurrent_ppo", tmp_path / "whole.pt", agent=agent)
    train("recurrent_ppo", tmp_path / "half.pt", interrupt=ROUND + 12, agent=agent)
    assert not any(torch.load(tmp_path / "half.pt", weights_only=True)["episode_starts"])
    torch.manual_seed(99)
    resumed, _, _ = train("recurrent_ppo", tmp_path / "half.pt", resume=True, agent=agent)
    for name, value in whole.policy.state_dict().items():
        torch.testing.assert_close(resumed.policy.state_dict()[name], value, rtol=0, atol=0)


def test_a_round_goes_on_in_which_a_training_was_interrupted(train, tmp_path):
    agent = {"n_steps": 4}  # which does not divide a round's 6
    _, _, whole = train("a2c", tmp_path / "whole.pt", agent=agent)
    train("a2c", tmp_path / "half.pt", interrupt=2 * ROUND, agent=agent)
    _, _, resumed = train("a2c", tmp_path / "half.pt", resume=True, agent=agent)
    assert [one | {"seconds": 0} for one in resumed] == [one | {"seconds": 0} for one in whole]
    assert len(whole) == TOTAL / ROUND


def test_a_replay_buffer_that_has_gone_round_is_restored_whole(train, make_toy_learner, tmp_path):
    agent = {"buffer_size": 40}
    whole, _, _ = train("dqn", tmp_path / "whole.pt", agent=agent)
    resumed = make_toy_learner("dqn", seed=6, agent=agent)
    load_training_state(tmp_path / "whole.pt", resumed, resumed.get_env().env)
    kept, restored = whole.replay_buffer, resumed.replay_buffer
    assert kept.full
    assert (restored.full, restored.pos, restored.size()) == (kept.full, kept.pos, kept.size())
    for name in ("actions", "rewards", "dones", "timeouts"):
        np.testing.assert_array_equal(getattr(restored, name), getattr(kept, name))
    for observations in ("observations", "next_observations"):
        for name, values in getattr(kept, observations).items():
            np.testing.assert_array_equal(getattr(restored, observations)[name], values)


def test_checkpoints_come_once_a_round(make_toy_learner, algorithm, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "alignsam_gym.agents.callbacks.save_training_state", lambda path, model, *_: saved.append(model.num_timesteps)
    )
    model = make_toy_learner(algorithm)
    curves = Curves()
    callbacks = [EpisodeStatistics(curves, 6), Checkpoints(tmp_path / "c.pt", model.get_env().env, curves)]
    model.learn(3 * ROUND, CallbackList(callbacks), log_interval=None)
    assert saved == [0, ROUND, 2 * ROUND, 3 * ROUND]


def test_a_damaged_file_is_told(make_toy_learner, train, tmp_path):
    train("ppo", tmp_path / "whole.pt", interrupt=ROUND + 8)
    whole = (tmp_path / "whole.pt").read_bytes()
    model = make_toy_learner("ppo")
    for name, content in {"other.pt": b"not a checkpoint", "torn.pt": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name} is damaged; remove it, and the training begins anew \(.+\)\."):
            load_training_state(tmp_path / name, model, model.get_env().env)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(WeightsError, match=r"checkpoint\.pt cannot be read"):
        check_training_state(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(("marks", "version"), [({}, "0.1.0"), ({"format": 99, "version": "7.8.9"}, "7.8.9")])
def test_a_file_of_another_version_is_told_with_the_version_that_reads_it(
    make_toy_learner, train, tmp_path, marks, version
):
    """Files of version 0.1.0 had no marks of their format."""
    train("ppo", tmp_path / "c.pt", interrupt=ROUND + 8)
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    del state["format"], state["version"]
    torch.save(state | marks, tmp_path / "c.pt")
    model = make_toy_learner("ppo")
    before = [value.clone() for value in model.policy.state_dict().values()]
    says = rf"c\.pt is the training state of alignsam-gym {version}, which .* go on with {version}, or train again"
    with pytest.raises(WeightsError, match=says):
        load_training_state(tmp_path / "c.pt", model, model.get_env().env)
    assert all(value.equal(old) for value, old in zip(model.policy.state_dict().values(), before, strict=True))


def test_a_file_of_a_training_with_another_srm_is_told(make_toy_learner, train, tmp_path):
    train("ppo", tmp_path / "c.pt", interrupt=ROUND + 8)
    model = make_toy_learner("ppo", srm={"width": 24})
    with pytest.raises(WeightsError, match=r"c\.pt is not a checkpoint of this configuration"):
        load_training_state(tmp_path / "c.pt", model, model.get_env().env)


def test_other_labelled_images_than_before_are_told(make_toy_learner, train, toy_dataset, tmp_path):
    train("ppo", tmp_path / "c.pt", interrupt=ROUND + 8)
    toy_dataset.ids[3] = "new"
    model = make_toy_learner("ppo", dataset=toy_dataset)
    with pytest.raises(DataError, match=r"images of toy are others now \(2 differ, such as new\)"):
        load_training_state(tmp_path / "c.pt", model, model.get_env().env)


def test_a_file_that_lacks_a_part_is_told(make_toy_learner, train, tmp_path):
    train("ppo", tmp_path / "c.pt", interrupt=ROUND + 8)
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    del state["counters"]
    torch.save(state, tmp_path / "c.pt")
    model = make_toy_learner("ppo")
    with pytest.raises(WeightsError, match=r"c\.pt is not a checkpoint of this configuration"):
        load_training_state(tmp_path / "c.pt", model, model.get_env().env)


def test_what_older_versions_kept_besides_is_passed_over(train, tmp_path):
    """Python's own generator, which nothing draws from."""
    train("ppo", tmp_path / "c.pt", interrupt=ROUND + 8)
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    torch.save(state | {"python": random.getstate()}, tmp_path / "c.pt")
    resumed, _, _ = train("ppo", tmp_path / "c.pt", resume=True)
    assert resumed.num_timesteps == TOTAL


def test_the_file_holds_no_code(train, algorithm, tmp_path):
    train(algorithm, tmp_path / "c.pt", interrupt=ROUND + 8)
    torch.load(tmp_path / "c.pt", weights_only=True)


def test_a_full_disk_keeps_the_checkpoint_before(train, tmp_path, monkeypatch):
    train("ppo", tmp_path / "run.pt", interrupt=ROUND + 8)
    kept = (tmp_path / "run.pt").read_bytes()

    def fill(state, path):
        path.write_bytes(b"half of it")
        raise RuntimeError("unexpected pos 881600 vs 881488")

    monkeypatch.setattr("torch.save", fill)
    with pytest.raises(WeightsError, match="is the disk full"):
        train("ppo", tmp_path / "run.pt", resume=True)
    assert (tmp_path / "run.pt").read_bytes() == kept
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_a_training_does_not_go_on_from_weights_that_are_no_numbers(train, tmp_path):
    train("ppo", tmp_path / "half.pt", interrupt=2 * ROUND + 8)
    state = torch.load(tmp_path / "half.pt", weights_only=True)
    state["policy"]["value_net.bias"][0] = torch.inf
    torch.save(state, tmp_path / "half.pt")
    with pytest.raises(WeightsError, match=r"half\.pt holds NaN or infinite weights, in value_net\.bias"):
        train("ppo", tmp_path / "half.pt", resume=True)
