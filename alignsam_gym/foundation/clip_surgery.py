"""CLIP Surgery on ``open_clip``: finds where a text is in an image, without training (Li et al., arXiv 2304.05653).

Architecture surgery. In the last six blocks of the ViT a second path runs beside the original one, which is left as it
is. Both start from the same tokens. Then each block does, for each head, with x the original path's tokens before the
block,

    x̂ ← x̂ + proj(softmax(v vᵀ / √d) v),    v = the value projection of LN₁(x),    d = the width of a head

So the values replace the queries and keys, and there is no feed-forward layer. The patch tokens are taken from x̂, the
class token from x. Both go through the final layer norm and the projection.

Feature surgery. The similarity to the empty text is subtracted (`single_text_surgery`).

**[ours]** Where the paper and its code differ or are silent: every token is brought to unit length over its features
(the authors' first demo did it over the tokens, which they call a mistake in their issue 35); a map that is the same
everywhere is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import open_clip
import torch
from huggingface_hub import try_to_load_from_cache  # which open_clip needs
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.transformer import VisionTransformer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.errors import OptionError, WeightsError, first_line
from alignsam_gym.foundation.clip_model import ClipModel
from alignsam_gym.foundation.sam.official_checkpoints import file_digest
from alignsam_gym.foundation.tiny.tiny_backbone import normalised
from alignsam_gym.weight_files import check_finite, read_tensors, without_common_prefix

DUAL_BLOCKS = 6
"""The number of blocks, counted from the last, that have the second path. A ViT with fewer blocks has it in all."""

IMAGE_SIZE = 512
"""Side to which frames are resized by default, in pixels."""


class ClipSurgery(ClipModel):
    """CLIP Surgery on a frozen ``open_clip`` ViT.

    Args:
        model: An ``open_clip.CLIP`` or ``CustomTextCLIP`` with a class token. It is moved to `device` and frozen.
        tokenizer: As `ClipModel` has it.
        fingerprint: As `ClipModel` has it.
        device: As `ClipModel` has it.
        image_size: Side to which frames are resized, in pixels. It is rounded down to whole patches, so that the map
            covers the whole frame.

    Raises:
        OptionError: The model lacks a part that the surgery needs, or `image_size` is below one patch.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], Tensor],
        fingerprint: str,
        device: torch.device,
        image_size: int = IMAGE_SIZE,
    ) -> None:
        _check_operable(model)
        patch = model.visual.patch_size[0]
        if image_size < patch:
            raise OptionError(f"image_size={image_size} is less than one patch of this CLIP; give {patch} or more.")
        grid = image_size // patch
        super().__init__(model, tokenizer, fingerprint, device, grid * patch, grid, model.visual.proj.shape[1])
        self._positions = _positional_embedding(model.visual, grid)
        self._mean = torch.tensor(model.visual.image_mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(model.visual.image_std, device=device).view(3, 1, 1)

    @torch.no_grad()
    def encode(self, images: Sequence[np.ndarray]) -> Tensor:
        """Encode images.

        Args:
            images: B square frames of any side, uint8 (S, S, 3), RGB.

        Returns:
            Tokens of unit length, float32 (B, 1 + grid², D): the class token, then the patches, row by row.
        """
        return self._tokens(self._resize(images))

    def dense_from_pixels(self, pixels: Tensor) -> Tensor:
        """Describe cells by their tokens, normalised over the channels."""
        tokens = self._tokens(pixels)[:, 1:].transpose(1, 2)
        return normalised(tokens.unflatten(2, (self.grid, self.grid)))

    def _tokens(self, pixels: Tensor) -> Tensor:
        pixels = (pixels / 255 - self._mean) / self._std
        return F.normalize(dual_path(self.model.visual, pixels, self._positions), dim=-1)


def dual_path(visual: VisionTransformer, pixels: Tensor, positions: Tensor) -> Tensor:
    """Run both paths through a ViT.

    Args:
        visual: The image tower of a CLIP.
        pixels: float32 (B, 3, H, W), normalised.
        positions: float32 (1 + N, C), the positional embedding for H × W pixels.

    Returns:
        Projected tokens, float32 (B, 1 + N, D): the original path's class token, then the second path's patches.
    """
    patches = visual.conv1(pixels).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(patches), 1, -1)
    original = visual.ln_pre(torch.cat([first, patches], dim=1) + positions)
    blocks = visual.transformer.resblocks
    for block in blocks[:-DUAL_BLOCKS]:
        original = _original_path(visual, block, original)
    surgical = original
    for block in blocks[-DUAL_BLOCKS:]:
        surgical = surgical + block.ls_1(_value_attention(block.attn, block.ln_1(original)))
        original = _original_path(visual, block, original)
    tokens = torch.cat([original[:, :1], surgical[:, 1:]], dim=1)
    return cast(Tensor, visual.ln_post(tokens) @ visual.proj)


def load_open_clip(name: str, device: torch.device, image_size: int = IMAGE_SIZE) -> ClipSurgery:
    """Load a ViT of ``open_clip`` by its name.

    Args:
        name: As for `clip_loading.load_clip`.
        device: Of the model.
        image_size: As for `ClipSurgery`.

    Raises:
        OptionError: The name, model or size cannot be used.
        WeightsError: The weights cannot be downloaded or read, or are another model's.
    """
    architecture, _, source = name.partition("/")
    _check_architecture(name, architecture)
    tag = open_clip.get_pretrained_cfg(architecture, source)
    path = _download(name, architecture, tag) if tag else Path(source).expanduser()
    if not path.is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "it has none"
        raise OptionError(
            f"clip={name!r}: {source!r} is neither a pretrained tag of {architecture} ({tags}) nor a file."
        )
    model, tokenizer = _read_model(name, architecture, tag, path)
    # With another activation or colour normalisation, the same file is another model.
    kind = (architecture, tag.get("quick_gelu", False), model.visual.image_mean, model.visual.image_std)
    return ClipSurgery(model, tokenizer, f"{kind}|{file_digest(path)}", device, image_size)


