"""CLIP Surgery against a plain reference: float64 NumPy on the raw weights, one head and one token at a time."""

import copy
import json
import math
import os
import zipfile

import cv2
import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.foundation import clip_surgery
from alignsam_gym.foundation.clip_surgery import (
    TEMPLATES,
    ClipSurgery,
    is_downloaded,
    load_clip,
    single_text_surgery,
)
from alignsam_gym.foundation.sam.official_checkpoints import file_digest

CPU = torch.device("cpu")
NATIVE, PATCH, LAYERS, HEADS = 32, 8, 8, 4


def _build(quick_gelu=False, **vision):
    """A small CLIP in which every weight, those of norms and biases too, is random."""
    torch.manual_seed(0)
    sizes = {"layers": LAYERS, "width": 8 * HEADS, "head_width": 8, "patch_size": PATCH, "image_size": NATIVE}
    model = open_clip.CLIP(
        24,
        open_clip.CLIPVisionCfg(**{**sizes, **vision}),
        open_clip.CLIPTextCfg(width=16, heads=2, layers=2),
        quick_gelu=quick_gelu,
    )
    open_clip.set_model_preprocess_cfg(model, {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)})
    return _shaken(model)


def _shaken(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer("ViT-B-16")


@pytest.fixture(scope="module")
def surgery(tokenizer):
    return ClipSurgery(_build(), tokenizer, "random", CPU, image_size=48)


def _frames(count, side, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


# The reference.


def _layer_norm(x, weights, name):
    centred = x - x.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _attend(queries, keys, values):
    answers = np.empty_like(values)
    for token, query in enumerate(queries):
        scores = keys @ query / math.sqrt(len(query))
        shares = np.exp(scores - scores.max())
        answers[token] = shares @ values / shares.sum()
    return answers


def _activation(x, quick_gelu):
    if quick_gelu:
        return x / (1 + np.exp(-1.702 * x))
    return x * torch.special.ndtr(torch.from_numpy(x)).numpy()


def _reference_tokens(model, image, heads, quick_gelu):
    """Projected tokens of one frame, float64 (1 + N, D), the class token first. image: uint8 (S, S, 3)."""
    visual = model.visual
    weights = {name: value.double().numpy() for name, value in visual.state_dict().items()}
    pixels = (image / 255 - np.array(visual.image_mean)) / np.array(visual.image_std)
    patch = visual.patch_size[0]
    grid = len(image) // patch

    embedding = weights["positional_embedding"]
    native = visual.grid_size[0]
    table = embedding[1:].reshape(native, native, -1)
    kernel = weights["conv1.weight"]
    tokens = [weights["class_embedding"] + embedding[0]]
    for row in range(grid):
        for column in range(grid):
            part = pixels[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            position = _bilinear(table, (row + 0.5) * native / grid - 0.5, (column + 0.5) * native / grid - 0.5)
            tokens.append(np.einsum("ochw,hwc->o", kernel, part) + position)
    x = np.stack(tokens)
    if "ln_pre.weight" in weights:
        x = _layer_norm(x, weights, "ln_pre")

    layers = len(visual.transformer.resblocks)
    new = x
    for layer in range(layers):
        if layer == layers - 6:
            new = x
        name = f"transformer.resblocks.{layer}"
        projected = (
            _layer_norm(x, weights, f"{name}.ln_1") @ weights[f"{name}.attn.in_proj_weight"].T
            + weights[f"{name}.attn.in_proj_bias"]
        )
        queries, keys, values = (np.split(part, heads, axis=1) for part in np.split(projected, 3, axis=1))
        out, bias = weights[f"{name}.attn.out_proj.weight"], weights[f"{name}.attn.out_proj.bias"]
        scale = weights.get(f"{name}.ls_1.gamma", 1.0)
        if layer >= layers - 6:
            heads_new = [_attend(v, v, v) for v in values]
            new = new + scale * (np.concatenate(heads_new, axis=1) @ out.T + bias)
        heads_old = [_attend(q, k, v) for q, k, v in zip(queries, keys, values, strict=True)]
        x = x + scale * (np.concatenate(heads_old, axis=1) @ out.T + bias)
        hidden = (
            _layer_norm(x, weights, f"{name}.ln_2") @ weights[f"{name}.mlp.c_fc.weight"].T
            + weights[f"{name}.mlp.c_fc.bias"]
        )
        inner = _activation(hidden, quick_gelu) @ weights[f"{name}.mlp.c_proj.weight"].T
        x = x + weights.get(f"{name}.ls_2.gamma", 1.0) * (inner + weights[f"{name}.mlp.c_proj.bias"])
    new[0] = x[0]
    return _layer_norm(new, weights, "ln_post") @ weights["proj"]


def _bilinear(table, row, column):
    """The table's entry at a fractional place; beyond its border, that of the border."""
    last = len(table) - 1
    row, column = min(max(row, 0), last), min(max(column, 0), last)
    top, left = int(row), int(column)
    bottom, right = min(top + 1, last), min(left + 1, last)
    down, across = row - top, column - left
    upper = table[top, left] * (1 - across) + table[top, right] * across
    lower = table[bottom, left] * (1 - across) + table[bottom, right] * across
    return upper * (1 - down) + lower * down


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _reference_text(model, tokenizer, text):
    """The mean of the prompts' features, float64 (D), prompt by prompt."""
    features = [model.encode_text(tokenizer([template(text)]))[0].double().numpy() for template in TEMPLATES]
    return _unit(np.mean([_unit(feature) for feature in features], axis=0))


def _reference_map(answers, grid):
    answers = (answers - answers.min()) / (answers.max() - answers.min())
    return answers.reshape(grid, grid)


# Architecture surgery.


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
    model = _build(**vision)
    operated = ClipSurgery(model, tokenizer, "random", CPU, image_size=size)
    images = _frames(2, size)
    tokens = operated.encode(images)
    assert tokens.shape == (2, 1 + (size // PATCH) ** 2, 24)
    for image, got in zip(images, tokens, strict=True):
        expected = _unit(_reference_tokens(model, image, HEADS, vision.get("quick_gelu", False)))
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("layers", [6, 7])
def test_a_shallow_vit_has_the_second_path_from_the_start(tokenizer, layers):
    model = _build(layers=layers)
    image = _frames(1, NATIVE)[0]
    tokens = ClipSurgery(model, tokenizer, "random", CPU, NATIVE).encode([image])[0]
    np.testing.assert_allclose(tokens.numpy(), _unit(_reference_tokens(model, image, HEADS, False)), atol=1e-5)


def test_a_vit_of_fewer_blocks_than_six_is_operated_throughout(tokenizer):
    model = _build(layers=2)
    tokens = ClipSurgery(model, tokenizer, "random", CPU, NATIVE).encode(_frames(1, NATIVE))
    assert tokens.isfinite().all()


def test_the_original_path_is_the_models_own_at_the_native_size(tokenizer):
    model = _build()
    untouched = copy.deepcopy(model)
    operated = ClipSurgery(model, tokenizer, "random", CPU, image_size=NATIVE)
    images = _frames(3, NATIVE)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.visual.image_mean, model.visual.image_std))
    pixels = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        expected = untouched.encode_image(pixels, normalize=True)
    torch.testing.assert_close(operated.encode(images)[:, 0], expected, atol=1e-6, rtol=0)
    for before, after in zip(untouched.parameters(), model.parameters(), strict=True):
        assert torch.equal(before, after)


def test_positions_are_the_models_own_at_the_native_size(tokenizer):
    model = _build()
    operated = ClipSurgery(model, tokenizer, "random", CPU, image_size=NATIVE)
    assert torch.equal(operated._positions, model.visual.positional_embedding)


def test_the_batch_may_be_the_second_axis_inside(tokenizer):
    images = _frames(2, 48)
    expected = ClipSurgery(_build(), tokenizer, "random", CPU, 48).encode(images)
    model = _build()
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
    image = cv2.GaussianBlur(_frames(1, 512)[0], (0, 0), 6)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    reference = _unit(_reference_tokens(operated.model, image, 12, True))
    np.testing.assert_allclose(operated.encode([image])[0].numpy(), reference, atol=1e-5)

    text, empty = (_reference_text(operated.model, tokenizer, text) for text in ("dog", ""))
    expected = _reference_map(reference[1:] @ (text - empty), 32)
    np.testing.assert_allclose(operated.similarity([image], ["dog"])[0].numpy(), expected, atol=1e-4)


# Feature surgery, maps and texts.


def test_a_single_text_equals_the_loop(surgery, tokenizer):
    images, texts = _frames(3, 48), ["dog", "shadow", "dog"]
    maps = surgery.similarity(images, texts)
    assert maps.shape == (3, 6, 6)
    assert maps.dtype == torch.float32
    empty = _reference_text(surgery.model, tokenizer, "")
    for image, text, got in zip(images, texts, maps, strict=True):
        features = _unit(_reference_tokens(surgery.model, image, HEADS, False))[1:]
        difference = _reference_text(surgery.model, tokenizer, text) - empty
        expected = _reference_map(np.array([feature @ difference for feature in features]), 6)
        np.testing.assert_allclose(got.numpy(), expected, atol=1e-4)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_feature_surgery_equals_the_loop_on_any_features(seed):
    rng = np.random.default_rng(seed)
    images, (*texts, empty) = _unit(rng.normal(size=(2, 5, 8))), _unit(rng.normal(size=(3, 8)))
    answers = single_text_surgery(torch.from_numpy(images), torch.from_numpy(np.stack(texts)), torch.from_numpy(empty))
    for image, text, got in zip(images, texts, answers, strict=True):
        np.testing.assert_allclose(got, [token @ text - token @ empty for token in image], atol=1e-12)


@settings(max_examples=30)
@given(answers=arrays.arrays(np.float32, (3, 36), elements=st.floats(-1, 1, width=32)))
def test_maps_reach_from_0_to_1_unless_all_cells_are_alike(surgery, answers):
    for row, got in zip(answers, surgery._to_map(torch.from_numpy(answers)), strict=True):
        assert 0 <= got.min() <= got.max() <= 1
        assert got.max() == (0 if (row == row[0]).all() else 1)
        assert got.min() == 0


def test_the_empty_text_is_nowhere(surgery):
    assert (surgery.similarity(_frames(1, 48), [""]) == 0).all()


def test_an_images_map_does_not_depend_on_its_neighbours(surgery):
    images, texts = _frames(3, 60), ["dog", "cat", "bird"]
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
    operated = ClipSurgery(_build(), counting, "random", CPU, NATIVE)
    first = operated.encode_texts(["dog", "cat", "dog"])
    assert torch.equal(operated.encode_texts(["cat"])[0], first[1])
    assert torch.equal(first[0], first[2])
    assert len(asked) == len(set(asked)) == 2 * 85
    assert {"a photo of a dog.", "itap of my cat.", "this is one dog in the scene."} <= set(asked)


def test_only_the_latest_texts_are_kept(counting, asked, monkeypatch):
    monkeypatch.setattr(clip_surgery, "_MOST_TEXTS", 2)
    operated = ClipSurgery(_build(), counting, "random", CPU, NATIVE)
    first = operated.encode_texts(["dog", "cat", "bird"])
    assert len(asked) == 3 * 85
    assert torch.equal(operated.encode_texts(["bird", "cat"]), first[[2, 1]])
    assert len(asked) == 3 * 85
    assert torch.equal(operated.encode_texts(["dog"])[0], first[0])
    assert len(asked) == 4 * 85


def test_frames_of_any_side_and_layout_are_resized_as_pillow_does(surgery):
    frame = cv2.GaussianBlur(_frames(1, 100)[0], (0, 0), 3)
    resized = np.asarray(Image.fromarray(frame).resize((48, 48), Image.Resampling.BICUBIC))
    got = surgery._preprocess([frame])[0] * surgery._std + surgery._mean
    assert np.abs(got.permute(1, 2, 0).numpy() * 255 - resized).max() < 1.01  # rounding, of 255 levels
    mirrored = frame[:, ::-1]
    mirrored.flags.writeable = False
    expected = surgery.encode([np.ascontiguousarray(mirrored)])
    torch.testing.assert_close(surgery.encode([mirrored]), expected)


def test_the_side_is_rounded_down_to_whole_patches(tokenizer):
    operated = ClipSurgery(_build(), tokenizer, "random", CPU, image_size=47)
    assert (operated.input_size, operated.grid) == (40, 5)
    assert operated.similarity(_frames(1, 47), ["dog"]).shape == (1, 5, 5)


def test_a_map_is_frozen_knowledge(surgery):
    assert not surgery.model.training
    assert not any(parameter.requires_grad for parameter in surgery.model.parameters())
    assert not surgery.similarity(_frames(1, 48), ["dog"]).requires_grad


def test_the_fingerprint_tells_weights_and_sizes_apart(tokenizer):
    made = [
        ClipSurgery(_build(), tokenizer, name, CPU, size).fingerprint for name in ("a", "b") for size in (32, 39, 40)
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
        ClipSurgery(_build(**vision), tokenizer, "random", CPU, NATIVE)


def test_other_image_towers_are_refused(tokenizer):
    model = _build()
    model.visual = nn.Identity()
    with pytest.raises(OptionError, match="Identity"):
        ClipSurgery(model, tokenizer, "random", CPU, NATIVE)


def test_a_frame_smaller_than_a_patch_is_refused(tokenizer):
    with pytest.raises(OptionError, match=r"image_size=7.*give 8 or more"):
        ClipSurgery(_build(), tokenizer, "random", CPU, image_size=7)


def test_images_and_texts_must_pair_up(surgery):
    with pytest.raises(OptionError, match="2 images came with 1 texts"):
        surgery.similarity(_frames(2, 48), ["dog"])


# Loading.


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    """The name of a small ViT among open_clip's own."""
    path = tmp_path_factory.mktemp("configs") / "ViT-test.json"
    vision = {"image_size": NATIVE, "layers": 7, "width": 32, "head_width": 8, "patch_size": PATCH}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    path.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    return "ViT-test"


@pytest.fixture(scope="module")
def trained(architecture):
    torch.manual_seed(1)
    return _shaken(open_clip.create_model(architecture))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_checkpoint_loads_from_its_path(architecture, trained, tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(trained.state_dict(), path)
    loaded = load_clip(f"{architecture}/{path}", "cpu", image_size=64)
    assert loaded.grid == 8
    assert file_digest(path) in loaded.fingerprint
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    assert loaded.similarity(_frames(1, 64), ["dog"]).shape == (1, 8, 8)


def test_a_path_may_be_relative(architecture, trained, tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    torch.save(trained.state_dict(), tmp_path / "weights" / "clip.pt")
    monkeypatch.chdir(tmp_path)
    assert load_clip(f"{architecture}/weights/clip.pt", "cpu", NATIVE).grid == 4


def test_a_tag_brings_its_activation_and_colours(architecture, trained, tmp_path, monkeypatch):
    path = tmp_path / "clip.pt"
    torch.save(trained.state_dict(), path)
    tag = {"file": str(path), "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, architecture, {"here": tag})
    loaded = load_clip(f"{architecture}/here", "cpu", NATIVE)
    image = _frames(1, NATIVE)[0]
    assert loaded.model.visual.image_mean == tag["mean"]
    expected = _unit(_reference_tokens(loaded.model, image, HEADS, quick_gelu=True))
    np.testing.assert_allclose(loaded.encode([image])[0].numpy(), expected, atol=1e-5)


def test_one_file_is_two_models_by_its_activation(architecture, trained, tmp_path, monkeypatch):
    path = tmp_path / "clip.pt"
    torch.save(trained.state_dict(), path)
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED, architecture, {"quick": {"file": str(path), "quick_gelu": True}}
    )
    names = (f"{architecture}/{path}", f"{architecture}/quick")
    assert len({load_clip(name, "cpu", NATIVE).fingerprint for name in names}) == 2


def test_a_tag_that_cannot_be_fetched_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    address = "https://huggingface.co/timm/vit_base_patch16_clip_224.openai"
    with pytest.raises(WeightsError, match=rf"'ViT-B-16/openai'.*{address} .*give its path: clip=ViT-B-16-quickgelu/"):
        load_clip("ViT-B-16/openai", "cpu")
    with pytest.raises(WeightsError, match="clip=ViT-B-16/PATH"):
        load_clip("ViT-B-16/datacomp_xl_s13b_b90k", "cpu")


@pytest.mark.parametrize(
    ("places", "here"),
    [
        ([], False),
        (["snapshots/1/open_clip_model.safetensors"], True),
        (["snapshots/2/open_clip_model.safetensors"], False),
        (["snapshots/1/open_clip_config.json"], False),
        (["snapshots/1/open_clip_pytorch_model.bin"], False),  # open_clip would ask for the other one first
        (["snapshots/1/open_clip_pytorch_model.bin", ".no_exist/1/open_clip_model.safetensors"], True),
    ],
)
def test_what_need_not_be_downloaded_is_known(places, here, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for place in (*places, "refs/main"):
        file = tmp_path / "models--timm--vit_base_patch16_clip_224.openai" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    assert is_downloaded("ViT-B-16/openai") == here


def test_checkpoints_of_another_model_are_refused(architecture, tmp_path):
    torch.save(_build().state_dict(), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=rf"other\.pt could not be loaded as {architecture}'s weights"):
        load_clip(f"{architecture}/{tmp_path / 'other.pt'}", "cpu")


def test_files_that_are_no_checkpoints_are_refused(architecture, tmp_path):
    (tmp_path / "noise.pt").write_bytes(b"not a checkpoint")
    (tmp_path / "noise.safetensors").write_bytes(b"not a checkpoint")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("noise.pt", "noise.safetensors", "list.pt"):
        with pytest.raises(WeightsError, match=r"state dict of that architecture"):
            load_clip(f"{architecture}/{tmp_path / name}", "cpu")


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file that looks like a TorchScript archive")
def test_torchscript_archives_are_refused_unread(architecture, tmp_path):
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        for record in ("version", "data.pkl", "constants.pkl"):
            archive.writestr(f"script/{record}", b"3\n")
    with pytest.raises(WeightsError, match=r"weights_only=True.* with TorchScript archives"):
        load_clip(f"{architecture}/{tmp_path / 'script.pt'}", "cpu")


class _Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_checkpoint_is_executed(architecture, tmp_path):
    torch.save({"state_dict": _Payload(tmp_path / "executed")}, tmp_path / "clip.pt")
    with pytest.raises(WeightsError):
        load_clip(f"{architecture}/{tmp_path / 'clip.pt'}", "cpu")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["RN50/openai", "convnext_base/laion400m_s13b_b51k", "ViT-B-16-SigLIP/webli"])
def test_towers_that_are_no_vits_are_refused_before_anything_is_downloaded(name):
    with pytest.raises(OptionError, match=rf"{name}.*no open_clip ViT"):
        load_clip(name, "cpu")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("ViT-Z/openai", "no model 'ViT-Z'.*ViT-B-16/openai"),
        ("ViT-B-16/nowhere.pt", r"'nowhere.pt' is neither a pretrained tag of ViT-B-16 \(openai, .*\) nor a file"),
        ("ViT-B-16", "'' is neither a pretrained tag"),
        ("ViT-S-16/x", "it has none"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, problem):
    with pytest.raises(OptionError, match=problem):
        load_clip(name, "cpu")
