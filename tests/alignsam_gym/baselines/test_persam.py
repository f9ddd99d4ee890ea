import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from alignsam_gym.baselines.guided_transformer import GuidedTransformer
from alignsam_gym.baselines.persam import PerSAM, PerSAMF
from alignsam_gym.errors import DataError, OptionError
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor

PUBLISHED = {"references": 1, "cells": "majority"}
ALL = {"references": 50, "cells": "any"}


@pytest.fixture
def shots(toy_dataset, toy_model, encode):
    return encode(toy_dataset, toy_model)


@pytest.fixture
def persam(toy_model, shots):
    baseline = PerSAM(toy_model, multimask=True, boxes=True, **PUBLISHED)
    baseline.fit(shots, seed=0)
    return baseline


def guided_attention(attention, q, k, v, similarity):
    """One number after another; tokens (n, C), without a batch."""
    q, k, v = attention.q_proj(q), attention.k_proj(k), attention.v_proj(v)
    width, out = q.shape[1] // attention.num_heads, torch.zeros(len(q), q.shape[1])
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(q)):
            scores = torch.stack([q[i, part] @ k[j, part] / math.sqrt(width) for j in range(len(k))])
            first = scores.exp() / scores.exp().sum()
            second = (first + similarity).exp()
            out[i, part] = sum(second[j] / second.sum() * v[j, part] for j in range(len(k)))
    return attention.out_proj(out)


def guided_transformer(plain, image, positions, prompts, target, similarity):
    """The published steps in a row, the target added in place where the authors do."""
    tokens = prompts.clone()
    tokens += target
    queries, keys = tokens, image
    for number, layer in enumerate(plain.layers):
        if number:
            queries = queries + target
            attended = layer.self_attn((queries + tokens)[None], (queries + tokens)[None], queries[None])[0]
            queries = layer.norm1(queries + attended)
        else:
            queries = layer.norm1(layer.self_attn(queries[None], queries[None], queries[None])[0])
        attention = layer.cross_attn_token_to_image
        queries = layer.norm2(
            queries + guided_attention(attention, queries + tokens, keys + positions, keys, similarity)
        )
        queries = layer.norm3(queries + layer.mlp(queries))
        back = layer.cross_attn_image_to_token((keys + positions)[None], (queries + tokens)[None], queries[None])[0]
        keys = layer.norm4(keys + back)
    last = plain.final_attn_token_to_image
    attended = last((queries + tokens + target)[None], (keys + positions)[None], keys[None])[0]
    return plain.norm_final_attn(queries + attended), keys


@torch.no_grad()
def test_guidance_is_what_loops_by_hand_give(toy_model):
    generator = torch.Generator().manual_seed(0)
    plain = toy_model.sam.mask_decoder.transformer
    image, positions = (torch.randn(1, 32, 3, 4, generator=generator) for _ in range(2))
    prompts, target = torch.randn(1, 7, 32, generator=generator), torch.randn(32, generator=generator)
    similarity = torch.rand(12, generator=generator)
    guided = GuidedTransformer(deepcopy(plain))
    guided.set_target(target, similarity)
    flat = [x[0].flatten(1).T for x in (image, positions)]
    expected = guided_transformer(plain, *flat, prompts[0], target, similarity)
    for ours, theirs in zip(guided(image, positions, prompts), expected, strict=True):
        assert torch.allclose(ours[0], theirs, atol=1e-5)


def test_the_frozen_decoder_stays_unguided(persam, toy_model):
    layer = toy_model.sam.mask_decoder.transformer.layers[0]
    assert type(layer.cross_attn_token_to_image).__name__ == "Attention"


