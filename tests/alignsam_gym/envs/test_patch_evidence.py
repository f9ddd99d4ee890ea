"""What every SAM gives of a patch, against values worked out by hand."""

import numpy as np
import pytest
import torch

from alignsam_gym.envs.patch_evidence import EVIDENCE_CHANNELS, patch_evidence
from alignsam_gym.envs.rules import Rules

RULES = Rules(image_size=64, patch_size=16)


def evidence_of(mask, srm_logits, points_unit=((0.1, 0.1), (0.9, 0.1)), labels=(1, 0)):
    points = torch.tensor([points_unit], dtype=torch.float32)
    seen = patch_evidence(RULES, mask[None], srm_logits[None], points, torch.tensor([labels]))
    assert seen.shape == (1, len(EVIDENCE_CHANNELS), 4, 4)
    assert seen.dtype == torch.float32
    return dict(zip(EVIDENCE_CHANNELS, seen[0].numpy(), strict=True))


@pytest.mark.parametrize(("sam_cells", "srm_cells"), [(32, 8), (128, 32), (48, 20)])
def test_even_maps_are_seen_alike_at_every_resolution(sam_cells, srm_cells):
    seen = evidence_of(torch.full((sam_cells, sam_cells), 0.25), torch.full((srm_cells, srm_cells), 2.0))
    srm = 1 / (1 + np.exp(-2.0))
    for name, value in {
        "srm_mean": srm, "srm_max": srm, "srm_min": srm, "srm_centre": srm, "srm_unsure": 4 * srm * (1 - srm),
        "sam_mean": 0.25, "sam_max": 0.25, "sam_min": 0.25, "sam_centre": 0.25, "sam_unsure": 0.75,
        "difference_mean": srm - 0.25, "difference_centre": srm - 0.25, "disagreement_mean": srm - 0.25,
        "disagreement_max": srm - 0.25, "disagreement_centre": srm - 0.25, "label": 1, "image_srm": srm,
        "image_sam": 0.25, "image_disagreement": srm - 0.25, "image_agreement": 0.25 / srm, "image_prompts": 0,
    }.items():  # fmt: skip
        np.testing.assert_allclose(seen[name], value, rtol=1e-5, err_msg=name)


def test_a_patch_knows_its_own_part_of_the_maps():
    mask = torch.zeros(32, 32)
    mask[8:16, 16:24] = 1  # row 1, column 2
    seen = evidence_of(mask, torch.full((8, 8), -6.0))
    assert seen["sam_centre"].argmax() == seen["sam_mean"].argmax() == seen["disagreement_mean"].argmax() == 4 + 2
    assert seen["sam_mean"][1, 2] > 0.8
    assert (np.delete(seen["sam_centre"].ravel(), 6) == 0).all()
    assert (seen["label"] == -1).all()
    assert (seen["difference_mean"] <= 0.01).all()


def test_prompts_are_seen_where_they_are():
    points = ((0.1, 0.1), (0.95, 0.3), (0.375, 0.625), (0.625, 0.875), (0.0, 0.0))
    seen = evidence_of(torch.zeros(32, 32), torch.zeros(8, 8), points, (1, 0, 0, 1, -1))
    places = {name: np.flatnonzero(seen[name]).tolist() for name in ("positive", "negative", "visited")}
    assert places == {"positive": [0, 14], "negative": [7, 9], "visited": [9, 14]}
    np.testing.assert_allclose(seen["image_prompts"], 2 / 6)


def test_the_label_is_the_one_that_a_prompt_would_get(make_toy_vec):
    envs = make_toy_vec(3, observation="evidence", revisit="forbid").unwrapped
    seen, _ = envs.reset(seed=0)
    assert envs.single_observation_space.contains({name: part[0] for name, part in seen.items()})
    actions = np.array([3, 9, 14])
    label = seen["evidence"][:, EVIDENCE_CHANNELS.index("label")].reshape(3, -1)[np.arange(3), actions]
    seen, *_, info = envs.step(actions)
    np.testing.assert_array_equal(info["label"], label > 0)
    visited = seen["evidence"][:, EVIDENCE_CHANNELS.index("visited")].reshape(3, -1)
    np.testing.assert_array_equal(visited, seen["visited"])
