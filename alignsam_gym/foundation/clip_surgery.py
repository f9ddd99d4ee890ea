"""CLIP Surgery on ``open_clip``: where in an image a text is, without training (Li et al., arXiv 2304.05653).

Architecture surgery. In the last six blocks of the ViT a second path runs beside the original one, which is not
touched. At the first of them both are the same; then, with x the original path's tokens before the block,

    x̂ ← x̂ + proj(softmax(v vᵀ / √d) v),    v = the value projection of LN₁(x),    d = the width of a head

for each head: queries and keys are replaced by the values, and there is no feed-forward layer. Patch tokens are
taken from x̂, the class token from x; both go through the final layer norm and the projection.

Feature surgery. What an image answers to every text alike is taken away: its answer to the empty prompt.

**[ours]** Where the paper and its code differ or are silent: every token is brought to unit length over its
features (the authors' first demo did it over the tokens, which they call a mistake in their issue 35); a map that
is the same everywhere is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from huggingface_hub import try_to_load_from_cache  # which open_clip needs
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.errors import OptionError, WeightsError
from alignsam_gym.foundation.sam import resolve_device
from alignsam_gym.foundation.tiny import clip as tiny_clip
from alignsam_gym.foundation.tiny.backbone import PIXEL_MEAN, PIXEL_STD
from alignsam_gym.foundation.tiny.clip import GRID, TinyClip, TinyTokenizer
from alignsam_gym.foundation.tiny.model import INPUT_SIZE
from alignsam_gym.foundation.weights import file_digest

PREPROCESSING = 2
"""Version of what `ClipSurgery` does to an image and a text; part of every cached map's key."""

DUAL_BLOCKS = 6
"""How many blocks, counted from the last, have the second path. A ViT with fewer has it in all."""

TEMPLATES: tuple[Callable[[str], str], ...] = (
    *open_clip.OPENAI_IMAGENET_TEMPLATES,
    lambda text: f"there is a {text} in the scene.",
    lambda text: f"there is the {text} in the scene.",
    lambda text: f"this is a {text} in the scene.",
    lambda text: f"this is the {text} in the scene.",
    lambda text: f"this is one {text} in the scene.",
)
"""CLIP Surgery's 85 prompts: the 80 of CLIP for ImageNet, and 5 that speak of a scene."""

_MOST_TEXTS = 1024  # whose features are kept, some kilobytes each: a page's visitors never run out of texts


class TextMaps:
    """A frozen CLIP, on one device, that answers where in an image a text is. A subclass says how it looks at images.

    model: its `encode_text` is asked. tokenizer: that model's, texts → int (n, L). fingerprint: identifies weights and
    preprocessing. input_size: side of the frames it looks at. The maps have `grid` × `grid` cells.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], Tensor],
        fingerprint: str,
        device: torch.device,
        input_size: int,
        grid: int,
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.device = device
        self.input_size, self.grid = input_size, grid
        self.fingerprint = f"{fingerprint}-{PREPROCESSING}-{input_size}"
        self._remembered = lru_cache(_MOST_TEXTS)(self._encode_text)

    def similarity(self, images: Sequence[np.ndarray], texts: Sequence[str]) -> Tensor:
        """Where each image's own text is: float32 (B, grid, grid) in [0, 1], lowest cell 0, highest 1.

        images: B square frames, uint8 (S, S, 3) RGB each. texts: B of them. Raises OptionError if they do not pair up.
        """
        if len(images) != len(texts):
            raise OptionError(f"{len(images)} images came with {len(texts)} texts; give one text for each image.")
        answers = single_text_surgery(self.encode(images), self.encode_texts(texts), self.encode_texts([""])[0])
        return self._to_map(answers[:, 1:])

    def encode(self, images: Sequence[np.ndarray]) -> Tensor:
        """Tokens of square frames, uint8 (S, S, 3) RGB each: float32 (B, 1 + grid², D) of unit length.

        The whole image's comes first, then the cells', row by row.
        """
        raise NotImplementedError

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of K texts, float32 (K, D) of unit length: each the mean over `TEMPLATES`. The latest are kept."""
        return torch.stack([self._remembered(text) for text in texts])

    def _encode_text(self, text: str) -> Tensor:
        prompts = self.tokenizer([template(text) for template in TEMPLATES]).to(self.device)
        return F.normalize(self.model.encode_text(prompts, normalize=True).mean(dim=0), dim=-1)

    def _resized(self, images: Sequence[np.ndarray]) -> Tensor:
        """Frames at the size that the model looks at, float32 (B, 3, size, size) in [0, 255]."""
        size = (self.input_size, self.input_size)
        resized = [
            F.interpolate(torch.from_numpy(image.copy()).permute(2, 0, 1)[None], size, mode="bicubic", antialias=True)
            for image in images
        ]
        return torch.cat(resized).to(self.device).float()

    def _to_map(self, answers: Tensor) -> Tensor:
        """(…, grid²) → (…, grid, grid), the lowest cell of each map 0 and the highest 1."""
        low, high = answers.aminmax(dim=-1, keepdim=True)
        spread = (high - low).clamp_min(torch.finfo(answers.dtype).tiny)
        return ((answers - low) / spread).unflatten(-1, (self.grid, self.grid))


