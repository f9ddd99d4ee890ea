import pickle
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_checker import data_equivalence as same
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo
from PIL import Image
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

import alignsam_gym  # noqa: F401  # registers the environment
from alignsam_gym.envs.alignsam_env import AlignSAMEnv
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.srm import SRM, SRMConfig
from alignsam_gym.state import State

SB3_TAKES_MAPS_FOR_IMAGES = (
    "whereas it has to be `np.uint8`",
    "the upper and lower bounds are not in [0, 255]",
    "Treating image space as channels-last",
    "The minimal resolution for an image is 36x36",
)


def _play(env, actions, **reset):
    """Everything that `env` returns from reset on."""
    return [env.reset(**reset), *(env.step(action) for action in actions)]


# Gymnasium and Stable-Baselines3


@pytest.mark.parametrize("observation", ["state", "patches"])
def test_gymnasiums_checker_has_nothing_to_say(observation):
    env = gym.make("AlignSAM-v0", render_mode="rgb_array", observation=observation).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


@pytest.mark.parametrize("options", [{"state": "concat"}, {"revisit": "forbid", "observation": "patches"}])
def test_gymnasiums_checker_has_nothing_to_say_about_other_spaces(make_toy, options):
    env = make_toy(render_mode="rgb_array", **options).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)


@pytest.mark.parametrize("options", [{}, {"observation": "patches"}, {"observation": "patches", "revisit": "forbid"}])
def test_sb3s_checker_only_takes_maps_for_images(options):
    env = gym.make("AlignSAM-v0", **options).unwrapped
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env_for_sb3(env)
    messages = [str(warning.message) for warning in caught]
    for part in SB3_TAKES_MAPS_FOR_IMAGES:
        assert sum(part in message for message in messages) == 1
    assert len(messages) == len(SB3_TAKES_MAPS_FOR_IMAGES)


def test_the_default_data_set_is_shapes():
    ours, named = gym.make("AlignSAM-v0"), gym.make("AlignSAM-v0", dataset="shapes")
    assert ours.observation_space == named.observation_space
    assert ours.action_space == named.action_space == gym.spaces.Discrete(100)
    assert ours.observation_space.shape == (128, 32, 32)
    assert same(_play(ours, [3, 50], seed=0), _play(named, [3, 50], seed=0))


@pytest.mark.slow
def test_a_module_prefix_registers_the_environment_in_a_fresh_interpreter(run_python):
    program = """
import gymnasium as gym
env = gym.make("alignsam_gym:AlignSAM-v0", shots=1)
observation, info = env.reset(seed=0)
print(env.spec.id, observation.shape, info["image_id"][:5])
"""
    assert run_python(program).strip() == "AlignSAM-v0 (128, 32, 32) train"


def test_the_time_limit_of_gym_make_holds(make_toy):
    env = make_toy(max_steps=5, max_episode_steps=2)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(2)] == [(False, False), (False, True)]


def test_episode_statistics_are_recorded(make_toy):
    env = RecordEpisodeStatistics(make_toy(label_source="oracle"))
    results = _play(env, [0, 5, 10], seed=0)
    statistics = results[-1][-1]["episode"]
    assert statistics["l"] == 3
    assert statistics["r"] == sum(result[1] for result in results[1:])


@pytest.mark.slow
def test_torchrl_makes_the_environment_by_its_name(toy_sam, toy_dataset):
    """It passes a keyword that we lack, and leaves it out once a TypeError has refused it."""
    from torchrl.envs import GymEnv  # takes seconds

    env = GymEnv("AlignSAM-v0", dataset=toy_dataset, image_size=64, patch_size=16, max_steps=3, frame_skip=2)
    assert env.rollout(5)["next", "reward"].shape == (2, 1)  # three steps, two at a time
    with pytest.raises(OptionError, match=r"'shotz'; .* Did you mean shots\?"):
        GymEnv("AlignSAM-v0", shotz=3)


@pytest.mark.slow
def test_a_video_is_recorded(make_toy, tmp_path):
    env = RecordVideo(make_toy(render_mode="rgb_array"), str(tmp_path / "videos"), episode_trigger=lambda episode: True)
    _play(env, [0, 5, 10], seed=0)
    env.close()
    (video,) = tmp_path.glob("videos/*.mp4")
    assert video.stat().st_size > 1000


# Randomness


def test_one_seed_is_one_run_in_any_environment(make_toy):
    first, second = make_toy(), make_toy()
    for env in (first, first, second):  # the SRM learns, and starts over
        results = [_play(env, [0, 5, 10], seed=3), _play(env, [7, 7, 1])]
        if env is first and "expected" not in locals():
            expected = results
        assert same(results, expected)
    assert not same(_play(first, [0, 5, 10], seed=4), expected[0])


def test_the_global_generators_have_no_part_in_it(make_toy):
    runs = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        np.random.seed(noise)  # noqa: NPY002
        runs.append(_play(make_toy(), [0, 5, 10], seed=3))
    assert same(*runs)