@torch.no_grad()
def test_asking_is_sams_own_decoder(persam, shots, toy_model):
    sam, sample = toy_model.sam, shots[2]
    prompts = torch.tensor([[[10.0, 20.0], [50.0, 30.0]]]), torch.tensor([[1, 0]])
    box, mask = torch.tensor([[5.0, 6.0, 40.0, 60.0]]), torch.randn(32, 32)
    sparse, dense = sam.prompt_encoder(points=prompts, boxes=box, masks=mask[None, None])
    expected = sam.mask_decoder(sample.embedding[None], sam.prompt_encoder.get_dense_pe(), sparse, dense, True)
    ours = persam.predict_masks(sample, prompts, box, mask)
    for mine, theirs in zip(ours, expected, strict=True):
        assert torch.allclose(mine, theirs[0], atol=1e-4)


def features_where(sample, shows):
    """The features of the cells whose fraction of foreground `shows` accepts, one after another."""
    cells = F.interpolate(sample.truth[None, None], (8, 8), mode="bilinear")[0, 0]
    return torch.stack([sample.embedding[:, y, x] for y in range(8) for x in range(8) if shows(cells[y, x])])


def test_as_published_one_image_and_a_majority_of_a_cell_show_the_target(persam, shots, toy_model):
    means = [features_where(sample, lambda part: part > 0.5).mean(0) for sample in shots.fetch(range(len(shots)))]
    matches = [torch.allclose(persam.target(shots[0]), mean, atol=1e-5) for mean in means]
    assert sum(matches) == 1
    again, drawn = PerSAM(toy_model, multimask=True, boxes=True, **PUBLISHED), set()
    for seed in range(8):
        again.fit(shots, seed)
        drawn.add(tuple(again.target(shots[0]).tolist()))
    assert len(drawn) > 1


def test_all_images_and_any_foreground_of_a_cell_can_show_it(toy_model, shots):
    means = [features_where(sample, lambda part: part > 0).mean(0) for sample in shots.fetch(range(len(shots)))]
    baseline = PerSAM(toy_model, multimask=True, boxes=True, **ALL)
    baseline.fit(shots, seed=0)
    assert torch.allclose(baseline.target(shots[0]), torch.stack(means).mean(0), atol=1e-5)


def test_persam_f_halves_mean_and_maximum_of_one_image(toy_model, shots):
    found = []
    for sample in shots.fetch(range(len(shots))):
        features = features_where(sample, lambda part: part > 0.5)
        found.append((features.mean(0) + features.amax(0)) / 2)
    baseline = PerSAMF(toy_model, steps=1, learning_rate=1e-3, **PUBLISHED)
    baseline.fit(shots, seed=0)
    assert sum(torch.allclose(baseline.target(shots[0]), each, atol=1e-5) for each in found) == 1


def test_each_text_has_its_own_reference(toy_model, toy_dataset, encode):
    texts = ["cat", "dog", "cat", "dog", "cat"]
    toy_dataset.samples = [replace(one, text=text) for one, text in zip(toy_dataset.samples, texts, strict=True)]
    for references, counts in ((1, {"cat": 1, "dog": 1}), (2, {"cat": 2, "dog": 2}), (9, {"cat": 3, "dog": 2})):
        baseline = PerSAM(toy_model, references, "majority", multimask=True, boxes=True)
        drawn = [sample.text for sample, _ in baseline.reference_features(encode(toy_dataset, toy_model), seed=0)]
        assert {text: drawn.count(text) for text in texts} == counts


def test_a_target_smaller_than_a_cell_needs_the_other_rule(toy_model, one_sample, encode):
    mask = torch.zeros(64, 64, dtype=torch.bool).numpy()
    mask[3, 3] = True
    shots = encode(one_sample(mask), toy_model)
    with pytest.raises(DataError, match=r"smaller than a cell need method\.cells=any"):
        PerSAM(toy_model, multimask=True, boxes=True, **PUBLISHED).fit(shots, seed=0)
    PerSAM(toy_model, multimask=True, boxes=True, **ALL).fit(shots, seed=0)


def test_an_unknown_choice_of_cells_is_an_error(toy_model):
    with pytest.raises(OptionError, match=r"method\.cells='most' is unknown; choose one of majority, any"):
        PerSAM(toy_model, 1, "most", multimask=True, boxes=True)