class ClipSurgery(TextMaps):
    """CLIP Surgery on an ``open_clip`` ViT.

    model: ``open_clip.CLIP`` or ``CustomTextCLIP`` with a class token. fingerprint: identifies its weights.
    image_size: side of the frames it looks at; rounded down to whole patches, so that the map covers the whole frame.

    Raises OptionError for a model without the parts that the surgery needs, and for a side below one patch.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Callable[[list[str]], Tensor],
        fingerprint: str,
        device: torch.device,
        image_size: int = 512,
    ) -> None:
        _check_operable(model)
        patch = model.visual.patch_size[0]
        if image_size < patch:
            raise OptionError(f"image_size={image_size} is less than one patch of this CLIP; give {patch} or more.")
        grid = image_size // patch
        super().__init__(model, tokenizer, fingerprint, device, grid * patch, grid)
        self._positions = _positional_embedding(model.visual, self.grid)
        self._mean = torch.tensor(model.visual.image_mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(model.visual.image_std, device=device).view(3, 1, 1)

    @torch.no_grad()
    def encode(self, images: Sequence[np.ndarray]) -> Tensor:
        """As `TextMaps.encode`: the class token, then the patches."""
        pixels = (self._resized(images) / 255 - self._mean) / self._std
        return F.normalize(dual_path(self.model.visual, pixels, self._positions), dim=-1)


class EmbeddedClip(TextMaps):
    """The embedded CLIP, whose image tower is made for maps and needs no surgery."""

    def __init__(self, model: TinyClip, fingerprint: str, device: torch.device) -> None:
        super().__init__(model, TinyTokenizer(), fingerprint, device, INPUT_SIZE, GRID)

    @torch.no_grad()
    def encode(self, images: Sequence[np.ndarray]) -> Tensor:
        return self.model.encode_image((self._resized(images) - PIXEL_MEAN) / PIXEL_STD)


def single_text_surgery(image_features: Tensor, text_features: Tensor, redundant_features: Tensor) -> Tensor:
    """What each token answers to its image's text and not to the empty one.

    image_features: (B, N, D). text_features: (B, D). redundant_features: (D), the empty text's.
    Returns cosine differences, (B, N).
    """
    return torch.einsum("bnd,bd->bn", image_features, text_features - redundant_features)


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (…, h, w) in [0, 1] to another size (H, W), bilinearly, averaged where it is smaller: in [0, 1] too."""
    resized = F.interpolate(maps.reshape(-1, 1, *maps.shape[-2:]), size, mode="bilinear", antialias=True)
    return resized.clamp(0, 1).reshape(*maps.shape[:-2], *size)


def load_clip(name: str, device: str | torch.device = "auto", image_size: int | None = None) -> TextMaps:
    """The embedded CLIP, called ``tiny``, or the ``open_clip`` ViT called ``ARCHITECTURE/WEIGHTS``.

    image_size: side of the frames that it looks at; by default 512, and the only size of the embedded CLIP, 256.

    What follows the first slash is a pretrained tag, downloaded once by ``open_clip`` into its own cache, or the
    path of a checkpoint: ``ViT-B-16/openai``, ``ViT-B-16-quickgelu/weights/clip.safetensors``,
    ``ViT-L-14//home/me/clip.pt``. A tag brings its activation and its colour normalisation along; a file has those
    of the architecture, so OpenAI's weights need one that ends in ``-quickgelu``. Nothing in a file is executed.

    Raises OptionError for a name, model, device or size that cannot be used; WeightsError for weights that cannot
    be had or are not that model's.
    """
    if name == "tiny":
        return _load_tiny(resolve_device(device), image_size)
    architecture, _, source = name.partition("/")
    config = open_clip.get_model_config(architecture)
    if config is None:
        raise OptionError(
            f"clip={name!r}: open_clip has no model {architecture!r}; choose one of open_clip.list_models(), for "
            "example clip=ViT-B-16/openai, or clip=tiny, the embedded one."
        )
    if not isinstance(config["vision_cfg"].get("layers"), int):  # seen before anything is downloaded
        raise OptionError(f"clip={name!r}: {architecture} is no open_clip ViT; choose one, such as ViT-B-16/openai.")
    resolved = resolve_device(device)
    tag = open_clip.get_pretrained_cfg(architecture, source)
    path = _download(name, architecture, tag) if tag else Path(source).expanduser()
    if not path.is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "it has none"
        raise OptionError(
            f"clip={name!r}: {source!r} is neither a pretrained tag of {architecture} ({tags}) nor a file."
        )
    try:
        model = open_clip.create_model(
            architecture,
            pretrained=str(path),
            force_quick_gelu=tag.get("quick_gelu", False),
            force_preprocess_cfg=tag,
            weights_only=True,
        )
        tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # open_clip reads a file that is no checkpoint until something, anything, breaks
        raise WeightsError(
            f"clip={name!r}: {path} could not be loaded as {architecture}'s weights "
            f"({str(error).splitlines()[0]}); give a safetensors file or a state dict of that architecture. "
            "TorchScript archives, which OpenAI's own .pt files are, are not read."
        ) from error
    # One file is another model with another activation or normalisation.
    kind = (architecture, tag.get("quick_gelu", False), model.visual.image_mean, model.visual.image_std)
    return ClipSurgery(model, tokenizer, f"{kind}|{file_digest(path)}", resolved, image_size or 512)


