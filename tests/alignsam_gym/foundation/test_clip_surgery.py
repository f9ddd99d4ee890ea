"""CLIP Surgery against a plain reference."""

import copy

import cv2
import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from torch import nn

from alignsam_gym.errors import OptionError
from alignsam_gym.foundation import clip_model
from alignsam_gym.foundation.clip_model import single_text_surgery
from alignsam_gym.foundation.clip_surgery import ClipSurgery
from tests.alignsam_gym.foundation.clip_reference import (
    HEADS,
    NATIVE,
    PATCH,
    build_clip,
    frames,
    reference_map,
    reference_text,
    reference_tokens,
    unit,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("ViT-B-16")


@pytest.fixture(scope="module")
def surgery(tokenizer):
    return ClipSurgery(build_clip(), tokenizer, "random", CPU, image_size=48)


@pytest.mark.parametrize(
    ("size", "vision"),
    [
        (NATIVE, {}),
        (48, {}),
        (24, {}),
        (48, {"quick_gelu": True}),
        (48, {"no_ln_pre": True, "final_ln_after_pool": True, "patch_dropout": 0.5}),
        (40, {"ls_init_value": 0.5, "mlp_ratio": 2.0}),
    ],
)
def test_tokens_equal_the_reference(tokenizer, size, vision):
    model = build_clip(**vision)
    operated = ClipSurgery(model, tokenizer, "random", CPU, image_size=size)
    images = frames(2, size)
    tokens = operated.encode(images)
    assert tokens.shape == (2, 1 + (size // PATCH) ** 2, 24)
    for image, got in zip(images, tokens, strict=True):
        expected = unit(reference_tokens(model, image, HEADS, vision.get("quick_gelu", False)))
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("layers", [6, 7])
def test_a_shallow_vit_has_the_second_path_from_the_start(tokenizer, layers):
    model = build_clip(layers=layers)
    image = frames(1, NATIVE)[0]
    tokens = ClipSurgery(model, tokenizer, "random", CPU, NATIVE).encode([image])[0]
    np.testing.assert_allclose(tokens.numpy(), unit(reference_tokens(model, image, HEADS, False)), atol=1e-5)


def test_a_vit_of_fewer_blocks_than_six_is_operated_throughout(tokenizer):
    model = build_clip(layers=2)
    tokens = ClipSurgery(model, tokenizer, "random", CPU, NATIVE).encode(frames(1, NATIVE))
    assert tokens.isfinite().all()


def test_the_original_path_is_the_models_own_at_the_native_size(tokenizer):
    model = build_clip()
    untouched = copy.deepcopy(model)
    operated = ClipSurgery(model, tokenizer, "random", CPU, image_size=NATIVE)
    images = frames(3, NATIVE)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.visual.image_mean, model.visual.image_std))
    pixels = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        expected = untouched.encode_image(pixels, normalize=True)
    torch.testing.assert_close(operated.encode(images)[:, 0], expected, atol=1e-6, rtol=0)
    for before, after in zip(untouched.parameters(), model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_positions_are_the_models_own_at_the_native_size(tokenizer):
    model = build_clip()
    operated = ClipSurgery(model, tokenizer, "random", CPU, image_size=NATIVE)
    assert torch.equal(operated._positions, model.visual.positional_embedding)


def test_the_batch_may_be_the_second_axis_inside(tokenizer):
    images = frames(2, 48)
    expected = ClipSurgery(build_clip(), tokenizer, "random", CPU, 48).encode(images)
    model = build_clip()
    model.visual.transformer.batch_first = False
    for block in model.visual.transformer.resblocks:
        block.attn.batch_first = False
    torch.testing.assert_close(ClipSurgery(model, tokenizer, "random", CPU, 48).encode(images), expected)


@pytest.mark.slow
def test_vit_b_16_equals_the_reference_at_512(tokenizer):
    torch.manual_seed(0)
    small_text = {"width": 64, "heads": 1, "layers": 1}
    model = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None, text_cfg=small_text)
    with torch.no_grad():  # as large as in trained weights, and all of them
        for parameter in model.visual.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    operated = ClipSurgery(model, tokenizer, "random", CPU)
    image = cv2.GaussianBlur(frames(1, 512)[0], (0, 0), 6)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    reference = unit(reference_tokens(operated.model, image, 12, True))
    np.testing.assert_allclose(operated.encode([image])[0].numpy(), reference, atol=1e-5)

    text, empty = (reference_text(operated.model, tokenizer, text) for text in ("dog", ""))
    expected = reference_map(reference[1:] @ (text - empty), 32)
    np.testing.assert_allclose(operated.similarity([image], ["dog"])[0].numpy(), expected, atol=1e-4)


def test_a_single_text_equals_the_loop(surgery, tokenizer):
    images, texts = frames(3, 48), ["dog", "shadow", "dog"]
    maps = surgery.similarity(images, texts)
    assert maps.shape == (3, 6, 6)
    assert maps.dtype == torch.float32
    empty = reference_text(surgery.model, tokenizer, "")
    for image, text, got in zip(images, texts, maps, strict=True):
        features = unit(reference_tokens(surgery.model, image, HEADS, False))[1:]
        difference = reference_text(surgery.model, tokenizer, text) - empty
        expected = reference_map(np.array([feature @ difference for feature in features]), 6)
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_feature_surgery_equals_the_loop_on_any_features(seed):
    rng = np.random.default_rng(seed)
    images, (*texts, empty) = unit(rng.normal(size=(2, 5, 8))), unit(rng.normal(size=(3, 8)))
    answers = single_text_surgery(torch.from_numpy(images), torch.from_numpy(np.stack(texts)), torch.from_numpy(empty))
    for image, text, got in zip(images, texts, answers, strict=True):
        np.testing.assert_allclose(got, [token @ text - token @ empty for token in image], atol=1e-12)


@settings(max_examples=30)
@given(answers=arrays.arrays(np.float32, (3, 36), elements=st.integers(-1000, 1000).map(lambda number: number / 1000)))
def test_maps_reach_from_0_to_1_unless_all_cells_are_alike(surgery, answers):
    for row, got in zip(answers, surgery._to_map(torch.from_numpy(answers)), strict=True):
        assert 0 <= got.min() <= got.max() <= 1
        assert got.max() == (0 if (row == row[0]).all() else 1)
        assert got.min() == 0


def test_the_empty_text_is_nowhere(surgery):
    assert (surgery.similarity(frames(1, 48), [""]) == 0).all()


def test_an_images_map_does_not_depend_on_its_neighbours(surgery):
    images, texts = frames(3, 60), ["dog", "cat", "bird"]
    together = surgery.similarity(images, texts)
    for i in range(3):
        torch.testing.assert_close(surgery.similarity(images[i : i + 1], texts[i : i + 1])[0], together[i])


@pytest.fixture
def asked():
    """The prompts that `counting` made tokens of."""
    return []


@pytest.fixture
def counting(tokenizer, asked):
    def count(prompts):
        asked.extend(prompts)
        return tokenizer(prompts)

    return count


def test_texts_are_encoded_once(counting, asked):
    operated = ClipSurgery(build_clip(), counting, "random", CPU, NATIVE)
    first = operated.encode_texts(["dog", "cat", "dog"])
    assert torch.equal(operated.encode_texts(["cat"])[0], first[1])
    assert torch.equal(first[0], first[2])
    assert len(asked) == len(set(asked)) == 2 * 85
    assert {"a photo of a dog.", "itap of my cat.", "this is one dog in the scene."} <= set(asked)


def test_only_the_latest_texts_are_kept(counting, asked, monkeypatch):
    monkeypatch.setattr(clip_model, "_MOST_TEXTS", 2)
    operated = ClipSurgery(build_clip(), counting, "random", CPU, NATIVE)
    first = operated.encode_texts(["dog", "cat", "bird"])
    assert len(asked) == 3 * 85
    assert torch.equal(operated.encode_texts(["bird", "cat"]), first[[2, 1]])
    assert len(asked) == 3 * 85
    assert torch.equal(operated.encode_texts(["dog"])[0], first[0])
    assert len(asked) == 4 * 85


def test_frames_of_any_side_and_layout_are_resized_as_pillow_does(surgery):
    frame = cv2.GaussianBlur(frames(1, 100)[0], (0, 0), 3)
    resized = np.asarray(Image.fromarray(frame).resize((48, 48), Image.Resampling.BICUBIC))
    got = surgery._resize([frame])[0]
    assert np.abs(got.permute(1, 2, 0).numpy() - resized).max() < 1.01  # rounding, of 255 levels
    mirrored = frame[:, ::-1]
    mirrored.flags.writeable = False
    expected = surgery.encode([np.ascontiguousarray(mirrored)])
    torch.testing.assert_close(surgery.encode([mirrored]), expected)


def test_the_side_is_rounded_down_to_whole_patches(tokenizer):
    operated = ClipSurgery(build_clip(), tokenizer, "random", CPU, image_size=47)
    assert (operated.input_size, operated.grid) == (40, 5)
    assert operated.similarity(frames(1, 47), ["dog"]).shape == (1, 5, 5)


def test_a_map_is_frozen_knowledge(surgery):
    assert not surgery.model.training
    assert not any(parameter.requires_grad for parameter in surgery.model.parameters())
    assert not surgery.similarity(frames(1, 48), ["dog"]).requires_grad


def test_the_fingerprint_tells_weights_and_sizes_apart(tokenizer):
    made = [
        ClipSurgery(build_clip(), tokenizer, name, CPU, size).fingerprint
        for name in ("a", "b")
        for size in (32, 39, 40)
    ]
    assert len(set(made)) == 4  # 39 is rounded down to 32


# What cannot be done.


@pytest.mark.parametrize(
    ("vision", "problem"),
    [
        ({"layers": (1, 1, 1, 1), "width": 8, "head_width": 64}, "ModifiedResNet"),
        ({"attentional_pool": True, "attn_pooler_heads": 2}, "class token"),
        ({"pool_type": "avg"}, "class token"),
        ({"qk_norm": True}, "attention"),
    ],
)
def test_models_without_the_parts_are_refused(tokenizer, vision, problem):
    with pytest.raises(OptionError, match=rf"cannot be done on this model: .*{problem}.*ViT-B-16/openai"):
        ClipSurgery(build_clip(**vision), tokenizer, "random", CPU, NATIVE)


def test_other_image_towers_are_refused(tokenizer):
    model = build_clip()
    model.visual = nn.Identity()
    with pytest.raises(OptionError, match="Identity"):
        ClipSurgery(model, tokenizer, "random", CPU, NATIVE)


def test_a_frame_smaller_than_a_patch_is_refused(tokenizer):
    with pytest.raises(OptionError, match=r"image_size=7.*give 8 or more"):
        ClipSurgery(build_clip(), tokenizer, "random", CPU, image_size=7)


def test_images_and_texts_must_pair_up(surgery):
    with pytest.raises(OptionError, match="2 images came with 1 texts"):
        surgery.similarity(frames(2, 48), ["dog"])
