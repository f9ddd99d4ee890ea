"""The graphs against PyTorch, and the loop in examples/ against `AlignSAM.predict`."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import onnxruntime
import pytest
import torch

from alignsam_gym import AlignSAM
from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.onnx_export import export_onnx
from alignsam_gym.data import drawn_scenes
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.spaces import observe
from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.foundation.encoding.embedding_store import RecentStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.transforms import resize_image, resize_map

EXAMPLE = Path(__file__).parents[2] / "examples/onnx_predict.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("onnx_predict", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run_graph(tmp_path):
    def run(name, **inputs):
        session = onnxruntime.InferenceSession(tmp_path / f"graphs/{name}.onnx", providers=["CPUExecutionProvider"])
        return session.run(None, {key: np.asarray(value) for key, value in inputs.items()})

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "rules",
    [
        {"branch": "explicit", "state": "concat", "revisit": "allow", "features": "both", "srm_grid_size": 4},
        {"answer": "sam", "network": "full_cnn"},
        {"answer": "fused", "network": "evidence"},
    ],
)
def test_the_graphs_answer_as_pytorch_does(make_run, toy_dataset, tmp_path, run_graph, example, rules):
    """Each alone and, where the example in examples/ has all that the agent needs, in its loop."""
    agent = AlignSAM.from_pretrained(make_run(max_steps=5, **rules))
    export_onnx(agent, tmp_path / "graphs")
    if agent.clip is None:
        assert_the_examples_loop_draws_the_same_masks(agent, example, tmp_path / "graphs")
    assert_every_graph_answers_as_pytorch_does(agent, toy_dataset, run_graph, rules)


def assert_every_graph_answers_as_pytorch_does(agent, toy_dataset, run_graph, rules):
    toy_dataset.samples = [type(sample)(**vars(sample) | {"text": "star"}) for sample in toy_dataset.samples]
    encoded = EncodedDataset(toy_dataset, agent.model, RecentStore(), 64, agent.clip, agent.features)
    episode = Episode(agent.rules, encoded, agent.srm, learns=False, count=3)
    episode.reset(range(3), [0, 1, 2], [np.random.default_rng(0)] * 3)
    episode.step([0, 1], [5, 10])  # so that the third row's prompts are padded
    images = np.stack([sample.image for sample in toy_dataset.samples[:3]])
    [encoding] = run_graph("encoder", image=images)
    expected = torch.stack([sample.encoding for sample in encoded.fetch([0, 1, 2])]).float()
    np.testing.assert_allclose(encoding, expected, rtol=2e-3, atol=1e-3)  # a digit of half precision
    encoding = expected
    used = 3
    points, labels = episode.points[:, :used] / 64, episode.labels[:, :used]
    assert (labels == -1).any()
    [logits] = run_graph("decoder", encoding=encoding, points=points, labels=labels)
    np.testing.assert_allclose(logits, episode.logits, atol=1e-4)
    more = {"similarity": episode.similarity} if agent.srm.kind == "explicit" else {}
    if agent.features:
        side = agent.features.frame_side(64)
        [features] = run_graph("features", frame=np.stack([resize_image(image, (side, side)) for image in images]))
        kept = torch.stack([sample.features.float() for sample in encoded.fetch([0, 1, 2])])
        np.testing.assert_allclose(features, resize_map(kept, episode.mask.shape[1:]), rtol=2e-3, atol=2e-3)
        more["features"] = features
    mask = episode.logits.sigmoid()
    srm_logits, centres = run_graph("srm", encoding=encoding, mask=mask, **more)
    np.testing.assert_allclose(srm_logits, episode.srm_logits, atol=1e-4)
    np.testing.assert_allclose(centres, episode.at_centres(episode.srm_logits), atol=1e-4)
    answered = {"sam_logits": episode.logits, "srm_logits": srm_logits}
    [answers] = run_graph("answer", **answered)
    expected = episode.answer_of(episode.logits, episode.srm_logits)
    np.testing.assert_allclose(answers, expected, atol=1e-4)
    visited = episode.visited.float()
    asked = {"mask": mask, "srm_logits": srm_logits, "visited": visited}
    asked |= {"points": points, "labels": labels} if rules.get("network") == "evidence" else {"encoding": encoding}
    [scores] = run_graph("policy", **asked)
    seen, _ = agent.policy.obs_to_tensor(observe(episode, AgentPrompter(agent.policy, True).observation))
    wanted = agent.policy.get_distribution(seen).distribution.logits.detach().numpy()
    scores -= np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(scores, wanted, rtol=1e-3, atol=1e-3)


def assert_the_examples_loop_draws_the_same_masks(agent, example, folder):
    sizes, graphs = example.load(folder)
    for number, size in enumerate([(50, 90), (130, 70), (64, 64)]):
        image = cv2.resize(drawn_scenes.draw_scene("saliency", "test", number).image, size[::-1])
        mask, expected = example.predict(sizes, graphs, image), agent.predict(image).mask
        assert mask.shape == size
        assert (mask & expected).sum() / (mask | expected).sum() > 0.99


@pytest.mark.parametrize("size", [(50, 90), (130, 20), (30, 40), (100, 90), (64, 64)])
def test_the_example_resizes_as_the_agent_does(example, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    np.testing.assert_array_equal(example.resize(image, 64), resize_image(image, (64, 64)))


@pytest.mark.parametrize(
    ("inputs", "mask", "says"),
    [
        (["encoding", "mask", "similarity"], "mask.png", "CLIP is not among the graphs"),
        (["encoding", "mask"], "nowhere/mask.png", "its folder must be there"),
        (["encoding", "mask"], "mask", "its name end in .png"),
    ],
)
def test_the_example_says_what_it_cannot_do(example, tmp_path, monkeypatch, capsys, inputs, mask, says):
    srm = Mock(get_inputs=lambda: [SimpleNamespace(name=name) for name in inputs])
    monkeypatch.setattr(example, "load", lambda folder: ({}, {"srm": srm}))
    monkeypatch.setattr(example, "predict", lambda *_: np.zeros((8, 8), bool))
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "agent.json").touch()
    monkeypatch.setattr("sys.argv", ["onnx_predict.py", *(str(tmp_path / name) for name in ("", "photo.png", mask))])
    with pytest.raises(SystemExit, match="2"):
        example.main()
    assert says in capsys.readouterr().err


def test_the_example_says_that_there_are_no_graphs(example, tmp_path, monkeypatch, capsys):
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr("sys.argv", ["onnx_predict.py", "nowhere", str(tmp_path / "photo.png"), "mask.png"])
    with pytest.raises(SystemExit, match="2"):
        example.main()
    assert "nowhere has no agent.json: name the folder" in capsys.readouterr().err


def test_rules_without_graphs_are_an_error(make_run, tmp_path):
    with pytest.raises(OptionError, match="label_source"):
        export_onnx(AlignSAM.from_pretrained(make_run(label_source="last")), tmp_path)


@pytest.mark.parametrize("algorithm", ["dqn", "recurrent_ppo"])
def test_policies_without_graphs_are_an_error(make_run, make_toy_learner, tmp_path, algorithm):
    agent = AlignSAM.from_pretrained(make_run())
    agent.policy = make_toy_learner(algorithm).policy
    with pytest.raises(OptionError, match="ppo, a2c and maskable_ppo"):
        export_onnx(agent, tmp_path)


def test_a_place_that_cannot_be_written_is_an_error(make_run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="cannot be written"):
        export_onnx(AlignSAM.from_pretrained(make_run()), Path("~/file/graphs"))
