import hashlib

import numpy as np
import pytest

from alignsam_gym.data import drawn_scenes

HASH = """
import hashlib
from alignsam_gym.data import drawn_scenes
for task in drawn_scenes.TASKS:
    scene = drawn_scenes.draw_scene(task, "train", 3)
    content = scene.image.tobytes() + b"".join(mask.tobytes() for mask in scene.masks.values())
    print(hashlib.sha256(content).hexdigest())
"""


def _hash(scene):
    content = scene.image.tobytes() + b"".join(mask.tobytes() for mask in scene.masks.values())
    return hashlib.sha256(content).hexdigest()


def test_a_scene_is_the_same_in_every_process(run_python):
    here = [_hash(drawn_scenes.draw_scene(task, "train", 3)) for task in drawn_scenes.TASKS]
    assert here == [_hash(drawn_scenes.draw_scene(task, "train", 3)) for task in drawn_scenes.TASKS]
    assert here == run_python(HASH).split()


def test_the_five_tasks_are_the_papers():
    assert set(drawn_scenes.TASKS) == {"saliency", "shadow", "mirror", "defocus", "named"}


@pytest.mark.parametrize("task", drawn_scenes.TASKS)
def test_scenes_are_images_with_masks_that_are_neither_empty_nor_full(task):
    for index in range(6):
        scene = drawn_scenes.draw_scene(task, "train", index)
        assert scene.image.shape == (256, 256, 3)
        assert scene.image.dtype == np.uint8
        assert scene.image.std() > 3
        for mask in (*scene.masks.values(), *scene.objects):
            assert mask.shape == (256, 256)
            assert mask.dtype == bool
        assert all(0 < mask.mean() < 1 for mask in scene.masks.values())
        assert set(scene.masks) <= ({*drawn_scenes.KINDS} if task == "named" else {task})


@pytest.mark.slow
@pytest.mark.parametrize("task", drawn_scenes.TASKS)
def test_every_scene_of_both_splits_is_usable_and_unlike_any_other(task):
    seen = set()
    for split in ("train", "test"):
        for index in range(drawn_scenes.SPLIT_SIZES[split]):
            scene = drawn_scenes.draw_scene(task, split, index)
            assert scene.masks
            assert all(0.001 < mask.mean() < 0.999 for mask in scene.masks.values()), (split, index)
            seen.add(scene.image.tobytes())
    assert len(seen) == drawn_scenes.SPLIT_SIZES["train"] + drawn_scenes.SPLIT_SIZES["test"]


def test_splits_share_no_scene():
    images = [
        drawn_scenes.draw_scene("saliency", split, i).image.tobytes()
        for split in drawn_scenes.SPLIT_SIZES
        for i in range(4)
    ]
    assert len(set(images)) == len(images)


def test_kinds_do_not_overlap():
    for index in range(6):
        masks = list(drawn_scenes.draw_scene("named", "train", index).masks.values())
        assert 2 <= len(masks) <= 4
        assert np.sum(masks, axis=0).max() == 1


def test_drawing_leaves_the_global_generator_alone():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    drawn_scenes.draw_scene("mirror", "train", 0)
    assert np.random.random() == expected  # noqa: NPY002
