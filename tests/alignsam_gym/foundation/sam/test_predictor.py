import hashlib

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor

from alignsam_gym.errors import OptionError
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, file_digest, load_sam
from alignsam_gym.foundation.tiny.tiny_sam import build_tiny_sam
from alignsam_gym.transforms import resize_image


def test_encode_equals_sam_predictor_on_each_image():
    torch.manual_seed(0)
    model = BatchedSamPredictor(build_tiny_sam(), "random", torch.device("cpu"))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (256, 256, 3), dtype=np.uint8) for _ in range(3)]
    embeddings = model.encode(images)
    predictor = SamPredictor(model.sam)
    for image, embedding in zip(images, embeddings, strict=True):
        predictor.set_image(image)
        torch.testing.assert_close(embedding, predictor.features[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [40, 64, 100])
def test_a_sam_sees_a_frame_of_any_side_as_sam_predictor_does(toy_model, side):
    frame = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    predictor = SamPredictor(toy_model.sam)
    predictor.set_image(frame)
    torch.testing.assert_close(toy_model.encode([frame])[0], predictor.features[0], atol=1e-5, rtol=1e-5)


def test_the_embedded_sam_is_resized_as_in_its_training():
    frame = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    embedded = BatchedSamPredictor(build_tiny_sam(), "embedded", torch.device("cpu"))
    expected = resize_image(frame, (256, 256))
    np.testing.assert_array_equal(embedded.resize([frame])[0].permute(1, 2, 0), expected)


@pytest.mark.parametrize("name", ["EMBEDDED_PREPROCESSING", "SAM_PREPROCESSING"])
def test_another_preprocessing_has_other_keys_in_the_store(toy_model, name, monkeypatch):
    def fingerprints():
        models = build_tiny_sam(), toy_model.sam
        return [BatchedSamPredictor(sam, "weights", torch.device("cpu")).fingerprint for sam in models]

    before = fingerprints()
    monkeypatch.setattr(f"alignsam_gym.foundation.sam.predictor.{name}", 99)
    changed = [now != then for now, then in zip(fingerprints(), before, strict=True)]
    assert changed == [name.startswith("EMBEDDED"), name.startswith("SAM")]


@pytest.mark.parametrize("side", [32, 48, 100, 800])
def test_frames_of_any_side_are_resized_to_the_input(toy_model, side):
    embedding = toy_model.encode([np.full((side, side, 3), 90, np.uint8)])
    assert embedding.shape == (1, *toy_model.embedding_shape)
    torch.testing.assert_close(embedding, toy_model.encode([np.full((64, 64, 3), 90, np.uint8)]))


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("rows", [range(19), (3, 1, 2, 0, 18), (4,)])
def test_many_prompt_sets_decode_as_each_does_alone(toy_model, monkeypatch, batch, rows):
    torch.manual_seed(0)
    embeddings, points = torch.randn(19, *toy_model.embedding_shape), torch.rand(len(rows), 4, 2)
    labels = torch.randint(-1, 2, (len(rows), 4))
    monkeypatch.setattr(toy_model, "decode_batch", batch)
    together = toy_model.decode(toy_model.prepare_image(embeddings), torch.tensor(rows), points, labels)
    assert together.shape == (len(rows), *toy_model.logits_shape)
    for k, row in enumerate(rows):
        image = toy_model.prepare_image(embeddings[row : row + 1])
        alone = toy_model.decode(image, torch.tensor([0]), points[k : k + 1], labels[k : k + 1])
        torch.testing.assert_close(together[k], alone[0], atol=1e-4, rtol=0)


def test_points_are_fractions_of_the_frame(toy_model):
    predictor = SamPredictor(toy_model.sam)
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    expected = predictor.predict(np.array([[48, 16]]), np.array([1]), multimask_output=False)[2]
    image = toy_model.prepare_image(predictor.features)
    logits = toy_model.decode(image, torch.tensor([0]), torch.tensor([[[0.75, 0.25]]]), torch.tensor([[1]]))
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-4)


def test_a_loaded_model_is_frozen():
    model = load_sam("tiny", "cpu")
    assert not model.sam.training
    assert not any(parameter.requires_grad for parameter in model.sam.parameters())
    assert model.input_size == 256
    assert model.embedding_shape == (128, 32, 32)
    assert model.logits_shape == (128, 128)


def test_an_unknown_model_is_named_with_the_choices():
    with pytest.raises(OptionError, match=r"sam='vit_x' is unknown; choose .*tiny"):
        load_sam("vit_x", "cpu")


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "file").write_bytes(b"weights")
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"weights").hexdigest()


def test_reduced_precision_is_asked_for_and_keeps_its_encodings_apart():
    image = [np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)]
    full, automatic, reduced = (load_sam("tiny", "cpu", precision) for precision in ("float32", "auto", "bfloat16"))
    expected, found = full.encode(image), reduced.encode(image)
    assert torch.equal(expected, automatic.encode(image))
    assert automatic.fingerprint == full.fingerprint != reduced.fingerprint
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() / expected.norm() < 0.03


def test_an_unknown_precision_is_named_with_the_choices():
    with pytest.raises(OptionError, match=r"precision='half' is unknown; choose one of auto, float32, .*float16"):
        load_sam("tiny", "cpu", "half")


def _decoded(model, count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    image = model.prepare_image(
        model.encode([rng.integers(0, 256, (256, 256, 3), dtype=np.uint8) for _ in range(count)])
    )
    points, labels = torch.rand(count, 5, 2, generator=generator), torch.tensor([[1, 0, 1, 1, -1]] * count)
    return image, model.decode(image, torch.arange(count), points, labels)


def test_decoding_in_bfloat16_keeps_half_and_answers_nearly_alike():
    exact = _decoded(load_sam("tiny", "cpu"))
    image, logits = _decoded(load_sam("tiny", "cpu", decode_precision="bfloat16"))
    assert logits.dtype == torch.float32
    assert {term.dtype for term in image} == {torch.bfloat16}
    torch.testing.assert_close(logits, exact[1], atol=0.5, rtol=0.05)
    assert not torch.equal(logits, exact[1])
    answer, expected = logits > 0, exact[1] > 0
    assert (answer & expected).sum() / (answer | expected).sum() > 0.95
    with pytest.raises(OptionError, match="decode_precision='float16'"):
        load_sam("tiny", "cpu", decode_precision="float16")


@pytest.mark.slow
def test_a_compiled_decoder_answers_alike():
    exact, compiled = load_sam("tiny", "cpu"), load_sam("tiny", "cpu", compile=True)
    for count in (4, 3):
        expected = _decoded(exact, count)[1]
        torch.testing.assert_close(_decoded(compiled, count)[1], expected, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_decoder_that_cannot_be_compiled_is_an_option_error():
    torch._dynamo.reset()  # what another test compiled would do
    config = {"cpp.cxx": (None, "/nowhere/g++"), "force_disable_caches": True}
    with torch._inductor.config.patch(config), pytest.raises(OptionError, match="compile=false") as caught:
        _decoded(load_sam("tiny", "cpu", compile=True), 3)
    assert "No working C++ compiler found" in str(caught.value)
    assert "\n" not in str(caught.value)
