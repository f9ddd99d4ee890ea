"""The rules of the game, against a replay by SamPredictor and numpy."""

import warnings

import cv2
import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from alignsam_gym.errors import OptionError
from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.srm import SRM, SRMConfig
from alignsam_gym.state import STATES

ACTIONS = [5, 0, 10, 5]


class Replay:
    """One episode on one sample, on a `side` × `side` grid of patches in a frame of `frame` pixels."""

    def __init__(self, model, sample, frame):
        self.frame, self.side = frame, 4
        self.void = np.zeros_like(sample.mask) if sample.void is None else sample.void
        self.truth = sample.mask & ~self.void
        self.predictor = SamPredictor(model.sam)
        if sample.image.shape[:2] == (64, 64) and frame == 64:
            self.predictor.set_image(sample.image)
        else:  # SamPredictor resizes with another filter
            height, width = sample.image.shape[:2]
            image = (
                sample.image
                if width <= frame
                else cv2.resize(sample.image, (frame, height), interpolation=cv2.INTER_AREA)
            )
            self.predictor.features = model.encode([cv2.resize(image, (frame, frame))])
            self.predictor.original_size, self.predictor.input_size = (frame, frame), (64, 64)
            self.predictor.is_image_set = True
        self.predictor.features = self.predictor.features.half().float()
        self.points, self.labels = [], []

    def centre(self, action):
        row, column = divmod(action, self.side)
        return np.array([column + 0.5, row + 0.5]) * self.frame / self.side

    def foreground(self, point):
        x, y = (np.array(point) / self.frame * self.truth.shape[::-1]).astype(int)
        return bool(self.truth[y, x])

    def prompt(self, point, label, last=None):
        self.points.append(point)
        self.labels.append(label)
        return self.predict_masks(last)

    def predict_masks(self, last=None):
        answer = self.predictor.predict(
            np.array(self.points), np.array(self.labels), mask_input=last, multimask_output=False
        )
        self.logits = answer[2][0]

    @property
    def mask(self):
        return _shrink(1 / (1 + np.exp(-self.logits)), 8)

    @property
    def state(self):
        return self.predictor.features[0].numpy() * self.mask

    @property
    def iou(self):
        truth, weight = _labelled_shares(self.truth, self.void, 32)
        truth, answer = truth > 0.5, self.logits > 0
        union = (weight * (truth | answer)).sum()
        return (weight * (truth & answer)).sum() / union if union else 1.0

    def logit_at(self, point):
        """Bilinear between the centres of the logits' cells."""
        x, y = np.clip(np.array(point) / self.frame * 32 - 0.5, 0, 31)
        left, top = min(int(x), 30), min(int(y), 30)
        a, b = x - left, y - top
        near = self.logits[top : top + 2, left : left + 2]
        return np.array([1 - b, b]) @ near @ np.array([1 - a, a])


