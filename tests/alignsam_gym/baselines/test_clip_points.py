import pytest
import torch

from alignsam_gym.baselines.clip_points import ClipPoints, points_of
from alignsam_gym.errors import DataError
from tests.alignsam_gym.baselines.conftest import Named


def as_map(cells):
    """Cells drawn four times as large as they are, so that a map of half that side has them as means."""
    return torch.tensor(cells).repeat_interleave(2, 0).repeat_interleave(2, 1)


def test_points_of_maps_drawn_by_hand():
    maps = torch.stack([as_map([[3.0, 2.8], [1.4, 1.0]]), as_map([[0.0, 0.1], [0.2, 0.7]])])
    points, labels = points_of(maps, threshold=0.8, side=2)
    assert labels.tolist() == [[1, 1, 0, 0], [1, -1, 0, -1]]
    assert points[0].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]
    assert points[1, [0, 2]].tolist() == [[0.75, 0.75], [0.25, 0.25]]


def test_at_most_half_of_the_cells_are_positive():
    maps = torch.ones(1, 8, 8)
    maps[0, 0, 0] = 0
    _, labels = points_of(maps, threshold=0.5, side=8)
    assert labels[0].tolist() == [1] * 32 + [0] * 32


def test_an_even_map_has_no_point():
    assert points_of(torch.full((1, 4, 4), 0.3), threshold=0.8, side=4)[0].shape == (1, 0, 2)


class Clip:
    """Finds a text by its number: the left side of the image, or its upper left corner."""

    grid = 4

    def similarity(self, frames, texts):
        maps = torch.zeros(len(texts), 4, 4)
        for number, text in enumerate(texts):
            maps[number, : 4 if text == "left" else 2, :2] = 1
        return maps


@pytest.fixture
def baseline(toy_model, monkeypatch):
    monkeypatch.setattr("alignsam_gym.baselines.clip_points.load_clip", lambda *_: Clip())
    return ClipPoints(toy_model, "hand-made", 0.8, 2, multimask=True)


@torch.no_grad()
def test_sam_is_given_all_points_and_its_best_mask_taken(baseline, toy_model, toy_dataset, encode):
    samples = encode(Named(toy_dataset, ["left", "corner"]), toy_model)
    logits, sam = baseline.predict(samples, [0, 1]), toy_model.sam
    # Centres of a quarter of the frame each, in pixels of the 64 that the toy SAM sees.
    given = [([[16, 48], [16, 16], [48, 16], [48, 48]], [1, 1, 0, 0]), ([[16, 16], [48, 16]], [1, 0])]
    for index, (points, labels) in enumerate(given):
        prompts = torch.tensor([points]).float(), torch.tensor([labels])
        sparse, dense = sam.prompt_encoder(points=prompts, boxes=None, masks=None)
        embedding, positions = samples[index].embedding[None], sam.prompt_encoder.get_dense_pe()
        masks, scores = sam.mask_decoder(embedding, positions, sparse, dense, multimask_output=True)
        assert torch.allclose(logits[index], masks[0, scores.argmax()], atol=1e-4)


def test_a_text_is_needed(baseline, toy_model, toy_dataset, encode):
    with pytest.raises(DataError, match="toy does not say what its masks show"):
        baseline.predict(encode(toy_dataset, toy_model), [0])
