import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything.modeling import Sam

from alignsam_gym.data import load_dataset
from alignsam_gym.errors import AlignSAMError, WeightsError
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.foundation.tiny import WEIGHTS, load_tiny_sam
from alignsam_gym.foundation.tiny.tiny_sam import ResidualBlock, build_tiny_sam
from alignsam_gym.metrics import overlap
from alignsam_gym.transforms import deepest_point, mask_from_logits


def test_the_architecture_has_its_documented_shapes():
    sam = build_tiny_sam().eval()
    assert isinstance(sam, Sam)
    with torch.no_grad():
        embedding = sam.image_encoder(torch.zeros(2, 3, 256, 256))
    assert embedding.shape == (2, 128, 32, 32)
    assert sam.image_encoder.img_size == 256
    assert sam.prompt_encoder.mask_input_size == (128, 128)


def test_the_embedded_weights_load_as_float32_and_are_small():
    sam = load_tiny_sam()
    assert all(p.dtype == torch.float32 for p in sam.parameters())
    assert WEIGHTS.stat().st_size < 20e6


def test_the_embedded_sam_segments_by_one_click():
    """Drawn scenes, each clicked at the pixel of its target that is farthest from any other."""
    model, scenes, ious = load_sam("tiny", "cpu"), load_dataset("shapes", "test"), []
    for index in range(8):
        sample = scenes[index]
        height, width = sample.mask.shape
        x, y, _ = deepest_point(sample.mask)
        image = model.prepare_image(model.encode([sample.image]))
        point_unit = torch.tensor([[[x / width, y / height]]], dtype=torch.float32)
        (logits,) = model.decode(image, torch.tensor([0]), point_unit, torch.tensor([[1]]))
        ious.append(np.divide(*overlap(mask_from_logits(logits, (height, width)), sample.mask)))
    assert np.mean(ious) > 0.6


def test_an_untrained_residual_block_is_the_identity():
    x = torch.rand(2, 8, 5, 5)
    torch.testing.assert_close(ResidualBlock(8).eval()(x), x)


def test_weights_round_trip(tmp_path):
    torch.manual_seed(1)
    saved = build_tiny_sam()
    state = {name: value.contiguous() for name, value in saved.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    loaded = load_tiny_sam(tmp_path / "weights.safetensors").state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing\.safetensors is missing; .*experiments\.pretrain"):
        load_tiny_sam(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_holds_no_weights_is_a_weights_error(tmp_path, content):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.safetensors does not hold"):
        load_tiny_sam(file)


def test_torn_weights_are_a_weights_error(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in build_tiny_sam().state_dict().items()}, file)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"weights\.safetensors does not hold"):
        load_tiny_sam(file)


@pytest.mark.parametrize("change", ["lacks one", "other shape"])
def test_weights_of_another_model_are_a_weights_error(tmp_path, change):
    state = {name: value.contiguous() for name, value in build_tiny_sam().state_dict().items()}
    name = "mask_decoder.iou_token.weight"
    if change == "lacks one":
        del state[name]
    else:
        state[name] = torch.zeros(1, 7)
    save_file(state, tmp_path / "weights.safetensors")
    assert load_file(tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="iou_token") as caught:
        load_tiny_sam(tmp_path / "weights.safetensors")
    assert isinstance(caught.value, AlignSAMError)
