"""The SRM that a trained agent keeps."""

from dataclasses import replace

import pytest
import torch

from alignsam_gym.envs.prompters import RandomPrompter
from alignsam_gym.envs.srm_examples import coarse_labels
from alignsam_gym.evaluation.labelled_play import play_labelled
from alignsam_gym.evaluation.srm_refit import refit_srm
from alignsam_gym.srm import SRM
from alignsam_gym.transforms import resize_map

OPTIONS = {"width": 8, "folds": 2, "early_stopping_interval": 6, "batch_size": 4, "final_updates": 12}


def met(episode):
    """The masks of the states that a random agent meets."""
    return play_labelled(episode, RandomPrompter(0), "srm").masks


def _weights(srm):
    return [torch.cat([p.detach().flatten() for p in member.parameters()]) for member in srm.members]


@pytest.fixture
def trained(make_toy_vec):
    """An episode of the training split whose SRM has learned from some prompts."""
    env = make_toy_vec(3, srm=OPTIONS)
    env.reset(seed=0)
    for action in range(3):
        env.step([action] * 3)
    return env.unwrapped.episode


def test_every_branch_learns_anew_from_all_images_and_states(trained, monkeypatch):
    before, lessons, learn = _weights(trained.srm), [], SRM.learn
    monkeypatch.setattr(SRM, "learn", lambda *lesson: lessons.append(lesson) or learn(*lesson))
    refit_srm(trained, met(trained), seed=1)
    assert len(lessons) == 12
    assert all(srm is not trained.srm for srm, *_ in lessons)
    assert {len(lesson) for lesson in lessons} == {4}  # no fold is left out
    seen = torch.cat([states.gathered() for _, states, _, _ in lessons]).flatten(1)
    assert len(seen.unique(dim=0)) == len(trained.encoded)
    masks = torch.cat([states.factors for _, states, _, _ in lessons])[:, 0]
    full = (masks == 1).flatten(1).all(1)
    assert full.float().mean() == 1 / trained.srm.config.full_mask_every
    assert ((masks >= 0) & (masks <= 1)).all()
    after = _weights(trained.srm)
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(torch.equal(old, new) for old, new in zip(_weights(lessons[0][0]), after, strict=True))
    assert not torch.equal(*after)


def test_every_image_is_learned_with_its_own_labels_and_from_its_own_states(trained, monkeypatch):
    masks, cells, lessons, learn = met(trained), trained.mask.shape[1:], [], SRM.learn
    monkeypatch.setattr(SRM, "learn", lambda *lesson: lessons.append(lesson) or learn(*lesson))
    refit_srm(trained, masks, seed=1)
    samples = trained.encoded.fetch(range(len(trained.encoded)))
    truth, labelled = coarse_labels(samples, cells)
    embeddings = [resize_map(sample.embedding, cells) for sample in samples]
    for _, states, target, valid in lessons:
        for row, embedding in enumerate(states.gathered()):
            (index,) = [i for i, one in enumerate(embeddings) if torch.equal(one, embedding)]
            assert torch.equal(target[row], truth[index])
            assert torch.equal(valid[row], labelled[index])
            mask = states.factors[row, 0]
            assert (mask == 1).all() or any(torch.equal(mask, one.float()) for one in masks[index])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_one_state_in_so_many_has_a_full_mask_whatever_the_batch(trained, monkeypatch, batch_size):
    trained.srm.config = replace(trained.srm.config, batch_size=batch_size, full_mask_every=4)
    drawn, learn = [], SRM.learn
    monkeypatch.setattr(SRM, "learn", lambda *lesson: drawn.append(lesson[1].factors[:, 0]) or learn(*lesson))
    refit_srm(trained, torch.zeros_like(met(trained)), seed=1)
    full = (torch.cat(drawn) == 1).flatten(1).all(1)
    assert full.tolist() == [number % 4 == 0 for number in range(12 * batch_size)]


def test_the_game_stays_as_it_was(trained):
    srm, rules = trained.srm, trained.rules
    refit_srm(trained, met(trained), seed=1)
    assert (trained.srm, trained.rules, trained.learns) == (srm, rules, True)
    assert srm.learned


def test_a_seed_decides_the_weights(make_toy_vec):
    weights = []
    for seed in (1, 1, 2):
        env = make_toy_vec(3, srm=OPTIONS)
        env.reset(seed=0)
        env.step([0, 1, 2])
        refit_srm(env.unwrapped.episode, met(env.unwrapped.episode), seed)
        weights.append(torch.cat(_weights(env.unwrapped.srm)))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
