import copy

import numpy as np
import pytest
import torch

from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.srm import BRANCHES, SRM, SRMConfig
from alignsam_gym.state import State

CPU = torch.device("cpu")


def _srm(seed=0, channels=3, **options):
    return SRM("implicit", channels, SRMConfig.of({"width": 16, **options}), CPU, seed)


def _weights(srm):
    return {name: value.clone() for name, value in srm.members.state_dict().items()}


def _same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def _batch(count=8, side=8, seed=0):
    """States whose first channel says where the foreground is."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, 3, side, side, generator=generator)
    target = (embeddings[:, 0] > 0.5).float()
    nothing_hidden = torch.ones(count, 1, side, side)
    return State(embeddings, nothing_hidden, embeddings[:, :0]), target, torch.ones_like(target)


def test_a_simple_map_is_learned_quickly():
    srm = _srm(learning_rate=1e-2)
    states, target, valid = _batch(32)
    losses = [srm.learn(states, target, valid) for _ in range(120)]
    assert losses[-1] < 0.3 * losses[0]
    unseen, truth, _ = _batch(32, seed=1)
    answer = (srm.logits(unseen) > 0).float()
    dice = 2 * (answer * truth).sum() / (answer.sum() + truth.sum())
    assert dice > 0.85  # calling everything foreground scores 0.47


def test_learning_follows_the_labelled_cells_only():
    states, target, valid = _batch()
    valid[:, :, :4] = 0
    weights = []
    for truth in (target, torch.where(valid == 0, 1 - target, target)):
        srm = _srm()
        srm.learn(states, truth, valid)
        weights.append(_weights(srm))
    assert _same(*weights)


def test_asking_does_not_teach():
    srm = _srm()
    before = _weights(srm)
    logits = srm.logits(_batch()[0])
    assert logits.shape == (8, 8, 8)
    assert not logits.requires_grad
    assert _same(before, _weights(srm))


def test_dropout_leaves_channels_out_of_lessons_alone_and_strengthens_the_others():
    srm, seen = SRM("implicit", 64, SRMConfig.of({"width": 16, "dropout": 0.25}), CPU, seed=0), []
    srm.learners[0].register_forward_pre_hook(lambda _, given: seen.append(given[0].channel_gains))
    embeddings = torch.randn(16, 64, 8, 8)
    states, target = State(embeddings, torch.ones(16, 1, 8, 8), embeddings[:, :0]), (embeddings[:, 0] > 0).float()
    srm.learn(states, target, torch.ones_like(target))
    gains = torch.cat(seen)
    assert gains.shape == (16, 64)
    torch.testing.assert_close(gains.unique(), torch.tensor([0, 4 / 3]))
    assert 0.18 < (gains == 0).float().mean() < 0.32
    seen.clear()
    srm.logits(states)
    assert seen == [None]


@pytest.mark.parametrize(("updates", "batch_size", "steps"), [(1, 8, 1), (5, 8, 5), (1, 3, 3), (2, 4, 4)])
def test_every_pass_makes_one_step_for_each_batch(updates, batch_size, steps):
    srm = _srm(updates=updates, batch_size=batch_size)
    srm.learn(*_batch(8))
    assert {int(state["step"]) for state in srm.optimizer.state.values()} == {steps}


def test_the_seed_decides_the_weights_and_start_restores_them():
    srm, twin, other = _srm(5), _srm(5), _srm(6)
    fresh = _weights(srm)
    assert _same(fresh, _weights(twin))
    assert not _same(fresh, _weights(other))
    srm.learn(*_batch())
    assert not _same(fresh, _weights(srm))
    srm.start(5)
    assert _same(fresh, _weights(srm))
    srm.learn(*_batch())
    twin.learn(*_batch())
    assert _same(_weights(srm), _weights(twin))  # the optimiser, too, has forgotten


def test_weights_do_not_come_from_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    _srm(2**100)
    assert torch.equal(torch.rand(1), expected)


def test_saved_weights_answer_alike(tmp_path):
    srm = _srm(0)
    srm.learn(*_batch())
    srm.save(tmp_path / "srm.safetensors")
    other = _srm(1)
    states = _batch()[0]
    assert not torch.equal(srm.logits(states), other.logits(states))
    other.load_weights(tmp_path / "srm.safetensors")
    assert torch.equal(srm.logits(states), other.logits(states))


@pytest.mark.parametrize("options", [{}, {"folds": 2, "early_stopping_interval": 24}])
def test_a_state_dict_carries_all_that_learning_goes_on_from(options):
    srm, resumed = _srm(0, **options), _srm(1, **options)
    folds = torch.tensor([0, 1] * 4) if options else None
    for seed in range(4):
        srm.learn(*_batch(seed=seed), folds)
    resumed.load_state_dict(copy.deepcopy(srm.state_dict()))
    for seed in range(4, 9):
        srm.learn(*_batch(seed=seed), folds)
        resumed.learn(*_batch(seed=seed), folds)
        assert _same(_weights(srm), _weights(resumed))
    assert _same(srm.learners.state_dict(), resumed.learners.state_dict())


def test_a_state_of_another_kind_of_device_is_gone_on_from_without_its_generator():
    srm, resumed = _srm(0), _srm(1)
    srm.learn(*_batch())
    elsewhere = srm.state_dict() | {"device": "cuda", "generator": torch.zeros(16, dtype=torch.uint8)}
    resumed.load_state_dict(elsewhere)
    assert _same(_weights(srm), _weights(resumed))
    assert torch.equal(resumed.generator.get_state(), _srm(1).generator.get_state())


@pytest.mark.parametrize("content", ["missing", "rubbish", "another width"])
def test_files_that_hold_no_such_weights_are_weights_errors(tmp_path, content):
    file = tmp_path / "srm.safetensors"
    if content == "rubbish":
        file.write_bytes(b"not safetensors at all")
    if content == "another width":
        _srm(width=8).save(file)
    with pytest.raises(WeightsError, match=r"srm\.safetensors does not hold the weights of this SRM"):
        _srm().load_weights(file)


def test_an_unknown_option_is_named_with_those_that_exist():
    with pytest.raises(OptionError, match=r"srm got an unexpected keyword argument 'lr'; it takes batch_size"):
        SRMConfig.of({"lr": 1e-3, "width": 8})


@pytest.mark.parametrize(
    "option",
    [
        {"width": 12}, {"width": 0}, {"blocks": 0}, {"learning_rate": -1}, {"updates": 0}, {"batch_size": 0},
        {"folds": 0}, {"final_updates": -1},
        {"full_mask_every": -1}, {"dropout": 1.0}, {"dropout": -0.5}, {"early_stopping_interval": -1},
        {"clip_logit_weight": -1},
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named(option):
    with pytest.raises(OptionError, match="srm.{}={}".format(*next(iter(option.items())))):
        SRMConfig.of(option)


def test_options_not_given_are_the_papers():
    config = SRMConfig.of({})
    assert config.learning_rate == 1e-4
    assert {kind: SRM(kind, 4, config, CPU, 0).updates for kind in BRANCHES} == {"implicit": 1, "explicit": 5}


def test_a_branch_learns_from_every_fold_but_its_own():
    srm = _srm(folds=3, batch_size=4)
    states, target, valid = _batch(9)
    folds = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1])
    before = [[p.clone() for p in member.parameters()] for member in srm.members]
    srm.learn(states[torch.arange(3)], target[:3], valid[:3], folds[:3])  # fold 0 alone teaches the other two
    changed = [
        any(not torch.equal(old, new) for old, new in zip(kept, member.parameters(), strict=True))
        for kept, member in zip(before, srm.members, strict=True)
    ]
    assert changed == [False, True, True]
    assert srm.learn(states, target, valid, folds).isfinite()


def test_a_branch_trained_among_folds_equals_one_trained_on_the_others_alone():
    """Adam's steps are each branch's own, though one optimiser holds them all."""
    together, alone = _srm(folds=2, batch_size=4), _srm(batch_size=4)
    alone.members[0].load_state_dict(together.members[1].state_dict())
    states, target, valid = _batch(8)
    folds = torch.tensor([0, 1] * 4)
    for _ in range(5):
        together.learn(states, target, valid, folds)
        alone.learn(states[(folds == 0).nonzero()[:, 0]], target[folds == 0], valid[folds == 0])
    torch.testing.assert_close(together.members[1].state_dict(), alone.members[0].state_dict())


def test_a_branch_is_replaced_only_by_one_that_does_better_on_unseen_images():
    srm = _srm(folds=2, early_stopping_interval=64, learning_rate=1e-2, batch_size=8)
    states, target, valid = _batch(16)
    folds = torch.tensor([0, 1] * 8)

    @torch.no_grad()
    def unseen(branches):
        return [
            float(
                logits_iou(
                    branch(states[(folds == fold).nonzero()[:, 0]]), target[folds == fold], valid[folds == fold]
                ).mean()
            )
            for fold, branch in enumerate(branches)
        ]

    untaught = unseen(srm.members)
    for _ in range(80):
        srm.learn(states, target, valid, folds)
    taught = unseen(srm.members)
    assert min(taught) > max(untaught)
    kept = _weights(srm)
    opposite = torch.where((folds == 0)[:, None, None], 1 - target, target)
    for _ in range(3):  # fold 0's labels are now wrong, which only the branch of fold 1 learns
        srm.learn(states, opposite, valid, folds)
    assert _same(kept, _weights(srm)), "there was no comparison yet"
    for _ in range(13):
        srm.learn(states, opposite, valid, folds)
    assert unseen(srm.learners)[1] < taught[1] / 2
    assert unseen(srm.members)[1] >= taught[1], "what was spoilt is not asked"


def test_a_branch_is_still_replaced_after_an_interval_without_images_that_it_has_not_seen():
    srm = _srm(folds=2, early_stopping_interval=8, learning_rate=1e-2)
    srm.learn(*_batch(), torch.zeros(8, dtype=torch.int64))
    before = [copy.deepcopy(member.state_dict()) for member in srm.members]
    for _ in range(20):
        srm.learn(*_batch(), torch.tensor([0, 1] * 4))
    assert not any(_same(old, member.state_dict()) for old, member in zip(before, srm.members, strict=True))


def test_until_the_first_comparison_the_branch_that_learns_is_asked():
    srm = _srm(folds=2, early_stopping_interval=24)
    folds = torch.tensor([0, 1] * 4)
    for _ in range(3):
        before = copy.deepcopy(srm.learners.state_dict())
        srm.learn(*_batch(), folds)
        assert _same(before, srm.members.state_dict())


def test_with_one_fold_nothing_is_held_back():
    srm = _srm(early_stopping_interval=3)
    assert srm.learners is srm.members


def test_each_fold_asks_its_own_branch_and_new_images_ask_all():
    srm = _srm(folds=2)
    states, *_ = _batch(4)
    one, two = (member(states).detach() for member in srm.members)
    maps = srm.logits(states, torch.tensor([1, 0, 0, 1]))
    torch.testing.assert_close(maps, torch.stack([two[0], one[1], one[2], two[3]]))
    torch.testing.assert_close(srm.logits(states), (one + two) / 2)


def _explicit(**options):
    return SRM("explicit", 6, SRMConfig.of({"width": 8, "folds": 2, **options}), CPU, seed=0)


def _batch_with_text():
    """A batch, with a CLIP's map of it that begins with the lowest and the highest value there is."""
    states, target, valid = _batch()
    similarity = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    similarity[:, 0, :2] = torch.tensor([0.0, 1.0])
    factors = torch.cat([similarity[:, None], states.factors], dim=1)
    return State(states.embeddings, factors, states.maps), target, valid, similarity.double().numpy()


