import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignsam_gym.baselines.seggpt import SegGPT
from alignsam_gym.errors import WeightsError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegGptConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=(64, 32), patch_size=8, mlp_dim=32,
        pretrain_image_size=16, decoder_hidden_size=8, merge_index=0, intermediate_hidden_state_indices=[0, 1],
        initializer_range=0.5,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("seggpt")
    transformers.SegGptForImageSegmentation(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("examples", [1, 3])
def test_answers_are_the_librarys_own(checkpoint, toy_model, toy_dataset, encode, examples):
    shots = encode(toy_dataset, toy_model)
    baseline = SegGPT(toy_model, checkpoint, examples)
    baseline.fit(shots, seed=0)
    logits = baseline.predict(shots, [4, 1])
    assert logits.shape == (2, 32, 32)
    assert not torch.equal(logits[0], logits[1])
    inputs = baseline.processor(
        images=shots.frames([4]) * examples,
        prompt_images=baseline.images,
        prompt_masks=baseline.masks,
        return_tensors="pt",
    )
    with torch.no_grad():
        outputs = baseline.network(**inputs, feature_ensemble=examples > 1)
    levels = baseline.processor.post_process_semantic_segmentation(outputs)[0]
    assert ((logits[0] + 0.5) * 255 - levels).abs().max() <= 1 + 1e-3  # the library rounds down
    assert levels.float().std() > 1


def test_examples_follow_the_seed(checkpoint, toy_model, toy_dataset, encode):
    shots, baseline = encode(toy_dataset, toy_model), SegGPT(toy_model, checkpoint, 2)
    shown = []
    for seed in (0, 0, 1, 2, 3):
        baseline.fit(shots, seed)
        shown.append(sum(int(image.astype(int).sum()) for image in baseline.images))
    assert shown[0] == shown[1]
    assert len(set(shown)) > 1


def test_a_missing_checkpoint_says_what_to_do(toy_model, tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(WeightsError, match="hf download"):
        SegGPT(toy_model, str(tmp_path / "nowhere"), 1)


def test_a_tensor_too_few_is_noticed(checkpoint, toy_model, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    tensors = load_file(folder / "model.safetensors")
    name = min(tensors)
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=f"is no SegGPT: tensors are missing, such as {name}"):
        SegGPT(toy_model, str(folder), 1)


def test_a_torn_checkpoint_says_what_to_do(checkpoint, toy_model, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"invalid header length.*hf download"):
        SegGPT(toy_model, str(folder), 1)


def test_pickled_weights_are_not_opened(checkpoint, toy_model, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"safetensors.*hf download"):
        SegGPT(toy_model, str(folder), 1)
