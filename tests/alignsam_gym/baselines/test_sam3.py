import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignsam_gym.baselines.sam3 import SAM3
from alignsam_gym.errors import DataError, OptionError, WeightsError
from alignsam_gym.evaluation.baseline_evaluation import score_baseline
from tests.alignsam_gym.baselines.conftest import Named

SIDE = 56


def build_config(transformers):
    small = {"hidden_size": 32, "num_attention_heads": 2}
    backbone = transformers.Sam3ViTConfig(
        **small, num_hidden_layers=2, intermediate_size=64, image_size=SIDE, pretrain_image_size=SIDE,
        window_size=2, global_attn_indexes=[1],
    )  # fmt: skip
    vision = transformers.Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=32, backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]]
    )
    text = {"vocab_size": 100, "intermediate_size": 64, "num_hidden_layers": 1, "max_position_embeddings": 32}
    layers = {"num_layers": 1, "intermediate_size": 64}
    return transformers.Sam3Config(
        vision_config=vision,
        text_config={**small, **text, "projection_dim": 16, "bos_token_id": 0, "eos_token_id": 1},
        geometry_encoder_config={**small, **layers},
        detr_encoder_config={**small, **layers},
        detr_decoder_config={**small, **layers, "num_queries": 6},
        mask_decoder_config=small,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small SAM 3 with random weights, and a tokenizer of letters."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.Sam3Model(build_config(transformers))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # so that the logits spread over several units
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    words = [
        "<|startoftext|>",
        "<|endoftext|>",
        *(letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")),
    ]
    tokenizer = transformers.CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=[])
    images = transformers.Sam3ImageProcessor(size={"height": SIDE, "width": SIDE})
    folder = tmp_path_factory.mktemp("sam3")
    model.save_pretrained(folder)
    transformers.Sam3Processor(images, tokenizer).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def samples(toy_model, toy_dataset, encode):
    return encode(Named(toy_dataset, ["cat", "dog", "cat"]), toy_model)


def instances(baseline, samples, index, threshold):
    """What the library makes of an image, its masks bool (n, h', w')."""
    frame, text = samples.frames([index])[0], samples[index].text
    inputs = baseline.processor(images=frame, text=text, return_tensors="pt")
    with torch.no_grad():
        outputs = baseline.network(**inputs)
    return baseline.processor.post_process_instance_segmentation(outputs, threshold=threshold)[0]


def test_answers_are_the_union_of_the_librarys_own_instances(checkpoint, toy_model, samples):
    scores = instances(SAM3(toy_model, checkpoint, 0.0), samples, 0, 0.0)["scores"].sort().values
    threshold = float(scores[2:4].mean())  # half of the queries are above it
    baseline = SAM3(toy_model, checkpoint, threshold)
    baseline.fit(samples, seed=0)
    logits = baseline.predict(samples, [0, 1, 2])
    found = instances(baseline, samples, 0, threshold)
    assert len(found["scores"]) == 3
    assert torch.equal(logits[0] > 0, found["masks"].bool().any(0))
    assert 0 < (logits[0] > 0).float().mean() < 1
    assert not torch.equal(logits[0], logits[1])


def test_the_text_is_what_is_looked_for(checkpoint, toy_model, samples):
    baseline = SAM3(toy_model, checkpoint, 0.0)
    frame = samples.frames([0])[0]
    assert torch.equal(baseline.segment(frame, "cat"), baseline.predict(samples, [0])[0])
    assert not torch.equal(baseline.segment(frame, "cat"), baseline.segment(frame, "dog"))


def test_without_an_instance_the_mask_is_empty(checkpoint, toy_model, samples):
    baseline = SAM3(toy_model, checkpoint, 1.0)
    assert (baseline.predict(samples, [0, 1]) == -10).all()
    scores = score_baseline(baseline, samples, limit=2, batch_size=2)
    assert scores.summary()["miou"] == 0


def test_a_text_is_needed(checkpoint, toy_model, toy_dataset, encode):
    with pytest.raises(DataError, match=r"toy does not say what its masks show, and sam3 needs a text for toy1"):
        SAM3(toy_model, checkpoint, 0.5).predict(encode(toy_dataset, toy_model), [1])


def test_a_missing_checkpoint_says_what_to_do(toy_model, tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(WeightsError, match=r"accepts their licence.*huggingface\.co/facebook/sam3.*hf auth login"):
        SAM3(toy_model, str(tmp_path / "nowhere"), 0.5)


@pytest.fixture
def rewritten(checkpoint, tmp_path):
    """A copy of the checkpoint with other tensors."""

    def rewritten(change):
        folder = shutil.copytree(checkpoint, tmp_path / "copy")
        save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
        return folder

    return rewritten


def test_a_checkpoint_for_videos_is_read_as_it_is_published(checkpoint, rewritten, toy_model):
    transformers = pytest.importorskip("transformers")
    folder = rewritten(lambda tensors: {f"detector_model.{name}": tensor for name, tensor in tensors.items()})
    transformers.Sam3VideoConfig(detector_config=build_config(transformers)).save_pretrained(folder)
    expected = SAM3(toy_model, checkpoint, 0.5).network.state_dict()
    found = SAM3(toy_model, str(folder), 0.5).network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_a_tensor_too_few_is_noticed(rewritten, toy_model):
    folder = rewritten(lambda tensors: {name: t for name, t in tensors.items() if name != "text_projection.weight"})
    with pytest.raises(WeightsError, match=r"is no SAM 3: tensors are missing, such as text_projection\.weight"):
        SAM3(toy_model, str(folder), 0.5)


def test_a_library_without_sam_3_says_what_to_do(toy_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", type(sys)("transformers"))
    with pytest.raises(OptionError, match=r"pip install -U 'alignsam-gym\[baselines\]'"):
        SAM3(toy_model, "facebook/sam3", 0.5)
