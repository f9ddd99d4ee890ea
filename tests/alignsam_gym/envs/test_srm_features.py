"""What the SRM sees in the place of E(x): SAM's embedding, a CLIP's dense features, or both."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from alignsam_gym.agents.pretrained import AlignSAM
from alignsam_gym.envs.prompters import srm_prompter
from alignsam_gym.envs.prompting_session import PromptingSession
from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.clip_loading import load_clip
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore, RecentStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.transforms import resize_map


class Describer:
    """A stand-in for a `ClipModel`: its features are the frame's three colours and their squares, on a 16 × 16 grid."""

    fingerprint, channels = "describer", 6

    def __init__(self):
        self.described = 0

    def describes_as(self, encoder):
        return False

    def dense_features(self, images):
        self.described += len(images)
        colours = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
        return resize_map(torch.cat([colours, colours**2], 1), (16, 16))

    def similarity(self, images, texts):
        return torch.zeros(len(images), 16, 16)


def expected_of(episode, row):
    frame = episode.encoded.frames([int(episode.index[row])])[0]
    return resize_map(Describer().dense_features([frame])[0].half().float(), (8, 8))


@pytest.mark.parametrize(("features", "channels"), [("sam", 32), ("clip", 6), ("both", 38)])
@pytest.mark.parametrize("state", ["product", "guided"])
def test_the_srm_sees_what_its_option_says_and_the_observation_stays(make_toy_vec, tmp_path, features, channels, state):
    options = {"state": state, "cache_dir": tmp_path, "srm": {"width": 8, "features": features}}
    envs, paper = make_toy_vec(2, clip=Describer(), **options), make_toy_vec(2, state=state, cache_dir=tmp_path)
    observation, _ = envs.reset(seed=0)
    episode = envs.episode
    assert episode.srm.channels == (channels if state == "product" else 2 * channels + 1)
    for row in range(2):
        parts = {"sam": [episode.embeddings[row]], "clip": [expected_of(episode, row)]}
        parts["both"] = parts["sam"] + parts["clip"]
        torch.testing.assert_close(episode.semantics[row], torch.cat(parts[features]), atol=1e-3, rtol=1e-3)
    seen, ask = [], episode.srm.members[0].forward
    episode.srm.members[0].forward = lambda states: seen.append(states.embeddings) or ask(states)
    envs.step(np.array([0, 5]))
    torch.testing.assert_close(seen[-1], episode.semantics)
    assert observation.shape == paper.reset(seed=0)[0].shape
    assert envs.single_observation_space == paper.single_observation_space


def test_features_are_made_once_for_each_image_whatever_the_text(make_toy_vec, tmp_path):
    describer = Describer()
    for _ in range(2):
        envs = make_toy_vec(2, clip=describer, cache_dir=tmp_path, srm={"width": 8, "features": "clip"})
        seen = {index for seed in range(4) for index in envs.reset(seed=seed)[1]["index"].tolist()}
        assert describer.described == len(seen)


def test_no_texts_map_is_taken_for_the_features(toy_sam, toy_dataset, tmp_path):
    toy_dataset.samples = [replace(sample, text="features") for sample in toy_dataset.samples]
    encoded = EncodedDataset(toy_dataset, toy_sam, EmbeddingStore(tmp_path), 64, clip=Describer(), features=Describer())
    for sample in (encoded[0], encoded[1]):
        assert sample.similarity.ndim == 2
        assert sample.features.shape == (6, 16, 16)


def test_an_srm_of_features_learns(make_toy_vec, tmp_path):
    envs = make_toy_vec(2, clip=Describer(), cache_dir=tmp_path, srm={"width": 8, "features": "both"})
    envs.reset(seed=0)
    before = [parameter.clone() for parameter in envs.episode.srm.members.parameters()]
    envs.step(np.zeros(2, int))
    assert any((now != then).any() for now, then in zip(envs.episode.srm.members.parameters(), before, strict=True))


def test_without_a_clip_the_srm_sees_the_embedding_and_the_log_says_so(make_toy_vec, tmp_path, caplog):
    envs = make_toy_vec(2, clip=None, cache_dir=tmp_path, preset="best")
    assert envs.episode.semantics is envs.episode.embeddings
    assert envs.episode.srm.config.features == "sam"
    (record,) = caplog.records
    assert "srm.features=both needs a CLIP, and there is none" in record.getMessage()
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize("features", ["clip", "both"])
def test_features_that_a_user_chose_need_a_clip(make_toy, tmp_path, features):
    srm = {"width": 8, "features": features}
    trained = make_toy(clip=Describer(), cache_dir=tmp_path, srm=srm).unwrapped.srm
    for chosen in (srm, trained):
        with pytest.raises(OptionError, match=f"srm.features='{features}' needs a CLIP, such as clip='tiny'"):
            make_toy(clip=None, cache_dir=tmp_path, srm=chosen)
    make_toy(clip=None, cache_dir=tmp_path, srm={"width": 8, "features": "sam"})


def test_a_session_sees_what_the_environment_sees(make_toy, toy_dataset, tmp_path):
    game = {"clip": Describer(), "cache_dir": tmp_path, "revisit": "forbid", "initial_prompts": "srm"}
    train = make_toy(srm={"width": 8, "features": "both"}, **game).unwrapped
    train.reset(seed=0)
    train.step(0)
    test = make_toy(split="test", srm=train.srm, **game).unwrapped
    episode = test.episode
    session = PromptingSession(
        episode.rules, episode.model, train.srm, srm_prompter, features=Describer(), store=RecentStore()
    )
    session.set_image(toy_dataset[0].image)
    while session.step():
        pass
    test.reset(seed=0, options={"index": 0})
    for patch in session._patches[0]:
        test.step(patch)
    torch.testing.assert_close(session._played[-1].logits[0], episode.logits[0])


@pytest.mark.parametrize("features", ["clip", "both"])
def test_a_bundle_keeps_what_its_srm_sees(make_run, toy_dataset, tmp_path, features):
    agent = AlignSAM.from_pretrained(make_run(features=features))
    agent.save_pretrained(tmp_path / "agent.alignsam")
    again = AlignSAM.from_pretrained(tmp_path / "agent.alignsam")
    assert again.srm.config.features == features
    assert again.clip is None
    assert again.features.channels == agent.features.channels
    image = toy_dataset[0].image
    np.testing.assert_array_equal(again.predict(image).points, agent.predict(image).points)


def test_the_embedded_sam_describes_as_the_embedded_clip_does():
    sam, clip = load_sam("tiny", "cpu"), load_clip("tiny", "cpu")
    assert clip.describes_as(sam.sam.image_encoder)
    frames = [np.random.default_rng(seed).integers(0, 256, (300, 300, 3), dtype=np.uint8) for seed in range(2)]
    encodings, features = sam.encode_and_describe(frames)
    torch.testing.assert_close(encodings, sam.encode(frames))
    torch.testing.assert_close(features, clip.dense_features(frames), atol=1e-4, rtol=1e-4)
