"""What the embedded CLIP is taught with: pictures with names, losses, scores of maps."""

import numpy as np
import pytest
import torch
from PIL import Image

from alignsam_gym.data import drawn_scenes
from alignsam_gym.experiments.pretrain.named_images import NamedPhotographs, NamedScenes
from alignsam_gym.experiments.pretrain.names import TAUGHT
from alignsam_gym.experiments.pretrain.pretrain_clip import map_losses
from alignsam_gym.experiments.pretrain.scores import Target, map_scores, scene_targets
from alignsam_gym.experiments.pretrain.training_images import voc_photographs
from alignsam_gym.foundation.tiny.tiny_clip_vocabulary import VOC

STAR, BOTTLE = TAUGHT.index(("star",)), TAUGHT.index(("bottle",))


def test_every_name_is_told_apart():
    words = [word for some in TAUGHT for word in some]
    assert len(set(words)) == len(words)
    assert len(VOC) == 20


def test_a_scene_comes_with_the_share_of_each_name():
    scenes = NamedScenes(5, views=2, grid=16, workers=1)
    for index, task in enumerate(("named", "saliency", "named", "named", "shadow")):
        picture = scenes[index]
        masks = drawn_scenes.draw_scene(task, "pretrain", index).masks
        assert picture.image.shape == (3, 256, 256)
        assert picture.valid.min() == 1
        shown = {number for number in range(len(TAUGHT)) if picture.shares[number].any()}
        assert len(shown) == len(masks)
        assert picture.known[sorted(shown)].all()
        total = sum(mask.mean() for mask in masks.values())
        assert float(picture.shares.mean((1, 2)).sum()) == pytest.approx(total, abs=1e-6)
        assert bool(picture.known[STAR]) == (task == "named")


def test_a_photograph_comes_with_its_classes_and_without_void(tmp_path):
    for name in ("JPEGImages", "SegmentationClassAug"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (60, 40), "white").save(tmp_path / "JPEGImages" / "a.jpg")
    Image.fromarray(np.full((40, 60), 5, np.uint8)).save(tmp_path / "SegmentationClassAug" / "a.png")
    picture = NamedPhotographs(voc_photographs(tmp_path), views=1, grid=16)[0]
    torch.testing.assert_close(picture.shares[BOTTLE], picture.valid)
    assert picture.shares.sum() == picture.shares[BOTTLE].sum() > 0
    assert not picture.known[STAR]
    assert picture.known.sum() == 20
    left_out = NamedPhotographs(voc_photographs(tmp_path), views=1, grid=16, left_out=[BOTTLE])[0]
    assert left_out.valid.sum() == left_out.shares.sum() == 0


def test_what_is_not_known_costs_nothing():
    known = torch.tensor([[True, True, False]])
    one, other = torch.tensor([[2.0, 1.0, -5.0]]), torch.tensor([[2.0, 1.0, 70.0]])
    shares, valid = torch.tensor([[[0.5, 0, 0], [0, 0, 0]]]), torch.ones(1, 2)
    one, other = (torch.cat([x.expand(1, 2, 3), torch.zeros(1, 2, 1)], 2) for x in (one, other))
    assert map_losses(one, shares, valid, known) == map_losses(other, shares, valid, known)


def test_perfect_maps_cost_nothing_and_void_nowhere():
    shares = torch.zeros(1, 4, 2)
    shares[0, 0, 0] = shares[0, 1, 1] = 1
    valid = torch.tensor([[1.0, 1, 1, 0]])
    logits = torch.cat([40 * shares - 20, torch.zeros(1, 4, 1)], 2)
    logits[0, 3] = 100  # void
    losses = map_losses(logits, shares, valid, torch.ones(1, 2, dtype=torch.bool))
    assert all(float(loss) == pytest.approx(0, abs=1e-4) for loss in losses.values())
    assert all(loss > 0.5 for loss in map_losses(-logits, shares, valid, torch.ones(1, 2, dtype=torch.bool)).values())


class Known:
    """A CLIP whose map is high in the left half."""

    def similarity(self, images, texts):
        return torch.tensor([[[1.0, 0.0]] * 2]).repeat_interleave(2, 2)


def test_scores_of_maps_by_hand():
    image, everywhere = np.zeros((256, 256, 3), np.uint8), np.ones((256, 256), bool)
    left, right = everywhere.copy(), everywhere.copy()
    left[:, 128:] = right[:, :128] = False
    targets = [Target(image, left, everywhere, "left"), Target(image, right, everywhere, "right")]
    targets.append(Target(image, left, left, "only"))
    scores = map_scores(Known(), targets)
    assert scores["left"] == {"count": 1, "pointing": 1, "iou": pytest.approx(1, abs=0.01), "chance": 0.5}
    assert scores["right"]["pointing"] == 0
    assert scores["right"]["iou"] < 0.01
    assert scores["only"]["chance"] == 1


def test_scene_targets_bear_the_paper_s_texts():
    assert {target.name for target in scene_targets(1)} >= {"saliency object", "shadow", "glass", "defocus background"}