def test_an_index_chooses_the_image_and_the_next_reset_draws_again(make_toy):
    env = make_toy()
    env.reset(seed=0)
    for index in (4, 0, 2):
        assert env.reset(options={"index": index})[1]["image_id"] == f"toy{index}"
    assert len({env.reset()[1]["index"] for _ in range(5)}) > 1


def test_without_a_seed_two_environments_differ(make_toy):
    # Ten first points each: two unseeded generators may well agree on one.
    envs = make_toy(), make_toy()
    first, second = ([env.reset()[1]["point"].tolist() for _ in range(10)] for env in envs)
    assert first != second


def test_what_was_returned_is_not_written_over(make_toy):
    for observation in ("state", "patches"):
        env = make_toy(observation=observation)
        state, info = env.reset(seed=0)
        kept = pickle.dumps((state, info))
        env.step(0)
        env.reset()
        assert same((state, info), pickle.loads(kept))


# Pickling


def test_a_pickled_environment_plays_alike(make_toy):
    env = make_toy(dataset="shapes", shots=3, observation="patches", max_steps=2, render_mode="rgb_array").unwrapped
    copy = pickle.loads(pickle.dumps(env))
    assert isinstance(copy, AlignSAMEnv)
    assert copy.render_mode == "rgb_array"
    assert copy.observation_space == env.observation_space
    assert same(_play(copy, [3, 4], seed=1), _play(env, [3, 4], seed=1))


def test_a_pickled_environment_keeps_its_trained_srm(make_toy):
    trained = SRM("implicit", 32, SRMConfig(width=8), torch.device("cpu"), seed=5)
    env = make_toy(dataset="shapes", srm=trained).unwrapped
    copy = pickle.loads(pickle.dumps(env))
    embeddings = torch.randn(2, 32, 8, 8)
    states = State(embeddings, torch.ones(2, 1, 8, 8), embeddings[:, :0])
    assert torch.equal(copy.srm.logits(states), trained.logits(states))


# The user's own data, and what goes wrong


def test_options_of_the_data_set_are_passed_on(make_toy, tmp_path):
    for name in ("one", "two"):
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.new("L", (30, 20)).save(tmp_path / kind / f"{name}.png")
    picture = np.zeros((20, 30), np.uint8)
    picture[5:15, 5:25] = 255
    Image.fromarray(picture).save(tmp_path / "masks" / "two.png")
    env = make_toy(dataset="folder", dataset_kwargs={"root": tmp_path, "test": ["one"]}, label_source="oracle")
    assert env.reset(seed=0)[1]["image_id"] == "two"
    assert [env.step(action)[1] for action in (0, 5, 15)] == [-1, 1, -1]


@pytest.mark.parametrize("action", [-1, 16, 2.5, "3"])
def test_an_action_that_is_none_is_refused(make_toy, action):
    env = make_toy().unwrapped
    env.reset(seed=0)
    with pytest.raises(OptionError, match=r"is not in Discrete\(16\)"):
        env.step(action)


def test_step_needs_an_episode_in_progress(make_toy):
    env = make_toy(max_steps=1).unwrapped
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    for _ in range(2):
        env.reset(seed=0)
        env.step(0)
        with pytest.raises(gym.error.ResetNeeded):
            env.step(0)


@pytest.mark.parametrize("index", [2.7, "2", [2], -1, 5])
def test_an_index_that_is_none_is_refused(make_toy, index):
    with pytest.raises(OptionError, match="index="):
        make_toy().reset(options={"index": index})


@pytest.mark.parametrize("dataset", [None, ["a", "b"], Path("images")])
def test_what_is_no_data_set_is_refused(make_toy, dataset):
    with pytest.raises(OptionError, match=r"is neither a name nor a data set; .*dataset_kwargs=\{'root': <path>\}"):
        make_toy(dataset=dataset)


def test_a_data_set_without_samples_is_told(make_toy, toy_dataset):
    toy_dataset.ids = []
    with pytest.raises(DataError, match="toy has no samples"):
        make_toy(dataset=toy_dataset, split="test").reset(seed=0)


@pytest.mark.parametrize("action", [3, np.int64(3), np.array(3)])
def test_actions_may_be_numbers_of_any_kind(make_toy, action):
    env = make_toy().unwrapped
    env.reset(seed=0)
    assert env.step(action)[-1]["point"].tolist() == [56, 8]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_cuda_where_there_is_none_is_refused():
    with pytest.raises(OptionError, match="device='cuda' cannot be used here"):
        gym.make("AlignSAM-v0", device="cuda")


def test_an_unknown_render_mode_is_named_with_the_choices(make_toy):
    with pytest.raises(OptionError, match="render_mode='ascii' is unknown; choose one of rgb_array, human"):
        AlignSAMEnv(render_mode="ascii")
