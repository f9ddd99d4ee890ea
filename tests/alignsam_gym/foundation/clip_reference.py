"""CLIP Surgery as a plain reference: float64 NumPy on the raw weights, one head and one token at a time."""

import math

import numpy as np
import open_clip
import torch

from alignsam_gym.foundation.clip_model import prompt_templates

NATIVE, PATCH, LAYERS, HEADS = 32, 8, 8, 4


def build_clip(quick_gelu=False, **vision):
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
    return shaken(model)


def shaken(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def frames(count, side, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


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


def reference_tokens(model, image, heads, quick_gelu):
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


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def reference_text(model, tokenizer, text):
    """The mean of the prompts' features, float64 (D), prompt by prompt."""
    features = [model.encode_text(tokenizer([template(text)]))[0].double().numpy() for template in prompt_templates()]
    return unit(np.mean([unit(feature) for feature in features], axis=0))


def reference_map(answers, grid):
    answers = (answers - answers.min()) / (answers.max() - answers.min())
    return answers.reshape(grid, grid)