def test_each_text_has_its_own_target(toy_model, shots):
    samples = [replace(shots[index], text=text) for index, text in enumerate(("cat", "dog", "cat"))]
    features = [torch.full((32,), value) for value in (1.0, 5.0, 3.0)]
    baseline = PerSAM(toy_model, multimask=True, boxes=True, **PUBLISHED)
    baseline.fit_target(samples, features)
    found = [float(baseline.target(sample)[0]) for sample in (*samples, replace(shots[3], text="cow"))]
    assert found == [2, 5, 2, 3]


def test_similarity_is_the_cosine_and_highest_where_the_target_is(persam, shots):
    sample = shots[1]
    persam.fit_target([sample], [sample.embedding[:, 2, 5]])
    similarity = persam.target_similarity(sample)
    place = int(similarity.argmax())
    assert (place // 64 // 8, place % 64 // 8) == (2, 5)
    assert 0.8 < similarity.max() <= 1  # interpolation takes some of the peak away


def test_the_box_is_around_the_answer(persam):
    logits = -torch.ones(32, 32)
    assert persam.box_around(logits) is None
    logits[10:20, 5:9] = 1
    assert (persam.box_around(logits)[0] - torch.tensor([10.0, 20.0, 17.0, 39.0])).abs().max() <= 1


def test_answers_have_the_logits_size_and_repeat_themselves(persam, shots):
    logits = persam.predict(shots, [0, 3])
    assert logits.shape == (2, 32, 32)
    assert torch.equal(logits[1], persam.predict(shots, [3])[0])


@torch.no_grad()
def test_a_sam_of_one_mask_is_asked_for_that_and_without_a_box(shots, toy_model, monkeypatch):
    baseline, asked = PerSAM(toy_model, multimask=False, boxes=False, **PUBLISHED), []
    baseline.fit(shots, seed=0)
    ask = baseline.predict_masks

    def remember(*prompts):
        asked.append((prompts[2], ask(*prompts)))
        return asked[-1][1]

    monkeypatch.setattr(baseline, "predict_masks", remember)
    answer = baseline.segment(shots[2])
    assert [box for box, _ in asked] == [None, None]
    assert [len(masks) for _, (masks, _) in asked] == [1, 1]
    assert torch.equal(answer, asked[-1][1][0][0])


def test_the_weight_of_the_right_mask_grows(toy_model, shots, monkeypatch):
    def predict_masks(self, sample, prompts, box=None, mask=None):
        right = sample.truth * 4 - 2
        return torch.stack([-right, torch.zeros_like(right), right]), torch.zeros(3)

    monkeypatch.setattr(PerSAMF, "predict_masks", predict_masks)
    baseline = PerSAMF(toy_model, steps=300, learning_rate=1e-2, **ALL)
    baseline.fit(shots, seed=0)
    assert float(baseline.weights.sum()) == pytest.approx(1)
    assert baseline.weights[2] > 0.6 > baseline.weights[0]


def test_an_unlearned_persam_f_weighs_all_masks_alike(toy_model, shots):
    baseline = PerSAMF(toy_model, steps=0, learning_rate=1e-3, **PUBLISHED)
    baseline.fit(shots, seed=0)
    assert baseline.weights.tolist() == pytest.approx([1 / 3] * 3)
    assert baseline.predict(shots, [0, 1]).shape == (2, 32, 32)


def test_masks_without_foreground_teach_nothing(toy_model, one_sample, encode):
    with pytest.raises(DataError, match="shows a target"):
        PerSAM(toy_model, multimask=True, boxes=True, **PUBLISHED).fit(
            encode(one_sample(torch.zeros(64, 64, dtype=torch.bool).numpy()), toy_model), 0
        )


def test_another_decoder_cannot_be_guided(toy_model):
    sam = deepcopy(toy_model.sam)
    sam.mask_decoder.__class__ = type("OtherDecoder", (type(sam.mask_decoder),), {})
    with pytest.raises(OptionError, match="SAM's own mask decoder"):
        PerSAM(BatchedSamPredictor(sam, "other", torch.device("cpu")), multimask=True, boxes=True, **PUBLISHED)
