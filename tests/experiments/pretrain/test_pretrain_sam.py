"""What the embedded SAM is taught with: targets, boxes, losses; and what is kept of a frozen network."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from alignsam_gym.errors import DataError, WeightsError
from alignsam_gym.experiments.pretrain.feature_cache import FeatureCache
from alignsam_gym.experiments.pretrain.optimise import Optimiser, one_cycle
from alignsam_gym.experiments.pretrain.pretrain_sam import mask_iou, mask_losses, noisy_boxes
from alignsam_gym.experiments.pretrain.training_images import (
    ClickedPhotographs,
    ClickedScenes,
    Photograph,
    more_photographs,
)


@pytest.mark.parametrize("pool", ["scenes", "photographs"])
def test_a_view_is_always_the_same_image(pool, tmp_path):
    if pool == "scenes":
        pictures = ClickedScenes(2, views=3, targets=1, workers=1)
    else:
        noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "a.jpg")
        Image.fromarray(np.repeat(np.arange(4, dtype=np.uint8), 600).reshape(40, 60)).save(tmp_path / "a.png")
        photograph = Photograph(tmp_path / "a.jpg", tmp_path / "a.png", 0.0, "")
        pictures = ClickedPhotographs([photograph] * 2, views=3, targets=1)
    seen = {}
    for draw in range(40):
        picture = pictures[draw % 2]
        assert picture.view // 3 == draw % 2
        assert torch.equal(picture.image, seen.setdefault(int(picture.view), picture.image))
    assert len(seen) == 6
    assert not torch.equal(seen[0], seen[1])


def test_more_photographs_are_read_with_their_own_meaning_of_labels(tmp_path):
    folders = {"clothing": "labels", "camvid": "labels", "bsds": "segments0", "cats": "masks", "people": "masks"}
    for folder, masks in (*folders.items(), ("horses", "masks"), ("bsds", "segments1")):
        (tmp_path / folder / masks).mkdir(parents=True)
        (tmp_path / folder / "JPEGImages").mkdir(exist_ok=True)
        Image.new("RGB", (8, 6)).save(tmp_path / folder / "JPEGImages/a.jpg")
        label = 255 if masks == "masks" else 11
        Image.fromarray(np.full((6, 8), label, np.uint8)).save(tmp_path / folder / masks / "a.png")
    found = [(each.vocabulary, int(each.labels()[0, 0])) for each in more_photographs(tmp_path)]
    assert found == [("clothing", 11), ("streets", 255), ("", 11), ("", 11), ("cats", 1), ("people", 1), ("horses", 1)]


def test_boxes_are_around_the_masks():
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, 3:7, 2:12] = True
    masks[1, 15, 0] = True
    assert noisy_boxes(masks, 0.0).tolist() == [[2, 3, 12, 7], [0, 15, 1, 16]]
    torch.manual_seed(0)
    noisy = torch.stack([noisy_boxes(masks, 0.1)[0] for _ in range(200)])
    off = (noisy - torch.tensor([2.0, 3, 12, 7])).abs().amax(0)
    assert (off <= torch.tensor([1.0, 0.4, 1, 0.4]) + 1e-5).all()
    assert (off > torch.tensor([0.9, 0.36, 0.9, 0.36])).all()


def test_the_best_of_three_masks_learns_and_void_costs_nothing():
    torch.manual_seed(0)
    target = torch.rand(2, 8, 8) < 0.5
    labelled = torch.ones(2, 8, 8, dtype=torch.bool)
    labelled[:, :2] = False
    logits = torch.where(target, 20.0, -20.0)[:, None].repeat(1, 4, 1, 1)
    logits[:, 1:3] *= -1  # two of the three are wrong
    iou = mask_iou(logits > 0, target, labelled)
    assert iou.tolist() == [[1, 0, 0, 1]] * 2
    right = mask_losses(logits, iou, target, labelled)
    assert float(right) == pytest.approx(0, abs=1e-4)
    other = logits.clone()
    other[:, :, :2] *= -1
    assert mask_losses(other, iou, target, labelled) == right
    assert mask_losses(-logits, iou, target, labelled) > 1


def test_a_frozen_network_runs_once_for_each_view(tmp_path):
    batches = []

    def network(pixels):
        batches.append(len(pixels))
        return [pixels[:, :1] * 2, pixels.mean((1, 2, 3))]

    cache, pixels = FeatureCache(tmp_path / "kept", network), torch.rand(3, 3, 4, 4).half().float()
    first = cache(torch.tensor([7, 8, 9]), pixels)
    again = cache(torch.tensor([9, 5, 7]), pixels[[2, 1, 0]])
    assert batches == [3, 1]
    torch.testing.assert_close(first[0], pixels[:, :1] * 2, atol=1e-3, rtol=1e-3)
    assert torch.equal(again[0][[0, 2]], first[0][[2, 0]])
    assert again[1].shape == (3,)


def test_photographs_of_nothing_are_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"no mask in .*clothing/labels: set photographs or more_photographs"):
        more_photographs(tmp_path)


def test_a_state_of_another_training_is_a_weights_error(tmp_path):
    config = OmegaConf.create(
        {"steps": 4, "warmup": 1, "clip_norm": 1, "ema": 0.9, "learning_rate": 1, "weight_decay": 0, "precision": ""}
    )
    one, other = (Optimiser(torch.nn.Linear(2, width), [], config, average_buffers=True) for width in (1, 3))
    one.step(one.model(torch.ones(1, 2)).sum())
    one.save(tmp_path / "state.pt")
    again = Optimiser(torch.nn.Linear(2, 1), [], config, average_buffers=True)
    again.load(tmp_path / "state.pt")
    assert again.steps == 1
    assert torch.equal(again.model.weight, one.model.weight)
    with pytest.raises(WeightsError, match=r"state\.pt is no state of this training"):
        other.load(tmp_path / "state.pt")


def test_the_learning_rate_is_one_cycle():
    shares = [one_cycle(step, warmup=10, steps=110) for step in range(111)]
    assert shares[0] == 0.1
    assert max(shares) == shares[9] == shares[10] == 1
    assert shares[60] == pytest.approx(0.5)
    assert shares[110] == pytest.approx(0, abs=1e-12)
