import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from alignsam_gym.agents.callbacks import Checkpoints, EpisodeStatistics
from alignsam_gym.agents.training_state import load_training_state
from alignsam_gym.errors import DataError, WeightsError

ROUND, TOTAL = 4 * 6, 4 * 4 * 6


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
        history = load_training_state(checkpoint, model, env) if resume else []
        callbacks = [EpisodeStatistics(history, 6), Checkpoints(checkpoint, env, history)]
        if interrupt:
            callbacks.append(_Interruption(interrupt))
        try:
            model.learn(
                TOTAL - model.num_timesteps, CallbackList(callbacks), log_interval=None, reset_num_timesteps=False
            )
        except KeyboardInterrupt:
            assert interrupt
        return model, env, history

    return run


@pytest.mark.parametrize("stop", [False, True])
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


def test_a_replay_buffer_that_has_gone_round_is_restored_whole(train, tmp_path):
    agent = {"buffer_size": 40}
    whole, _, _ = train("dqn", tmp_path / "whole.pt", agent=agent)
    resumed, env, _ = train("dqn", tmp_path / "half.pt", interrupt=3 * ROUND + 4, agent=agent)
    load_training_state(tmp_path / "whole.pt", resumed, env)
    assert whole.replay_buffer.full
    assert resumed.replay_buffer.pos == whole.replay_buffer.pos
    for name in ("actions", "rewards", "timeouts"):
        np.testing.assert_array_equal(getattr(resumed.replay_buffer, name), getattr(whole.replay_buffer, name))
    for name, kept in whole.replay_buffer.next_observations.items():
        np.testing.assert_array_equal(resumed.replay_buffer.next_observations[name], kept)


def test_checkpoints_come_once_a_round(make_toy_learner, algorithm, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "alignsam_gym.agents.callbacks.save_training_state", lambda path, model, *_: saved.append(model.num_timesteps)
    )
    model = make_toy_learner(algorithm)
    history = []
    callbacks = [EpisodeStatistics(history, 6), Checkpoints(tmp_path / "c.pt", model.get_env().env, history)]
    model.learn(3 * ROUND, CallbackList(callbacks), log_interval=None)
    assert saved == [0, ROUND, 2 * ROUND, 3 * ROUND]


def test_a_damaged_checkpoint_is_told(make_toy_learner, tmp_path):
    model = make_toy_learner("ppo")
    torn = tmp_path / "checkpoint.pt"
    torn.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match=r"checkpoint\.pt"):
        load_training_state(torn, model, model.get_env().env)


def test_a_checkpoint_with_another_srm_is_told(make_toy_learner, train, tmp_path):
    train("ppo", tmp_path / "c.pt")
    model = make_toy_learner("ppo", srm={"width": 24})
    with pytest.raises(WeightsError, match=r"c\.pt is not a checkpoint of this configuration"):
        load_training_state(tmp_path / "c.pt", model, model.get_env().env)


def test_other_labelled_images_than_before_are_told(make_toy_learner, train, toy_dataset, tmp_path):
    train("ppo", tmp_path / "c.pt")
    toy_dataset.ids[3] = "new"
    model = make_toy_learner("ppo", dataset=toy_dataset)
    with pytest.raises(DataError, match=r"images of toy are others now \(2 differ, such as new\)"):
        load_training_state(tmp_path / "c.pt", model, model.get_env().env)


def test_a_checkpoint_that_lacks_a_part_is_told(make_toy_learner, train, tmp_path):
    train("ppo", tmp_path / "c.pt")
    state = torch.load(tmp_path / "c.pt", weights_only=True)
    del state["counts"]
    torch.save(state, tmp_path / "c.pt")
    model = make_toy_learner("ppo")
    with pytest.raises(WeightsError, match=r"c\.pt is not a checkpoint of this configuration"):
        load_training_state(tmp_path / "c.pt", model, model.get_env().env)


def test_checkpoints_hold_no_code(train, algorithm, tmp_path):
    train(algorithm, tmp_path / "c.pt")
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
