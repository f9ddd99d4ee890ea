"""The SRM in the game: when it learns, from what, and who may use it."""

import warnings

import numpy as np
import pytest
import torch

from alignsam_gym.envs.env_config import EnvConfig
from alignsam_gym.errors import OptionError
from alignsam_gym.srm import SRM, SRMConfig
from tests.alignsam_gym.envs.episode_replay import shrink
from tests.conftest import ToyDataset


def _weights(env):
    return torch.cat([p.detach().flatten() for p in env.unwrapped.srm.members.parameters()]).clone()


def test_the_srm_learns_after_every_action_in_training_only(make_toy):
    for split, learns in (("train", True), ("test", False)):
        env = make_toy(split=split)
        env.reset(seed=0)
        before = _weights(env)
        env.reset()
        assert torch.equal(before, _weights(env))
        env.step(3)
        assert torch.equal(before, _weights(env)) != learns


def test_a_seed_starts_the_srm_over(make_toy):
    env = make_toy()
    env.reset(seed=7)
    fresh = _weights(env)
    env.step(3)
    env.reset()
    assert not torch.equal(fresh, _weights(env))
    env.reset(seed=7)
    assert torch.equal(fresh, _weights(env))
    env.reset(seed=8)
    assert not torch.equal(fresh, _weights(env))


@pytest.mark.parametrize("making", ["make_toy", "make_toy_vec"])
def test_the_first_reset_without_a_seed_keeps_what_the_srm_knows(making, request, tmp_path):
    trained = SRM("implicit", 32, SRMConfig(width=8), torch.device("cpu"), seed=5)
    trained.save(str(tmp_path / "srm.safetensors"))
    env = request.getfixturevalue(making)(*[2] * (making == "make_toy_vec"), srm={"width": 8})
    env.unwrapped.srm.load_weights(str(tmp_path / "srm.safetensors"))
    loaded = _weights(env)
    env.reset()
    assert torch.equal(loaded, _weights(env))


def test_without_a_seed_a_new_srm_begins_at_random(make_toy):
    env, other = make_toy(), make_toy()
    env.reset()
    other.reset()
    assert not torch.equal(_weights(env), _weights(other))


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_episode_may_begin_and_go_on_in_inference_mode(make_toy, split):
    env, plain = make_toy(split=split), make_toy(split=split)
    plain.reset(seed=0)
    with torch.inference_mode():
        env.reset(seed=0)
        env.step(3)
    plain.step(3)
    np.testing.assert_array_equal(env.step(5)[0], plain.step(5)[0])
    assert torch.equal(_weights(env), _weights(plain))


@pytest.mark.parametrize(("images", "blocks"), [(5, 2), (12, 4)])
def test_few_labelled_images_have_an_srm_of_fewer_blocks(make_toy, images, blocks):
    srm = make_toy(dataset=ToyDataset(images), srm={"width": 8, "blocks": None}).unwrapped.srm
    assert srm.config.blocks == len(srm.members[0].blocks) == blocks
    testing = make_toy(split="test", dataset=ToyDataset(30), shots=images, srm={"width": 8, "blocks": None})
    testing.unwrapped.srm.members.load_state_dict(srm.members.state_dict())


def test_a_given_srm_is_used_and_stays_frozen(make_toy):
    trained = SRM("implicit", 32, SRMConfig(width=8), torch.device("cpu"), seed=0)
    for split in ("train", "test"):
        env = make_toy(split=split, srm=trained)
        before = _weights(env)
        env.reset(seed=7)
        env.step(3)
        assert env.unwrapped.srm is trained
        assert torch.equal(before, _weights(env))


def _warnings_of_a_reset(env) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        env.reset(seed=0)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("asked", [{}, {"label_source": "positive"}, {"initial_prompts": "truth"}])
def test_labels_by_an_srm_that_never_learned_come_with_a_warning(make_toy, asked):
    (warning,) = _warnings_of_a_reset(make_toy(split="test", **asked))
    assert "learned nothing" in warning
    assert "srm=" in warning


