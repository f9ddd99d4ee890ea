"""Episodes guided by text: the explicit branch and CLIP's labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alignsam_gym.envs.prompters import clip_prompter
from alignsam_gym.errors import DataError, OptionError


class Reader:
    """A stand-in for a `ClipModel`: its map is the frame's red channel, and it notes what it is asked."""

    fingerprint = "reader"

    def __init__(self):
        self.asked = []

    def similarity(self, images, texts):
        self.asked += texts
        red = torch.stack([torch.from_numpy(image[..., 0].copy()).float() / 255 for image in images])
        return torch.nn.functional.interpolate(red[:, None], (8, 8), mode="area")[:, 0]


@pytest.fixture
def named(toy_dataset):
    """The toy data set, told what it shows."""
    toy_dataset.samples = [replace(sample, text=f"ellipse {i % 2}") for i, sample in enumerate(toy_dataset.samples)]
    return toy_dataset


def test_the_explicit_branch_sees_what_clip_points_at_beside_the_state(make_toy_vec, named, tmp_path):
    reader = Reader()
    envs = make_toy_vec(3, dataset=named, branch="explicit", clip=reader, cache_dir=tmp_path)
    envs.reset(seed=0)
    episode, seen = envs.episode, []
    ask = episode.srm.members[0].forward
    episode.srm.members[0].forward = lambda states: seen.append(states.formed()) or ask(states)
    envs.step(np.array([0, 5, 10]))
    assert set(reader.asked) <= {"ellipse 0", "ellipse 1"}
    states = seen[-1]
    assert states.shape == (3, 64, 8, 8)
    torch.testing.assert_close(states[:, :32], episode.embeddings * episode.similarity[:, None])
    torch.testing.assert_close(states[:, 32:], episode.embeddings * episode.mask[:, None])
    for row, index in enumerate(episode.index.tolist()):
        red = torch.from_numpy(episode.encoded.dataset[index].image[..., 0].copy()).float()[None, None] / 255
        expected = torch.nn.functional.avg_pool2d(red, 8)[0, 0]
        torch.testing.assert_close(episode.similarity[row], expected, atol=1e-3, rtol=0)
    asked = len(reader.asked)
    make_toy_vec(3, dataset=named, branch="explicit", clip=reader, cache_dir=tmp_path).reset(seed=0)
    assert len(reader.asked) == asked  # the maps lie in the store


def test_the_explicit_branch_learns(make_toy_vec, named, tmp_path):
    envs = make_toy_vec(5, dataset=named, branch="explicit", clip=Reader(), cache_dir=tmp_path, srm={"width": 8})
    envs.reset(seed=0)
    before = [parameter.clone() for parameter in envs.episode.srm.members.parameters()]
    envs.step(np.zeros(5, int))
    after = envs.episode.srm.members.parameters()
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_clips_labels_are_its_maps_at_the_points(make_toy_vec, named, tmp_path):
    envs = make_toy_vec(5, dataset=named, label_source="clip", clip=Reader(), cache_dir=tmp_path)
    envs.reset(seed=0)
    similarity = envs.episode.similarity.clone()
    _, _, _, _, info = envs.step(np.full(5, 5))
    expected = envs.episode.rules.grid.sample(similarity, torch.from_numpy(info["point"])) > 0.5
    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(info["label"], expected.long().numpy())


def test_a_text_is_asked_for_where_one_is_needed(make_toy, tmp_path):
    env = make_toy(branch="explicit", clip=Reader(), cache_dir=tmp_path)
    with pytest.raises(DataError, match=r"give it, dataset\.text=…"):
        env.reset(seed=0)
    with pytest.raises(OptionError, match=r"clip='large'.*clip=tiny"):
        make_toy(branch="explicit", clip="large")


def test_auto_is_the_branch_that_the_data_set_prefers(make_toy, named, tmp_path):
    assert make_toy(dataset=named, clip=Reader(), cache_dir=tmp_path).unwrapped.srm.kind == "implicit"
    named.branch = "explicit"
    env = make_toy(dataset=named, clip=Reader(), cache_dir=tmp_path, shots=3)
    assert env.unwrapped.srm.kind == "explicit"
    assert make_toy(dataset=named, branch="implicit", cache_dir=tmp_path).unwrapped.srm.kind == "implicit"


def test_the_embedded_clip_guides_unless_another_is_named(make_toy, named, tmp_path):
    named.branch = "explicit"
    env = make_toy(dataset=named, cache_dir=tmp_path)
    env.reset(seed=0)
    assert env.unwrapped.episode.encoded.clip.input_size == 256
    assert env.unwrapped.episode.similarity.shape == (1, 8, 8)


@pytest.mark.slow
def test_open_clip_is_imported_only_where_it_is_needed(run_python):
    program = """
import sys, gymnasium
gymnasium.make("alignsam_gym:AlignSAM-v0", dataset="shapes")
print("open_clip" in sys.modules)
"""
    assert run_python(program).strip() == "False"


def test_clip_alone_prompts_its_extremes_and_then_its_likeliest_patches(make_toy_vec, named, tmp_path):
    envs = make_toy_vec(
        4, dataset=named, initial_prompts="clip", label_source="clip", clip=Reader(), cache_dir=tmp_path
    )
    envs.reset(seed=0)
    episode = envs.episode
    flat = episode.similarity.flatten(1)
    for slot, (cell, label) in enumerate(((flat.argmax(1), 1), (flat.argmin(1), 0))):
        place = torch.stack([cell % 8, cell // 8], 1) + 0.5
        torch.testing.assert_close(episode.points[:, slot], place * envs.episode.rules.grid.image_size / 8)
        assert (episode.labels[:, slot] == label).all()
    chosen = clip_prompter(episode)
    patches = episode.rules.grid.pool(episode.similarity).flatten(1)
    np.testing.assert_array_equal(chosen, patches.argmax(1).numpy())
    envs.step(chosen)
    assert (clip_prompter(episode) != chosen).all()
