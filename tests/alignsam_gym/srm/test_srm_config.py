import pytest

from alignsam_gym.srm import SRMConfig


@pytest.mark.parametrize(("images", "blocks"), [(1, 2), (9, 2), (10, 4), (500, 4)])
def test_few_images_have_fewer_blocks(images, blocks):
    assert SRMConfig.of({}, "best").for_images(images).blocks == blocks


def test_blocks_that_are_given_stay():
    for images in (5, 50):
        assert SRMConfig.of({"blocks": 3}, "best").for_images(images).blocks == 3
        assert SRMConfig.of({}).for_images(images).blocks == 2  # the paper's
