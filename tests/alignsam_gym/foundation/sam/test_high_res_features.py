"""What SAM-HQ and SAM 2.1 have in common: high-resolution features, which follow the embedding in an encoding."""

import numpy as np
import pytest
import torch

from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.batched_decoder import PADDING, space_to_depth
from alignsam_gym.foundation.sam.decode_calibration import fastest_batch


@pytest.fixture(params=["toy_hq", "toy_sam2"])
def model(request):
    return request.getfixturevalue(request.param)


def _prompts(count, longest):
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(count, longest, 2, generator=generator)
    return points, torch.randint(0, 2, (count, longest), generator=generator)


def test_space_to_depth_keeps_the_pixels_of_a_cell_together():
    deep = space_to_depth(torch.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6))
    assert deep.shape == (2, 12, 2, 3)
    expected = [[[c * 24 + y * 6 + x for c in range(3)] for x in (4, 5)] for y in (2, 3)]
    assert deep[0, :, 1, 2].tolist() == np.array(expected).ravel().tolist()


def test_the_sizes_follow_from_the_modules(model):
    assert (model.input_size, model.embedding_shape, model.logits_shape) == (128, (64, 8, 8), (32, 32))
    assert model.encoding_shape == ({"build_toy_hq": 192, "build_toy_sam2": 256}[model.fingerprint[:-2]], 8, 8)
    encoding = model.encode([np.zeros((100, 100, 3), np.uint8)])
    assert encoding.shape == (1, *model.encoding_shape)
    assert encoding.dtype == torch.float32


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_many_prompt_sets_decode_as_each_does_alone(model, monkeypatch, batch):
    encodings, rows = torch.randn(5, *model.encoding_shape), torch.tensor([4, 0, 2, 2, 1, 3])
    points, labels = _prompts(6, 17)
    for k in range(6):
        labels[k, 1 + 3 * k :] = PADDING
    monkeypatch.setattr(model, "decode_batch", batch)
    together = model.decode(model.prepare_image(encodings), rows, points, labels)
    assert together.shape == (6, *model.logits_shape)
    for k, row in enumerate(rows):
        used = 1 + 3 * k
        alone = model.decode(
            model.prepare_image(encodings[row : row + 1]),
            torch.tensor([0]),
            points[k : k + 1, :used],
            labels[k : k + 1, :used],
        )
        torch.testing.assert_close(together[k], alone[0], atol=1e-4, rtol=0)


def test_the_amount_the_place_and_the_content_of_padding_change_nothing(model):
    image = model.prepare_image(torch.randn(1, *model.encoding_shape))
    points, labels = _prompts(1, 4)
    short = model.decode(image, torch.tensor([0]), points, labels)
    for at in (0, 2, 4):
        padded = torch.cat([points[:, :at], torch.rand(1, 5, 2) * 9, points[:, at:]], dim=1)
        marked = torch.cat([labels[:, :at], torch.full((1, 5), PADDING), labels[:, at:]], dim=1)
        torch.testing.assert_close(model.decode(image, torch.tensor([0]), padded, marked), short, atol=1e-4, rtol=0)


def test_the_high_res_features_matter(model):
    encoding = torch.randn(1, *model.encoding_shape)
    without = encoding.clone()
    without[:, model.embedding_shape[0] :] = 0
    points, labels = _prompts(1, 4)
    first, second = (
        model.decode(model.prepare_image(x), torch.tensor([0]), points, labels) for x in (encoding, without)
    )
    assert (first - second).abs().max() > 0.1


def test_several_masks_may_be_asked_for(model):
    image = model.prepare_image(torch.randn(2, *model.encoding_shape))
    points, labels = _prompts(2, 3)
    with torch.no_grad():
        masks, iou = model.decoder.decode(image, points, labels, multimask_output=True)
    assert (masks.shape, iou.shape) == ((2, 3, 32, 32), (2, 3))


def test_the_fastest_batch_can_be_measured(model, monkeypatch):
    monkeypatch.setattr(model, "decode_batch", 1)
    assert fastest_batch(model) >= 1


def test_encodings_come_back_from_disk_whole(toy_dataset, model, tmp_path, monkeypatch):
    cold = EncodedDataset(toy_dataset, model, EmbeddingStore(tmp_path), 64).fetch(range(3))
    monkeypatch.setattr(model, "encode", lambda images: pytest.fail("an image was encoded again"))
    encoded = EncodedDataset(toy_dataset, model, EmbeddingStore(tmp_path), 64)
    for first, second in zip(cold, encoded.fetch(range(3)), strict=True):
        assert first.encoding.dtype == torch.float16
        assert first.encoding.shape == model.encoding_shape
        assert torch.equal(first.encoding, second.encoding)
        assert torch.equal(first.embedding, first.encoding[:64].float())


def test_half_precision_hardly_changes_an_answer(toy_dataset, model):
    encoding = model.encode([toy_dataset[0].image])
    points, labels = _prompts(1, 3)
    kept = encoding.half().float()
    exact, rounded = (model.decode(model.prepare_image(x), torch.tensor([0]), points, labels) for x in (encoding, kept))
    assert (exact - rounded).abs().max() < 0.02 * exact.std()


def test_an_episode_plays_as_the_decoder_answers(model, make_toy):
    env = make_toy(sam=model)
    state, _ = env.reset(seed=0)
    assert state.shape[1:] == (8, 8)
    episode = env.unwrapped.episode
    for action in (3, 7, 12):
        state, _, terminated, truncated, info = env.step(action)
    assert (terminated, truncated) == (False, True)
    encoding = episode.encoded[int(info["index"])].encoding[None].float()
    alone = model.decode(model.prepare_image(encoding), torch.tensor([0]), episode.points / 64, episode.labels)
    torch.testing.assert_close(episode.logits, alone, atol=1e-4, rtol=0)
