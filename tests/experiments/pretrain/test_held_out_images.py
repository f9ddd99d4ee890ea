"""Which development images are learned from and which are measured on."""

import numpy as np
import pytest
from PIL import Image

from alignsam_gym.errors import DataError
from alignsam_gym.experiments.pretrain import held_out_images
from alignsam_gym.experiments.pretrain.held_out_images import divide_folder, hash_of, scene_of


def write_pairs(root, names):
    """Images whose upper left pixel tells which of `names` they are, with the left half as mask."""
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    mask = np.zeros((8, 8), np.uint8)
    mask[:, :4] = 255
    for number, name in enumerate(names):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(root / f"images/{name}.jpg", quality=100)
        Image.fromarray(mask).save(root / f"masks/{name}.png")


def names_of(examples, names):
    return [names[each.image[0, 0, 0]] for each in examples]


def test_the_hash_of_the_name_decides_the_part(tmp_path, monkeypatch):
    monkeypatch.setattr(held_out_images, "LEARNED", 3)
    monkeypatch.setattr(held_out_images, "TESTED", 4)
    names = [f"image{number}" for number in range(10)]
    write_pairs(tmp_path, names)
    learned, tested = divide_folder(tmp_path)
    free = divide_folder(tmp_path, "development").tested
    ordered = sorted(names, key=hash_of)
    assert names_of(learned, names) == ordered[:3]
    assert names_of(tested, names) == ordered[3:7]
    assert names_of(free, names) == ordered[7:]
    assert learned[0].mask[:, :4].all()
    assert not learned[0].mask[:, 4:].any()
    assert learned[0].valid.all()


def test_of_few_images_a_third_is_tested_and_no_group_is_divided(tmp_path):
    names = [f"scene{number}_{side}" for number in range(7) for side in "AB"]
    write_pairs(tmp_path, names)
    learned, tested = (names_of(part, names) for part in divide_folder(tmp_path, "test", scene_of))
    assert len(learned) == 10
    assert sorted(learned + tested) == sorted(names)
    assert not {scene_of(name) for name in learned} & {scene_of(name) for name in tested}
    former, free = (names_of(part, names) for part in divide_folder(tmp_path, "development", scene_of))
    assert sorted(former + free) == sorted(learned)
    assert not {scene_of(name) for name in former} & {scene_of(name) for name in free}


def test_no_group_of_many_images_is_divided(tmp_path, monkeypatch):
    monkeypatch.setattr(held_out_images, "LEARNED", 4)
    monkeypatch.setattr(held_out_images, "TESTED", 5)
    names = [f"scene{number}_{side}" for number in range(10) for side in "AB"]
    write_pairs(tmp_path, names)
    learned, tested = (names_of(part, names) for part in divide_folder(tmp_path, "test", scene_of))
    free = names_of(divide_folder(tmp_path, "development", scene_of).tested, names)
    assert [len(part) for part in (learned, tested, free)] == [4, 6, 6]
    scenes = [scene_of(name) for part in (learned, tested, free) for name in part[::2]]
    assert len(set(scenes)) == len(scenes)


def test_a_folder_without_images_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="There is no image in"):
        divide_folder(tmp_path)
