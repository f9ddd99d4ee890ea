import hashlib
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything import SamPredictor, sam_model_registry

from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.foundation.sam.build_sam import load_sam_checkpoint, recognise
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS, Checkpoint
from alignsam_gym.foundation.sam.predictor import load_sam
from alignsam_gym.foundation.tiny import WEIGHTS, load_tiny_sam


@pytest.fixture(scope="module")
def tiny():
    return load_file(WEIGHTS)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "checkpoint.pth"


@pytest.mark.parametrize("kind", ["vit_b", "vit_l", "vit_h"])
def test_vits_are_recognised_by_their_width(kind):
    with torch.device("meta"):
        assert recognise(sam_model_registry[kind]().state_dict()) == kind


@pytest.mark.parametrize("shape", [(), (1, 64, 64, 512)])
def test_another_width_is_no_known_sam(shape):
    assert recognise({"image_encoder.pos_embed": torch.zeros(shape)}) is None


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_the_embedded_model_is_a_checkpoint_like_any_other(tmp_path, tiny, suffix):
    file = tmp_path / f"copy.{suffix}"
    if suffix == "pth":
        torch.save(tiny, file)
    else:
        file.write_bytes(WEIGHTS.read_bytes())
    model, expected = load_sam(str(file), "cpu"), load_tiny_sam().state_dict()
    found = model.sam.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert {p.dtype for p in model.sam.parameters()} == {torch.float32}
    assert model.fingerprint.startswith(hashlib.sha256(file.read_bytes()).hexdigest())


def test_a_file_that_is_not_there_is_a_weights_error(tmp_path):
    for name in (str(tmp_path / "none.pth"), "none.pth", f"{tmp_path}/none", str(tmp_path)):
        with pytest.raises(WeightsError, match="there is no checkpoint file /") as caught:
            load_sam(name, "cpu")
    assert str(caught.value).endswith(f"A folder in the format of transformers is sam=hf:{tmp_path}.")


def test_a_name_that_is_no_path_lists_the_choices():
    with pytest.raises(
        OptionError, match=r"sam='vit_x'.*tiny, vit_b, .*, sam2\.1_hiera_large, the path .* hf: and a folder"
    ):
        load_sam("vit_x", "cpu")


@pytest.mark.parametrize("keep", [0, 1, 3, 1000, -1, -100_000])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_torn_file_is_a_weights_error(tmp_path, tiny, keep, suffix):
    file = tmp_path / f"torn.{suffix}"
    torch.save(tiny, file)
    content = file.read_bytes() if suffix == "pth" else WEIGHTS.read_bytes()
    file.write_bytes(content[:keep])
    with pytest.raises(WeightsError, match=r"torn\.\w+ is (torn|refused)"):
        load_sam_checkpoint(file)


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\x80\x02}q\x00", b"PK\x03\x04", b"\x00" * 99])
def test_a_file_of_something_else_is_a_weights_error(file, content):
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"checkpoint\.pth is (torn|refused)"):
        load_sam_checkpoint(file)


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return self.marker.touch, ()


@pytest.mark.parametrize("save", [torch.save, lambda bomb, file: file.write_bytes(pickle.dumps(bomb, protocol=2))])
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path, file, tiny, save):
    save({**tiny, "image_encoder.bomb": Bomb(tmp_path / "exploded")}, file)
    with pytest.raises(WeightsError, match=r"refused: .*could run code"):
        load_sam_checkpoint(file)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"weights": {}, "epoch": 3}, {"model": 7}])
def test_what_is_no_state_dict_is_a_weights_error(file, content):
    torch.save(content, file)
    with pytest.raises(WeightsError, match="does not hold a state dict"):
        load_sam_checkpoint(file)


@pytest.mark.parametrize("content", [{}, {"conv1.weight": torch.zeros(3)}])
def test_another_architecture_is_a_weights_error(file, content):
    torch.save(content, file)
    with pytest.raises(WeightsError, match=rf"{len(content)} tensors, but not those of a SAM .*vit_b, vit_l"):
        load_sam_checkpoint(file)


def in_training(tensors, wrapper="model"):
    return {"epoch": 3, wrapper: tensors, "optimizer": {"state": {0: {"step": torch.tensor(5.0)}}}}