def test_no_warning_where_the_srm_learned_or_labels_nothing(make_toy, tmp_path):
    train = make_toy(srm={"width": 8})
    assert not _warnings_of_a_reset(train)
    train.step(0)
    learned = train.unwrapped.srm
    learned.save(tmp_path / "srm.safetensors")
    read = SRM("implicit", 32, SRMConfig(width=8), torch.device("cpu"), seed=0)
    read.load_weights(tmp_path / "srm.safetensors")
    resumed = SRM("implicit", 32, SRMConfig(width=8), torch.device("cpu"), seed=0)
    resumed.load_state_dict(learned.state_dict())
    for srm in (learned, read, resumed):
        assert not _warnings_of_a_reset(make_toy(split="test", srm=srm))
    assert not _warnings_of_a_reset(make_toy(split="test", label_source="positive", initial_prompts="truth"))


def test_a_copy_of_an_srm_that_never_learned_has_not_learned_either():
    srm, copy = (SRM("implicit", 32, SRMConfig(width=8), torch.device("cpu"), seed) for seed in range(2))
    copy.load_state_dict(srm.state_dict())
    assert not copy.learned


def test_rows_may_come_in_any_order(make_toy_vec):
    maps = []
    for rows in ([0, 1, 2], [2, 0, 1]):
        episode = make_toy_vec(3).unwrapped.episode
        episode.reset(rows, rows, [np.random.default_rng(row) for row in rows])
        maps.append(episode.srm_logits)
    torch.testing.assert_close(*maps)


@pytest.mark.parametrize(("full_mask_every", "blank"), [(0, 0), (1, 4), (4, 1), (2, 2)])
def test_the_srm_is_taught_the_state_it_led_to_and_some_blank_ones(make_toy, full_mask_every, blank):
    env = make_toy(srm={"width": 8, "full_mask_every": full_mask_every}, max_steps=4)
    lessons = []
    env.unwrapped.srm.learn = lambda states, *lesson: lessons.append([states.formed(), *lesson[:2]])
    env.reset(seed=0)
    episode, blanks = env.unwrapped.episode, 0
    for action in range(4):
        state = env.step(action)[0]
        ((states, target, valid),) = lessons
        if torch.equal(states, episode.embeddings):
            blanks += 1
        else:
            np.testing.assert_array_equal(states[0], state)
        np.testing.assert_array_equal(target[0], shrink(episode.encoded.dataset[int(episode.index[0])].mask, 8))
        assert (valid == 1).all()
        lessons.clear()
    assert blanks == blank


def test_in_each_step_another_row_is_taught_a_full_mask(make_toy_vec):
    envs, full = make_toy_vec(4, srm={"width": 8, "full_mask_every": 4}, max_steps=8), []
    envs.reset(seed=0)
    envs.unwrapped.srm.learn = lambda states, *_: full.append((states.factors[:, 0] == 1).flatten(1).all(1))
    for _ in range(4):
        envs.step(np.arange(4))
    by_step = torch.stack(full)
    assert (by_step.sum(0) == 1).all()
    assert (by_step.sum(1) == 1).all()


def test_an_image_is_in_one_fold_where_it_teaches_and_where_it_is_labelled(make_toy_vec):
    envs = make_toy_vec(4, srm={"width": 8, "folds": 2})
    envs.reset(seed=0)
    asked, taught = [], []
    episode = envs.unwrapped.episode
    ask = episode.srm.logits
    episode.srm.logits = lambda states, folds: (
        asked.append((episode.index.tolist(), folds.tolist())) or ask(states, folds)
    )
    episode.srm.learn = lambda states, target, valid, folds: taught.append((episode.index.tolist(), folds.tolist()))
    for _ in range(12):
        envs.step(np.arange(4))
    fold_of = {}
    for indices, folds in asked + taught:
        for index, fold in zip(indices, folds, strict=True):
            assert fold_of.setdefault(index, fold) == fold
    assert set(fold_of.values()) == {0, 1}
    assert len(fold_of) == len(episode.encoded)


def test_more_folds_than_images_are_refused(make_toy):
    with pytest.raises(OptionError, match=r"srm.folds=6 is more than the 5 images"):
        make_toy(srm={"width": 8, "folds": 6})


def test_a_preset_given_beside_the_values_is_the_srms_too():
    assert EnvConfig.of({}, "best").srm_config == EnvConfig.of({"preset": "best"}).srm_config
    assert EnvConfig.of({}).srm_config != EnvConfig.of({}, "best").srm_config