def is_downloaded(name: str) -> bool:
    """Tell whether open_clip's cache has the weights that `load_open_clip` needs for ``ARCHITECTURE/TAG``."""
    architecture, _, tag = name.partition("/")
    repository = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "").rpartition("/")[0]
    if not repository:
        return False
    for file in (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME):  # in open_clip's order
        found = try_to_load_from_cache(repository, file)
        if found is None or isinstance(found, str):  # else the cache says that the repository has no such file
            return found is not None
    return False


def _check_architecture(name: str, architecture: str) -> None:
    """Raise OptionError for a model that open_clip does not have, or whose image tower is not its ViT."""
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise OptionError(
            f"clip={name!r}: open_clip has no model {architecture!r}; choose one of open_clip.list_models(), for "
            "example clip=ViT-B-16/openai, or clip=tiny, the embedded one."
        )
    if not isinstance(config["vision_cfg"].get("layers"), int):
        raise OptionError(f"clip={name!r}: {architecture} is no open_clip ViT; choose one, such as ViT-B-16/openai.")


def _read_model(name: str, architecture: str, tag: dict[str, Any], path: Path) -> tuple[Any, Any]:
    """Build a model with the weights of a file, and its tokenizer."""
    try:
        with TemporaryDirectory() as folder:
            model = open_clip.create_model(
                architecture,
                pretrained=str(path if tag else _plain_file(path, Path(folder))),
                force_quick_gelu=tag.get("quick_gelu", False),
                force_preprocess_cfg=tag,
                weights_only=True,
            )
        tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # open_clip goes on with a file that is no checkpoint until any error at all occurs
        raise WeightsError(
            f"clip={name!r}: {path} could not be loaded as {architecture}'s weights "
            f"({first_line(error)}); give a safetensors file or a state dict of that architecture. "
            "TorchScript archives, which OpenAI's own .pt files are, are not read."
        ) from error
    check_finite(path, dict(model.named_parameters()))
    return model, tokenizer


def _plain_file(path: Path, folder: Path) -> Path:
    """Write a user's state dict into a folder, without what a training script saved with it or put before its names.

    open_clip reads ``{"state_dict": …}`` and ``module.`` itself, but neither ``{"model": …}`` nor other prefixes.
    """
    tensors = without_common_prefix(read_tensors(path))
    plain = folder / "clip.safetensors"
    save_file({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}, plain)
    return plain


def _download(name: str, architecture: str, tag: dict[str, Any]) -> Path:
    """Return the file of a pretrained tag, from open_clip's cache or the network."""
    try:
        return Path(open_clip.download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        address = f"https://huggingface.co/{tag['hf_hub'].rpartition('/')[0]}" if tag.get("hf_hub") else tag["url"]
        if tag.get("quick_gelu") and not architecture.endswith("-quickgelu"):
            architecture += "-quickgelu"
        raise WeightsError(
            f"clip={name!r}: the weights are not in open_clip's cache and could not be downloaded from {address} "
            f"({error}). Fetch the checkpoint from there where there is a network, and give its path: "
            f"clip={architecture}/PATH (a training's key is env.clip=, an option of predict --clip)."
        ) from error


def _check_operable(model: Any) -> None:
    """Raise OptionError for a model without the parts that the surgery needs."""
    visual = model.visual
    if not isinstance(visual, VisionTransformer):
        problem = f"its image tower is a {type(visual).__name__}, not open_clip's VisionTransformer"
    elif visual.attn_pool is not None or visual.pool_type != "tok":
        problem = "its image feature is not its class token"
    elif not all(isinstance(block.attn, nn.MultiheadAttention) for block in visual.transformer.resblocks):
        problem = "its attention is not the plain multi-head attention"
    else:
        return
    raise OptionError(
        f"CLIP Surgery cannot be done on this model: {problem}; use a plain ViT, such as ViT-B-16/openai."
    )


def _positional_embedding(visual: VisionTransformer, grid: int) -> Tensor:
    """Resize the positional embedding to another grid: (1 + grid², C)."""
    embedding = visual.positional_embedding
    native = embedding[1:].T.unflatten(1, visual.grid_size)
    resized = F.interpolate(native[None], (grid, grid), mode="bilinear")[0]
    return torch.cat([embedding[:1], resized.flatten(1).T])


def _original_path(visual: VisionTransformer, block: nn.Module, x: Tensor) -> Tensor:
    """Run a block unchanged, (B, N, C) → (B, N, C); some versions of open_clip have the batch second inside."""
    if visual.transformer.batch_first:
        return cast(Tensor, block(x))
    return cast(Tensor, block(x.transpose(0, 1)).transpose(0, 1))


def _value_attention(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Run self-attention, (B, N, C) → (B, N, C), in which the values replace the queries and the keys."""
    weight, bias = attention.in_proj_weight.chunk(3)[2], attention.in_proj_bias.chunk(3)[2]
    values = F.linear(x, weight, bias).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(values, values, values)  # scaled by 1 / √d, as the original path is
    return cast(Tensor, attention.out_proj(mixed.transpose(1, 2).flatten(2)))
