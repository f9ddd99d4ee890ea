import pytest
import torch

from alignsam_gym.errors import DataError
from experiments.rivals.clip_points import ClipPoints, points_of


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


def test_a_text_is_needed(toy_model, toy_dataset, encode):
    rival = ClipPoints(toy_model, "tiny", 0.8, 2)
    with pytest.raises(DataError, match="toy does not say what its masks show"):
        rival.predict(encode(toy_dataset, toy_model), [0])