@pytest.mark.parametrize(
    "wrap",
    [
        in_training,
        lambda tensors: in_training(tensors, "state_dict"),
        lambda tensors: in_training({"model_state_dict": tensors}),
        *(
            lambda tensors, prefix=prefix: {prefix + name: tensor for name, tensor in tensors.items()}
            for prefix in ("module.", "model.", "sam.", "_orig_mod.", "model.module.sam.")
        ),
        lambda tensors: in_training({f"model.sam.{name}": tensor for name, tensor in tensors.items()}, "state_dict"),
    ],
)
def test_what_a_training_script_saves_is_read(file, tiny, wrap):
    torch.save(wrap(tiny), file)
    found = load_sam_checkpoint(file).state_dict()
    assert found.keys() == tiny.keys()
    for name, tensor in tiny.items():
        assert torch.equal(found[name], tensor.to(found[name].dtype))


def test_a_prefix_may_be_in_safetensors_too(tmp_path, tiny):
    save_file({f"module.{name}": tensor for name, tensor in tiny.items()}, tmp_path / "a.safetensors")
    assert load_sam_checkpoint(tmp_path / "a.safetensors").state_dict().keys() == tiny.keys()


def test_one_name_without_the_prefix_is_an_error(file, tiny):
    wrapped = {f"module.{name}": tensor for name, tensor in tiny.items()}
    torch.save(wrapped | {"temperature": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match="not those of a SAM"):
        load_sam_checkpoint(file)


def test_what_is_missing_under_a_prefix_is_named(file, tiny):
    wrapped = {f"module.{name}": tensor for name, tensor in tiny.items()}
    del wrapped["module.mask_decoder.iou_token.weight"]
    torch.save(in_training(wrapped), file)
    with pytest.raises(WeightsError, match=r"looks like tiny, but it lacks mask_decoder\.iou_token\.weight"):
        load_sam_checkpoint(file)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused_by_name(file, tiny, wrong, dtype):
    name = "mask_decoder.iou_token.weight"
    tensors = {**tiny, name: tiny[name].to(dtype, copy=True)}
    tensors[name][0, 3] = wrong
    torch.save(in_training(tensors), file)
    with pytest.raises(WeightsError, match=rf"checkpoint\.pth holds NaN or infinite weights, in {name}"):
        load_sam_checkpoint(file)


def test_every_difference_is_named(file, tiny):
    changed = dict(tiny)
    del changed["mask_decoder.iou_token.weight"]
    changed["mask_decoder.hf_token.weight"] = torch.zeros(1)
    changed["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 7)
    torch.save(changed, file)
    with pytest.raises(WeightsError) as caught:
        load_sam_checkpoint(file)
    assert str(caught.value).endswith(
        "looks like tiny, but it lacks mask_decoder.iou_token.weight; it has besides mask_decoder.hf_token.weight; "
        "it has in another shape prompt_encoder.no_mask_embed.weight."
    )


def test_many_differences_are_counted(file):
    torch.save({"image_encoder.pos_embed": torch.zeros(1, 64, 64, 768)}, file)
    with pytest.raises(WeightsError, match=r"looks like vit_b, but it lacks (\S+, ){2}\S+ and 310 more\.$"):
        load_sam_checkpoint(file)


@pytest.mark.slow
def test_vit_b_with_random_weights_equals_sam_predictor(tmp_path, monkeypatch):
    torch.manual_seed(0)
    sam = sam_model_registry["vit_b"]().eval()
    torch.save(sam.state_dict(), tmp_path / "random.pth")
    digest = hashlib.sha256((tmp_path / "random.pth").read_bytes()).hexdigest()
    monkeypatch.setenv("ALIGNSAM_WEIGHTS", str(tmp_path))
    monkeypatch.setitem(CHECKPOINTS, "vit_b", Checkpoint("vit_b", "http://localhost:9/random.pth", digest))
    model = load_sam("vit_b", "cpu")
    assert not any(tensor.is_meta for tensor in (*model.sam.parameters(), *model.sam.buffers()))
    expected = sam.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.sam.state_dict().items())
    for each in (sam, model.sam):  # whose weights are equal: a quarter of the blocks is enough to compare answers
        each.image_encoder.blocks = each.image_encoder.blocks[:3]
    assert (model.input_size, model.embedding_shape, model.logits_shape) == (1024, (256, 64, 64), (256, 256))

    image = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    embedding = model.encode([image])
    torch.testing.assert_close(embedding, predictor.features, atol=2e-5, rtol=1.3e-6)  # 1.3e-5 was seen
    points, labels = torch.tensor([[[0.25, 0.5], [0.7, 0.1]]]), torch.tensor([[1, 0]])
    expected = predictor.predict(points[0].numpy() * 1024, labels[0].numpy(), multimask_output=False)[2]
    np.testing.assert_allclose(
        model.decode(model.prepare_image(embedding), torch.arange(1), points, labels).numpy(), expected, atol=1e-4
    )