def _shrink(values, side):
    """Means over the cells of a `side` × `side` grid, for any size."""
    values = np.asarray(values, float)
    for axis in (0, 1):
        size = values.shape[axis]
        values = np.repeat(values, np.lcm(size, side) // size, axis)
        values = np.stack([part.mean(axis) for part in np.split(values, side, axis)], axis)
    return values


def _labelled_shares(mask, void, side):
    """The foreground's share of each cell's labelled pixels, 0 where there are none, and the share of these."""
    foreground, valid = _shrink(mask & ~void, side), _shrink(~void, side)
    return np.divide(foreground, valid, out=np.zeros_like(valid), where=valid > 0), valid


def _start(env, model, sample, frame=64):
    """A replay that knows the initial prompts of `env`."""
    replay, episode = Replay(model, sample, frame), env.unwrapped.episode
    for point, label in zip(episode.points[0, :2].tolist(), episode.labels[0, :2].tolist(), strict=True):
        if label >= 0:
            replay.prompt(np.array(point), label)
    return replay


def _fix_srm(env, logits):
    """Let the SRM answer `logits` (8, 8), whatever it is asked; returns the states that it is shown."""
    seen = []

    def answer(states, folds):
        seen.append(states.formed())
        return torch.as_tensor(logits, dtype=torch.float32).expand(len(states), -1, -1)

    env.unwrapped.srm.logits = answer
    return seen


def _halves(vertical=True):
    """A map that calls the left (or upper) half foreground."""
    half = np.where(np.arange(8) < 4, 1.0, -1.0)
    return np.tile(half, (8, 1)) if vertical else np.tile(half[:, None], (1, 8))


@pytest.mark.parametrize(("size", "frame"), [((64, 64), 64), ((48, 96), 80)])
@pytest.mark.parametrize(
    ("label_source", "mask_prompt"), [("oracle", False), ("positive", False), ("last", False), ("last", True)]
)
def test_an_episode_equals_its_replay(make_toy, toy_model, toy_dataset, label_source, mask_prompt, size, frame):
    data = type(toy_dataset)(3, size)
    env = make_toy(
        dataset=data,
        image_size=frame,
        patch_size=frame // 4,
        max_steps=len(ACTIONS),
        label_source=label_source,
        mask_prompt=mask_prompt,
    )
    state, info = env.reset(seed=1, options={"index": 2})
    replay = _start(env, toy_model, data[2], frame)
    assert 0 < (replay.logits > 0).mean() < 1
    np.testing.assert_allclose(state, replay.state, atol=1e-4)
    for step, action in enumerate(ACTIONS):
        point = replay.centre(action)
        hit = replay.foreground(point)
        label = {"oracle": hit, "positive": 1, "last": replay.logit_at(point) > 0}[label_source]
        replay.prompt(point, int(label), replay.logits[None] if mask_prompt else None)

        state, reward, terminated, truncated, info = env.step(action)
        np.testing.assert_allclose(state, replay.state, atol=1e-4)
        assert reward == (1 if hit else -1)
        assert not terminated
        assert truncated == (step == len(ACTIONS) - 1)
        assert info["point"].tolist() == point.tolist()
        assert info["label"] == int(label)
        assert info["foreground"] == hit
        assert info["repeated"] == (action in ACTIONS[:step])
        assert info["iou"] == pytest.approx(replay.iou, abs=1e-4)
        assert info["index"] == 2
        assert info["image_id"] == "toy2"


def test_the_replayed_actions_meet_both_kinds_of_patch(toy_dataset):
    """Otherwise the test above would tell less than it seems to."""
    for size in ((64, 64), (48, 96)):
        mask = type(toy_dataset)(3, size)[2].mask
        h, w = np.array(size) // 4
        assert len({bool(mask[(a // 4) * h + h // 2, (a % 4) * w + w // 2]) for a in ACTIONS}) == 2


def test_the_concat_state_shows_the_embedding_the_product_and_the_mask(make_toy, toy_model, toy_dataset):
    env = make_toy(state="concat", label_source="oracle")
    state, _ = env.reset(seed=0, options={"index": 0})
    replay = _start(env, toy_model, toy_dataset[0])
    expected = np.concatenate([replay.predictor.features[0].numpy(), replay.state, replay.mask[None]])
    assert env.observation_space.shape == state.shape == expected.shape
    np.testing.assert_allclose(state, expected, atol=1e-4)


@pytest.mark.parametrize("kind", STATES)
def test_what_is_learned_may_see_fewer_cells_than_the_state_has(make_toy, kind):
    env = make_toy(label_source="oracle", state=kind, srm_grid_size=4, observation="patches")
    fine = make_toy(label_source="oracle", state=kind, srm_grid_size=64, observation="patches")
    for one in (env, fine):
        one.reset(seed=4)
        one.step(6)
    episode, whole = env.unwrapped.episode, fine.unwrapped.episode
    assert episode.states().shape == whole.states().shape
    for name in ("embeddings", "mask", "truth_coarse", "valid_coarse"):
        coarse, expected = getattr(episode, name), getattr(whole, name)
        expected = expected.unflatten(-1, (4, 2)).unflatten(-3, (4, 2)).mean((-3, -1))
        torch.testing.assert_close(coarse, expected, atol=1e-5, rtol=1e-5)
    assert episode.srm_logits.shape == (1, 4, 4)
    with pytest.raises(OptionError, match="srm_grid_size=0"):
        make_toy(srm_grid_size=0)


def test_void_is_neither_foreground_nor_scored_on_the_srms_cells(make_toy, one_sample):
    mask, void = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    mask[:, :36], void[:20] = True, True
    void[30:, ::3] = True
    env = make_toy(dataset=one_sample(mask, void))
    env.reset(seed=0)
    episode = env.unwrapped.episode
    shares = _labelled_shares(mask, void, 8)
    for found, expected in zip((episode.truth_coarse, episode.valid_coarse), shares, strict=True):
        np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-6)


def test_an_answer_that_is_right_wherever_there_is_a_label_is_whole(make_toy, one_sample):
    """However much of its cells is void."""
    void = np.ones((64, 64), bool)
    void[::2, ::3] = False
    env = make_toy(dataset=one_sample(np.ones((64, 64), bool), void))
    env.reset(seed=0)
    episode = env.unwrapped.episode
    assert logits_iou(torch.ones_like(episode.logits), episode.truth, episode.valid).item() == 1


def test_the_first_background_pixel_has_a_label(make_toy, one_sample):
    mask, void = np.zeros((64, 64), bool), np.ones((64, 64), bool)
    mask[:8], void[:8], void[60:, 60:] = True, False, False
    env = make_toy(dataset=one_sample(mask, void))
    for seed in range(20):
        env.reset(seed=seed)
        points = env.unwrapped.episode.points[0].numpy()
        assert points[0, 1] < 8
        assert (points[1] > 60).all()


@pytest.mark.parametrize("kind", STATES)
def test_patches_are_the_states_means(make_toy, kind):
    """The toy's embedding is 8 × 8 and its grid 4 × 4: a patch is two by two cells."""
    env, twin = (make_toy(label_source="oracle", state=kind, observation=seen) for seen in ("state", "patches"))
    (state, _), (patches, _) = env.reset(seed=4), twin.reset(seed=4)
    for action in (3, 9):
        means = state.reshape(len(state), 4, 2, 4, 2).mean((2, 4))
        np.testing.assert_allclose(patches[: len(state)], means, atol=1e-3, rtol=1e-3)
        if kind == "guided":
            difference = np.abs(state[-1] - state[-2]).reshape(4, 2, 4, 2).mean((1, 3))
            np.testing.assert_allclose(patches[-2], difference, atol=1e-3)
            between = state[-1].reshape(4, 2, 4, 2)  # a centre lies where four cells meet
            logits = torch.logit(torch.as_tensor(between)).mean((1, 3))
            np.testing.assert_allclose(patches[-1], logits.sigmoid(), atol=1e-3)
        assert patches in twin.observation_space
        state, patches = env.step(action)[0], twin.step(action)[0]


# Rewards


@pytest.mark.parametrize("mask_prompt", [False, True])
@pytest.mark.parametrize("label_source", ["srm", "oracle"])
def test_trying_a_patch_out_tells_what_choosing_it_leads_to(make_toy, label_source, mask_prompt):
    options = {"label_source": label_source, "mask_prompt": mask_prompt, "split": "test"}
    outcomes = []
    for action in range(16):
        env = make_toy(**options)
        env.reset(seed=3, options={"index": 1})
        env.step(7)
        tried = env.unwrapped.episode.lookahead_iou(torch.arange(16)[None])
        outcomes.append(env.step(action)[4]["iou"])
        np.testing.assert_allclose(tried[0, action], outcomes[-1], atol=1e-5)
    np.testing.assert_allclose(tried[0], outcomes, atol=1e-5)
    assert np.ptp(outcomes) > 0.01


def test_delta_iou_is_the_change_that_the_prompt_made(make_toy):
    env = make_toy(reward="delta_iou", label_source="oracle", max_steps=6)
    _, info = env.reset(seed=0)
    rewards = []
    for action in (1, 5, 10, 6, 15, 0):
        before = info["iou"]
        _, reward, _, _, info = env.step(action)
        rewards.append(reward)
        assert reward == pytest.approx(info["iou"] - before, abs=1e-6)
    assert any(rewards)


def test_a_mix_weighs_both_rewards(make_toy):
    parts = {"foreground": 0.25, "delta_iou": -2.0}
    envs = [make_toy(reward=reward, label_source="oracle") for reward in (parts, *parts)]
    for env in envs:
        env.reset(seed=0)
    for action in (0, 5, 10):
        mixed, foreground, delta = (env.step(action)[1] for env in envs)
        assert mixed == pytest.approx(0.25 * foreground - 2 * delta)


# Revisits


def test_forbidden_revisits_are_masked_until_nothing_is_left(make_toy):
    env = make_toy(revisit="forbid", label_source="positive", max_steps=17, observation="patches")
    observation, _ = env.reset(seed=0)
    free = np.ones(16, bool)
    for action in np.random.default_rng(0).permutation(16):
        np.testing.assert_array_equal(env.unwrapped.action_masks(), free)
        np.testing.assert_array_equal(observation["visited"], ~free)
        observation, *_, info = env.step(action)
        assert not info["repeated"]
        free[action] = False
    assert env.unwrapped.action_masks().all()
    assert env.step(0)[-1]["repeated"]
    env.reset()
    assert env.unwrapped.action_masks().all()


def test_allowed_revisits_mask_nothing(make_toy):
    env = make_toy(label_source="positive", observation="patches")
    observation, _ = env.reset(seed=0)
    assert isinstance(observation, np.ndarray)  # no dictionary, so nothing is marked as visited
    env.step(3)
    assert env.unwrapped.action_masks().tolist() == [True] * 16


# Labels and first prompts


@pytest.mark.parametrize("vertical", [True, False])
def test_the_srm_labels_points_by_its_map(make_toy, vertical):
    env = make_toy(label_source="srm", max_steps=16)
    _fix_srm(env, _halves(vertical))
    env.reset(seed=0)
    for action in range(16):
        row, column = divmod(action, 4)
        assert env.step(action)[-1]["label"] == ((column if vertical else row) < 2)


def test_the_srm_is_asked_about_the_state_that_the_agent_saw(make_toy):
    env = make_toy(label_source="srm")
    seen = _fix_srm(env, _halves())
    state, _ = env.reset(seed=0)
    for action in (3, 7):
        np.testing.assert_array_equal(seen[-1][0], state)
        state = env.step(action)[0]


@pytest.mark.parametrize("size", [(64, 64), (48, 96)])
def test_training_begins_with_a_random_pixel_of_either_kind(make_toy, toy_dataset, size):
    data = type(toy_dataset)(2, size)
    env = make_toy(dataset=data)
    env.reset(seed=0)
    starts = set()
    for _ in range(12):
        _, info = env.reset(options={"index": 1})
        episode = env.unwrapped.episode
        assert episode.labels[0].tolist() == [1, 0, -1, -1, -1]
        for point, kind in zip(episode.points[0, :2].numpy(), (True, False), strict=True):
            x, y = point / 64 * size[::-1]
            assert x % 1 == pytest.approx(0.5, abs=1e-3)
            assert y % 1 == pytest.approx(0.5, abs=1e-3)
            assert data[1].mask[int(y), int(x)] == kind
            starts.add((x, y))
        assert info["label"] == 1
        np.testing.assert_array_equal(info["point"], episode.points[0, 0])
    assert len(starts) > 12


@pytest.mark.parametrize("full", [True, False])
def test_a_mask_of_one_kind_gives_the_one_prompt_there_is(make_toy, toy_model, one_sample, full):
    data = one_sample(np.full((64, 64), full))
    env = make_toy(dataset=data, label_source="oracle")
    state, info = env.reset(seed=0)
    assert env.unwrapped.episode.labels[0, :2].tolist() == ([1, -1] if full else [-1, 0])
    assert info["label"] == (1 if full else -1)
    replay = _start(env, toy_model, data[0])
    assert len(replay.points) == 1
    np.testing.assert_allclose(state, replay.state, atol=1e-4)
    _, reward, _, _, info = env.step(6)
    assert reward == (1 if full else -1)
    replay.prompt(replay.centre(6), int(full))
    assert info["iou"] == pytest.approx(replay.iou, abs=1e-4)


def test_evaluation_begins_where_the_srm_is_surest(make_toy):
    env = make_toy(split="test", label_source="positive")
    belief = np.zeros((8, 8))
    belief[2, 5], belief[7, 0] = 3, -3
    seen = _fix_srm(env, belief)
    env.reset(seed=0)
    episode = env.unwrapped.episode
    np.testing.assert_allclose(episode.points[0, :2], [[44, 20], [4, 60]])
    assert episode.labels[0, :2].tolist() == [1, 0]
    assert torch.equal(seen[0][0], episode.embeddings[0])  # M = 1: nothing is known yet


def test_first_prompts_can_be_chosen_against_the_split(make_toy):
    env = make_toy(split="train", initial_prompts="srm")
    seen = _fix_srm(env, _halves())
    env.reset(seed=0)
    assert len(seen) == 2  # for the pair, and for the state that the pair led to
    env = make_toy(split="test", initial_prompts="truth")
    seen = _fix_srm(env, _halves())
    env.reset(seed=0)
    assert len(seen) == 1


# Void


def test_void_is_background_to_the_reward_and_nothing_to_the_iou(make_toy, toy_model, one_sample):
    mask, void = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    mask[:, :32], void[:32] = True, True
    data = one_sample(mask, void)
    env = make_toy(dataset=data, label_source="oracle", max_steps=4)
    env.reset(seed=0)
    replay = _start(env, toy_model, data[0])
    for action, foreground in ((0, False), (3, False), (12, True), (15, False)):  # corners
        replay.prompt(replay.centre(action), int(foreground))
        _, reward, _, _, info = env.step(action)
        assert reward == (1 if foreground else -1)
        assert info["label"] == int(foreground)
        lower = replay.logits[16:] > 0
        truth = np.tile(np.arange(32) < 16, (16, 1))
        assert info["iou"] == pytest.approx((lower & truth).sum() / (lower | truth).sum(), abs=1e-4)


def test_no_positive_prompt_starts_in_void(make_toy, one_sample):
    mask, void = np.ones((64, 64), bool), np.ones((64, 64), bool)
    void[10, 20] = False
    env = make_toy(dataset=one_sample(mask, void))
    env.reset(seed=0)
    np.testing.assert_allclose(env.unwrapped.episode.points[0, 0], [20.5, 10.5])


# The SRM in the game


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
        np.testing.assert_array_equal(target[0], _shrink(episode.encoded.dataset[int(episode.index[0])].mask, 8))
        assert (valid == 1).all()
        lessons.clear()
    assert blanks == blank


# Draws of images


def test_every_image_comes_once_before_any_comes_again(make_toy):
    env = make_toy()
    drawn = [env.reset(seed=0)[1]["index"]] + [env.reset()[1]["index"] for _ in range(14)]
    rounds = [tuple(drawn[i : i + 5]) for i in (0, 5, 10)]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in rounds)
    assert len(set(rounds)) > 1


def test_training_draws_its_shots_and_evaluation_plays_on_all(make_toy):
    for seed in (0, 1):
        ids = make_toy(shots=2, shots_seed=seed).unwrapped.episode.encoded.dataset.ids
        assert len(ids) == 2
        assert list(ids) == list(make_toy(shots=2, shots_seed=seed).unwrapped.episode.encoded.dataset.ids)
    assert len(make_toy(shots=2, split="test").unwrapped.episode.encoded) == 5


# What is wrong, and what the message says


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "val"}, "split='val' is unknown; choose one of .*train"),
        ({"branch": "explicitly"}, "branch='explicitly' is unknown; choose one of .*auto"),
        ({"label_source": "guess"}, "label_source='guess' is unknown; choose one of .*srm"),
        ({"initial_prompts": "none"}, "initial_prompts='none' is unknown; choose one of .*auto"),
        ({"state": "image"}, "state='image' is unknown; choose one of .*product"),
        ({"revisit": "never"}, "revisit='never' is unknown; choose one of .*allow"),
        ({"reward": "dice"}, "reward='dice' is unknown; choose one of .*foreground"),
        ({"reward": {"dice": 1.0}}, "reward='dice' is unknown; choose one of .*foreground"),
        ({"reward": {}}, "reward"),
        ({"observation": "pixels"}, "observation='pixels' is unknown; choose one of .*state"),
        ({"max_steps": 0}, "max_steps=0: an episode needs at least one step"),
        ({"shots": 0}, "shots=0: at least one labelled image is needed"),
        ({"patch_size": 60}, "patch_size=60 does not divide image_size=64"),
        ({"dataset": "coco"}, "dataset='coco' is unknown; choose one of .*shapes"),
        ({"dataset": "shapes", "shotz": 3}, "has no option shotz; .* Did you mean shots"),
        ({"category": "star"}, "AlignSAM-v0 .whose dataset_kwargs take those of the data set. has no option category"),
        ({"dataset_kwargs": {"category": "star"}}, "cannot be passed on to a data set that is given as an object"),
        ({"srm": {"widht": 8}}, "srm has no option widht; .* Did you mean width"),
        (
            {"srm": SRM("implicit", 32, SRMConfig(width=8), torch.device("cpu"), 0), "state": "concat"},
            "for states of 32 channels; this environment needs an implicit one for 65",
        ),
    ],
)
def test_options_without_meaning_are_named_with_what_to_do(make_toy, options, message):
    with pytest.raises(OptionError, match=message):
        make_toy(**options)


def test_reset_takes_an_index_of_the_data_set_and_nothing_else(make_toy):
    env = make_toy()
    env.reset(seed=0)
    for index in (-1, 5):
        with pytest.raises(OptionError, match=f"index={index} is outside the data set's 5 samples"):
            env.reset(options={"index": index})
    with pytest.raises(OptionError, match="reset has no option indx; it takes index"):
        env.reset(options={"indx": 1})


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
