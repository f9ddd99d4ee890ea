import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from alignsam_gym.envs.patch_grid import PatchGrid
from alignsam_gym.errors import OptionError
from tests.alignsam_gym.bilinear_reference import bilinear

grids = st.builds(lambda side, patch: PatchGrid(side * patch, patch), st.integers(1, 12), st.integers(1, 100))
masks = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(bool, shape))


def test_the_papers_grid():
    grid = PatchGrid(800, 80)
    assert grid.count == 100
    assert grid.centres[0].tolist() == [40, 40]
    assert grid.centres[9].tolist() == [760, 40]
    assert grid.centres[10].tolist() == [40, 120]
    assert grid.centres[99].tolist() == [760, 760]


@given(grids)
def test_patches_are_numbered_row_by_row_around_their_centres(grid):
    assert grid.count == grid.side**2 == len(grid.centres)
    for action, (x, y) in enumerate(grid.centres.tolist()):
        row, column = divmod(action, grid.side)
        assert column * grid.patch_size < x < (column + 1) * grid.patch_size
        assert row * grid.patch_size < y < (row + 1) * grid.patch_size
        assert x - column * grid.patch_size == pytest.approx(grid.patch_size / 2)
        assert y - row * grid.patch_size == pytest.approx(grid.patch_size / 2)


@pytest.mark.parametrize(
    ("image_size", "patch_size", "says"),
    [
        (800, 90, "patch_size=90 does not divide image_size=800"),
        (80, 800, "patch_size=800 does not divide image_size=80"),
        (800, 0, "patch_size=0: there must be"),
        (800, -80, "patch_size=-80: there must be"),
        (0, 80, "image_size=0: there must be"),
        (800, 80.0, r"patch_size=80\.0: it must be a whole number"),
        ("800", 80, "image_size='800': it must be a whole number"),
    ],
)
def test_frames_that_are_not_whole_patches_are_refused(image_size, patch_size, says):
    with pytest.raises(OptionError, match=says):
        PatchGrid(image_size, patch_size)


@given(grids, masks)
def test_truth_reads_the_pixel_under_each_centre(grid, mask):
    height, width = mask.shape
    truth = grid.truth(mask)
    assert truth.shape == (grid.count,)
    for action in range(grid.count):
        row, column = divmod(action, grid.side)
        y = (2 * row + 1) * height // (2 * grid.side)  # exact: centres are odd multiples of half a patch
        x = (2 * column + 1) * width // (2 * grid.side)
        assert truth[action] == mask[y, x]


@given(grids, st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_sample_interpolates_each_map_at_its_own_point(grid, height, width, seed):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(3, height, width)).astype(np.float32)
    points = rng.random((3, 2)).astype(np.float32)
    found = grid.sample(torch.from_numpy(maps), torch.from_numpy(points * grid.image_size)).numpy()
    expected = [bilinear(one, x, y) for one, (x, y) in zip(maps, points, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@given(grids, st.integers(1, 4), st.integers(1, 4))
def test_pool_is_the_mean_over_each_patch(grid, high, wide):
    assume(grid.side <= 8)
    maps = np.random.default_rng(0).normal(size=(2, grid.side * high, grid.side * wide)).astype(np.float32)
    pooled = grid.pool(torch.from_numpy(maps)).flatten(1).numpy()
    assert pooled.shape == (2, grid.count)
    for action in range(grid.count):
        row, column = divmod(action, grid.side)
        patch = maps[:, row * high : (row + 1) * high, column * wide : (column + 1) * wide]
        np.testing.assert_allclose(pooled[:, action], patch.mean((1, 2)), atol=1e-5)


def test_pooling_a_product_equals_pooling_it_formed():
    maps, factor = torch.randn(2, 3, 16, 12), torch.rand(2, 16, 12)
    grid = PatchGrid(50, 10)
    torch.testing.assert_close(grid.pool_product(maps, factor), grid.pool(maps * factor[:, None]))


@given(grids, st.integers(1, 30), st.integers(1, 30))
def test_pool_gives_each_patch_its_share_of_a_cell(grid, height, width):
    """Against cells cut so small that patches and cells are both whole numbers of them."""
    assume(grid.side <= 8)
    maps = np.random.default_rng(0).normal(size=(height, width)).astype(np.float32)
    fine = np.kron(maps, np.ones((grid.side, grid.side), np.float32))
    expected = fine.reshape(grid.side, height, grid.side, width).mean((1, 3))
    np.testing.assert_allclose(grid.pool(torch.from_numpy(maps)).numpy(), expected, atol=1e-5)