def is_downloaded(name: str) -> bool:
    """Whether `load_clip` would find the weights of a pretrained tag, ``ARCHITECTURE/TAG``, in open_clip's cache."""
    architecture, _, tag = name.partition("/")
    repository = open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub", "").rpartition("/")[0]
    if not repository:
        return False
    for file in (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME):  # as open_clip asks for them
        found = try_to_load_from_cache(repository, file)
        if found is None or isinstance(found, str):  # else it was asked for, and there is none
            return found is not None
    return False


def _load_tiny(device: torch.device, image_size: int | None) -> EmbeddedClip:
    if image_size not in (None, INPUT_SIZE):
        raise OptionError(f"image_size={image_size}: clip='tiny' looks at {INPUT_SIZE} pixels a side only.")
    # The file names the backbone that it goes with, so its digest tells that apart too.
    return EmbeddedClip(tiny_clip.load_tiny_clip(), file_digest(tiny_clip.WEIGHTS), device)


def _download(name: str, architecture: str, tag: dict[str, Any]) -> Path:
    """The file of a pretrained tag, from open_clip's cache or the network. Raises WeightsError."""
    try:
        return Path(open_clip.download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        address = f"https://huggingface.co/{tag['hf_hub'].rpartition('/')[0]}" if tag.get("hf_hub") else tag["url"]
        if tag.get("quick_gelu") and not architecture.endswith("-quickgelu"):
            architecture += "-quickgelu"
        raise WeightsError(
            f"clip={name!r}: the weights are not in open_clip's cache and could not be downloaded from {address} "
            f"({error}). Fetch the checkpoint from there where there is a network, and give its path: "
            f"clip={architecture}/PATH."
        ) from error


def _check_operable(model: Any) -> None:
    """Raises OptionError for a model that lacks what the surgery operates on."""
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
    """The positional embedding (1 + grid², C) for a grid of another size than the native one."""
    embedding = visual.positional_embedding
    native = embedding[1:].T.unflatten(1, visual.grid_size)
    resized = F.interpolate(native[None], (grid, grid), mode="bilinear")[0]
    return torch.cat([embedding[:1], resized.flatten(1).T])


def dual_path(visual: VisionTransformer, pixels: Tensor, positions: Tensor) -> Tensor:
    """Both paths through the ViT: projected tokens (B, 1 + N, D), the class token of the original, patches of the new.

    pixels: float32 (B, 3, H, W), normalised. positions: (1 + N, C).
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
    return visual.ln_post(torch.cat([original[:, :1], surgical[:, 1:]], dim=1)) @ visual.proj


def _original_path(visual: VisionTransformer, block: nn.Module, x: Tensor) -> Tensor:
    """One block as it is, (B, N, C) → (B, N, C); some versions of open_clip have the batch second inside."""
    return block(x) if visual.transformer.batch_first else block(x.transpose(0, 1)).transpose(0, 1)


def _value_attention(attention: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Self-attention (B, N, C) → (B, N, C) in which the values are the queries and the keys too."""
    weight, bias = attention.in_proj_weight.chunk(3)[2], attention.in_proj_bias.chunk(3)[2]
    values = F.linear(x, weight, bias).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(values, values, values)  # scaled by 1 / √d, as the original path is
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))
