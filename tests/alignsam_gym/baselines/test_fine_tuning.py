from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from alignsam_gym.baselines.msa import MSA
from alignsam_gym.baselines.samed import SAMed, SplitProjection
from alignsam_gym.foundation.sam.predictor import load_sam

OPTIONS = {
    SAMed: {"rank": 2, "dice": 0.8, "warmup": 2, "learning_rate": 5e-3, "weight_decay": 0.1},
    MSA: {"ratio": 0.25, "scale": 0.5, "positive_weight": 2.0, "learning_rate": 1e-2, "weight_decay": 0.0},
}


@pytest.fixture(params=[SAMed, MSA])
def fitted(request, either_model, toy_dataset, encode):
    """A baseline after so many steps on the toy."""

    def fitted(steps, seed=0):
        baseline = request.param(either_model, steps=steps, batch_size=3, **OPTIONS[request.param])
        baseline.fit(encode(toy_dataset, either_model), seed)
        return baseline

    return fitted


def answers(baseline, dataset, encode):
    return baseline.predict(encode(dataset, baseline.model), range(len(dataset)))


def test_training_begins_at_the_frozen_model(fitted, toy_dataset, encode):
    baseline = fitted(0)
    tuned = answers(baseline, toy_dataset, encode)
    baseline.sam = baseline.model.sam
    assert torch.allclose(tuned, answers(baseline, toy_dataset, encode), atol=1e-5)
    assert tuned.std() > 0.1


def test_only_what_is_meant_to_learns(fitted, either_model):
    frozen = {name: tensor.clone() for name, tensor in either_model.sam.state_dict().items()}
    before, baseline = fitted(0).sam.state_dict(), fitted(4)
    changed = {name for name, tensor in baseline.sam.state_dict().items() if not torch.equal(tensor, before[name])}
    encoder = {name for name in changed if name.startswith("image_encoder")}
    if isinstance(baseline, MSA):
        assert changed == {name for name in before if ".bottleneck." in name}
        assert any(name.startswith("mask_decoder.transformer.layers.1.norm4") for name in changed)
    else:
        assert encoder == {name for name in before if "lora_" in name}
        assert changed - encoder <= {
            name for name in before if name.startswith(("mask_decoder", "prompt_encoder.no_m"))
        }
        assert "mask_decoder.mask_tokens.weight" in changed
    assert encoder
    now = either_model.sam.state_dict()
    assert now.keys() == frozen.keys()
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in now.items())


@pytest.mark.parametrize("method", [SAMed, MSA])
def test_the_embedded_sam_is_tuned(method, toy_dataset, encode):
    model = load_sam("tiny", "cpu")
    baseline = method(model, steps=1, batch_size=2, **OPTIONS[method])
    samples = encode(toy_dataset, model)
    baseline.fit(samples, seed=0)
    before, after = model.sam.image_encoder.state_dict(), baseline.sam.image_encoder.state_dict()
    assert len(after) > len(before)  # with what learns
    assert baseline.predict(samples, [0]).shape == (1, *model.logits_shape)


def test_the_answers_improve(fitted, toy_dataset, encode):
    baseline = fitted(60)
    truth = torch.stack([torch.from_numpy(sample.mask) for sample in toy_dataset.samples])[:, ::2, ::2]

    def iou(baseline):
        answer = answers(baseline, toy_dataset, encode) > 0
        return float((answer & truth).sum() / (answer | truth).sum())

    assert iou(baseline) > iou(fitted(0)) + 0.1


def test_each_text_has_its_own_answer(fitted, toy_dataset, encode):
    """Of images that are there twice, asked for what is bright and for what is dark."""
    samples = toy_dataset.samples
    dark = [replace(one, id=f"{one.id}-dark", mask=~one.mask, text="dark") for one in samples]
    toy_dataset.samples = [replace(one, text="bright") for one in samples] + dark
    toy_dataset.ids = [one.id for one in toy_dataset.samples]
    for_bright, for_dark = (answers(fitted(60), toy_dataset, encode) > 0).chunk(2)
    assert (for_dark & ~for_bright).float().mean() > 0.6
    toy_dataset.samples = [replace(one, text="unheard of") for one in toy_dataset.samples]
    assert answers(fitted(1), toy_dataset, encode).isfinite().all()


def test_a_seed_repeats_itself(fitted, toy_dataset, encode):
    first, again, other = (answers(fitted(3, seed), toy_dataset, encode) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_lora_leaves_the_keys_alone(fitted):
    learning = [name for name, parameter in fitted(0).sam.image_encoder.named_parameters() if parameter.requires_grad]
    assert learning
    assert not any(".keys." in name for name in learning)


@pytest.mark.parametrize("layout", ["SAM", "TinyViT"])
def test_a_split_projection_is_the_whole_one(layout):
    torch.manual_seed(0)
    heads, width = 2, 8
    attention = SimpleNamespace(qkv=nn.Linear(width, 3 * width), num_heads=heads)
    if layout == "TinyViT":
        attention.key_dim = width // heads
    x = torch.randn(5, width)
    with torch.no_grad():
        split = SplitProjection(attention)
        assert torch.allclose(split(x), attention.qkv(x), atol=1e-6)
        for parameter in split.values.parameters():
            parameter.zero_()
        if layout == "TinyViT":
            queries, keys, values = split(x).unflatten(1, (heads, -1)).chunk(3, dim=2)
        else:
            queries, keys, values = split(x).unflatten(1, (3, heads, -1)).unbind(1)
    assert not values.any()
    assert queries.all()
    assert keys.all()


def test_learning_rates_are_the_published_ones(toy_model):
    samed = SAMed(toy_model, 4, 0.8, 10, steps=110, batch_size=4, learning_rate=1.0, weight_decay=0.0)
    assert [samed.learning_rate_factor(step, 50) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert samed.learning_rate_factor(60, 50) == pytest.approx(0.5**0.9)
    msa = MSA(toy_model, 0.25, 0.5, 2.0, steps=500, batch_size=5, learning_rate=1.0, weight_decay=0.0)
    assert [msa.learning_rate_factor(step, 50) for step in (0, 99, 100, 200)] == [1, 1, 0.5, 0.25]
