import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from alignsam_gym.metrics.logits_iou import logits_iou
from alignsam_gym.srm.answer_fusion import SAM_LIMIT, SRM_LIMIT, AnswerFusion, expected_iou
from alignsam_gym.transforms import resize_map


@pytest.fixture
def seen():
    """SAM's logits, 4 × 16 × 16; maps, 4 × 8 × 8; and how many prompts led to them."""
    generator = torch.Generator().manual_seed(0)
    sam, srm = 12 * torch.randn(4, 16, 16, generator=generator), 5 * torch.randn(4, 8, 8, generator=generator)
    return sam, srm, torch.tensor([0, 1, 4, 15])


def _fusion(*weights):
    fusion = AnswerFusion()
    fusion.weights.copy_(torch.tensor(weights).view(2, 3))
    return fusion


def _labels(seen, weights):
    """Draw the truth by the given weights; a quarter of it is labelled in part."""
    generator = torch.Generator().manual_seed(1)
    probability = _fusion(*weights)(*seen).sigmoid()
    truth = (torch.rand(probability.shape, generator=generator) < probability).float()
    return truth, torch.rand(probability.shape, generator=generator).clamp(min=0.25)


def _loss(weights, sam, srm, prompts, truth, valid):
    """What is fitted, pixel by pixel in NumPy, and its gradient."""
    first = 1 / (1 + prompts.double().numpy())[:, None, None]
    sam = sam.clamp(-SAM_LIMIT, SAM_LIMIT).double().numpy()
    srm = resize_map(srm, sam.shape[-2:]).clamp(-SRM_LIMIT, SRM_LIMIT).double().numpy()
    terms = [sam, srm, np.ones_like(sam), sam * first, srm * first, np.ones_like(sam) * first]
    z = sum(weight * term for weight, term in zip(weights, terms, strict=True))
    y, w = truth.double().numpy(), valid.double().numpy()
    entropy = (w * (np.logaddexp(0, z) - y * z)).sum() / w.sum()
    return entropy + 1e-4 / 2 * ((weights - np.array([0.5, 0.5, 0, 0, 0, 0])) ** 2).sum()


def test_half_of_each_is_believed_before_anything_is_fitted(seen):
    sam, srm, _ = seen
    expected = (sam.clamp(-SAM_LIMIT, SAM_LIMIT) + resize_map(srm, (16, 16)).clamp(-SRM_LIMIT, SRM_LIMIT)) / 2
    torch.testing.assert_close(AnswerFusion()(*seen), expected)


def test_weights_one_and_zero_give_sams_mask(seen):
    fusion = _fusion(1.0, 0, 0, 0, 0, 0)
    small = seen[0].clamp(-SAM_LIMIT, SAM_LIMIT)
    assert torch.equal(fusion(small, *seen[1:]), small)
    assert torch.equal(fusion(*seen) > 0, seen[0] > 0)


def test_weights_go_from_their_sum_to_the_first_as_prompts_come(seen):
    sam, srm, prompts = seen
    fusion = _fusion(0.5, 0.1, -0.2, 0.2, 0.6, 0.4)
    at_first, at_last = _fusion(0.7, 0.7, 0.2, 0, 0, 0), _fusion(0.5, 0.1, -0.2, 0, 0, 0)
    torch.testing.assert_close(fusion(sam, srm, 0 * prompts), at_first(*seen))
    torch.testing.assert_close(fusion(sam, srm, 10**6 + prompts), at_last(*seen), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("weights", [(0.2, 0.7, -0.4, 0.1, 0.2, 0.0), (1.0, 0, 0.5, 0, 0.5, 0), (0.0, 0.3, 0, 0, 0, 0)])
def test_the_fit_is_that_of_another_optimiser(seen, weights):
    labels = _labels(seen, weights)
    fusion = AnswerFusion()
    fusion.fit(*seen, *labels)
    found = minimize(_loss, np.zeros(6), (*seen, *labels), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(fusion.weights.flatten(), found.x, atol=2e-3)


def test_pixels_without_a_label_have_no_influence(seen):
    truth, valid = _labels(seen, (0.3, 0.3, 0.1, 0, 0, 0))
    valid[:, :5] = 0
    found = []
    for labels in (truth, torch.where(valid == 0, 1 - truth, truth)):
        fusion = AnswerFusion()
        fusion.fit(*seen, labels, valid)
        found.append(fusion.weights)
    assert torch.equal(*found)


@pytest.mark.parametrize("truth", [0.0, 1.0])
@pytest.mark.parametrize("valid", [0.0, 1.0])
def test_labels_that_decide_nothing_give_finite_weights(seen, truth, valid):
    fusion = AnswerFusion()
    fusion.fit(*seen, torch.full((4, 16, 16), truth), torch.full((4, 16, 16), valid))
    assert fusion.weights.isfinite().all()
    if valid:
        assert ((fusion(*seen) > 0) == bool(truth)).float().mean() > 0.9
    else:
        assert torch.equal(fusion.weights, AnswerFusion().weights)


def test_an_answer_expects_the_iou_that_it_gets_where_its_probabilities_are_right():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 64, 64, generator=generator) - torch.tensor([0.0, 1.0])[:, None, None]
    draws = torch.rand(50, *logits.shape, generator=generator) < logits.sigmoid()
    met = torch.stack([logits_iou(logits, truth.float(), torch.ones_like(logits)) for truth in draws])
    torch.testing.assert_close(expected_iou(logits), met.mean(0), atol=5e-3, rtol=0)


def test_a_certain_answer_expects_all_and_an_empty_one_nothing():
    logits = torch.full((2, 4, 4), -50.0)
    logits[0, :2] = 50
    torch.testing.assert_close(expected_iou(logits), torch.tensor([1.0, 0.0]))