@pytest.mark.parametrize("asked_as", [None, torch.tensor([0, 1] * 4)])
def test_text_is_trusted_in_what_is_answered_and_not_in_what_is_learned(asked_as):
    states, target, valid, similarity = _batch_with_text()
    alone, told = _explicit(), _explicit(clip_logit_weight=2)
    for srm in (alone, told):
        srm.learn(states, target, valid, torch.tensor([0, 1] * 4))
    assert _same(_weights(alone), _weights(told))
    added = told.logits(states, asked_as).double() - alone.logits(states, asked_as).double()
    likely = similarity[:, 1:]
    np.testing.assert_allclose(added[:, 1:], 2 * np.log(likely / (1 - likely)), atol=1e-4)
    assert added.isfinite().all()
    assert (added[:, 0, 0] < -10).all()
    assert (added[:, 0, 1] > 10).all()


def test_an_implicit_branch_hears_no_text():
    states, *_ = _batch()
    assert torch.equal(_srm(clip_logit_weight=2).logits(states), _srm().logits(states))


def test_the_branch_chosen_on_unseen_images_is_the_best_with_its_text():
    """What is told drowns the branches here: none does better than another, and the first comparison decides."""
    states, target, valid, _ = _batch_with_text()
    srm, folds = _explicit(clip_logit_weight=1e6, early_stopping_interval=8), torch.tensor([0, 1] * 4)
    srm.learn(states, target, valid, folds)
    kept = _weights(srm)
    for _ in range(10):
        srm.learn(states, target, valid, folds)
    assert _same(kept, _weights(srm))
    assert not _same(kept, srm.learners.state_dict())
