"""SAM, SAM-HQ and SAM 2.1 as ``transformers`` saves them: ``config.json`` and ``model.safetensors``.

The configuration says how to build the model, and the tensors get the names that the model's publishers gave them.
``transformers`` is not needed. Where its port departs from the publishers' model, this does not follow: its SAM adds
1e-6 instead of 1e-5 in the layer norms of the decoder's transformer, and its SAM-HQ (5.24) upscales the image tokens
from before that transformer, so its masks differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn

from alignsam_gym.errors import WeightsError, first_line
from alignsam_gym.foundation.sam.build_sam import load_tensors
from alignsam_gym.foundation.sam.sam2 import rename_sam2, sam2_from
from alignsam_gym.foundation.sam.sam_hq import rename_hq, with_hq
from alignsam_gym.weight_files import read_tensors

Config = Mapping[str, Any]
"""What a ``config.json`` holds."""

_Names = Sequence[tuple[str, str]]

_VIT_NAMES: _Names = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.", "image_encoder."),
)
_HQ_NAMES: _Names = (
    (r"\.hq_token\.", ".hf_token."),
    (r"\.hq_mask_mlp\.", ".hf_mlp."),
    *(
        (rf"\.{theirs}_{layer}\.", f".{publishers}.{number}.")
        for theirs, publishers in (
            ("compress_vit", "compress_vit_feat"),
            ("encoder", "embedding_encoder"),
            ("mask", "embedding_maskfeature"),
        )
        for number, layer in ((0, "conv1"), (1, "norm"), (3, "conv2"))
    ),
)
_HIERA_NAMES: _Names = (
    (r"^no_memory_embedding$", "no_mem_embed"),
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^vision_encoder\.neck\.convs\.(\d)\.", r"image_encoder.neck.convs.\1.conv."),
    (r"patch_embed\.projection\.", "patch_embed.proj."),
    (r"\.mlp\.proj_in\.", ".mlp.layers.0."),
    (r"\.mlp\.proj_out\.", ".mlp.layers.1."),
    (r"^(prompt_encoder|mask_decoder)\.", r"sam_\1."),
)
_DECODER_NAMES: _Names = (
    (r"\.layer_norm(?=\d|_final_attn)", ".norm"),
    (r"\.o_proj\.", ".out_proj."),
    (r"shared_embedding\.positional_embedding", "pe_layer.positional_encoding_gaussian_matrix"),
    (r"\.point_embed\.", ".point_embeddings."),
    (r"mask_embed\.conv1\.", "mask_downscaling.0."),
    (r"mask_embed\.(layer_)?norm1\.", "mask_downscaling.1."),
    (r"mask_embed\.conv2\.", "mask_downscaling.3."),
    (r"mask_embed\.(layer_)?norm2\.", "mask_downscaling.4."),
    (r"mask_embed\.conv3\.", "mask_downscaling.6."),
    (r"upscale_conv1\.", "output_upscaling.0."),
    (r"upscale_layer_norm\.", "output_upscaling.1."),
    (r"upscale_conv2\.", "output_upscaling.3."),
    (r"(mlps\.\d|_mlp|_head)\.layers\.0\.", r"\1.layers.1."),
    (r"(mlps\.\d|_mlp|_head)\.proj_in\.", r"\1.layers.0."),
    (r"(mlps\.\d|_mlp|_head)\.proj_out\.", r"\1.layers.2."),
)
_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
_IMAGE_POSITIONS = "shared_image_embedding.positional_embedding"


def read_sam_config(file: Path) -> Config:
    """Read the configuration of a SAM in the format of ``transformers``.

    Args:
        file: Its ``config.json``.

    Raises:
        WeightsError: The file cannot be read, or describes another model than SAM, SAM-HQ or SAM 2.1.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise WeightsError(f"{file} is no configuration of transformers ({first_line(error)}). Fetch it again.") from (
            error
        )
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise WeightsError(
            f"{file} is of no SAM that is known here: its model_type is {kind!r}, and not one of {', '.join(_KINDS)}."
        )
    return dict(config)


def load_transformers_sam(config_file: Path, weights_file: Path) -> Sam:
    """Load a SAM that ``transformers`` has saved.

    Args:
        config_file: Its ``config.json``.
        weights_file: Its ``model.safetensors``.

    Returns:
        The model, float32, on the CPU.

    Raises:
        WeightsError: A file cannot be read, the configuration is of another model or one that is not built here, or the
            tensors do not fit to it.
    """
    config = read_sam_config(config_file)
    kind = _KINDS[config["model_type"]]
    try:
        sam = kind.build(config)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{config_file} describes no SAM that can be built here: {first_line(error)}.") from error
    tensors = kind.rename(published_names(config["model_type"], read_tensors(weights_file)))
    return load_tensors(sam, tensors, weights_file, config["model_type"])


def published_names(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors the names that the model's publishers gave them.

    Args:
        kind: A configuration's ``model_type``.
        tensors: A state dict of ``transformers``.

    Raises:
        WeightsError: Points and image have different positional encodings, which no published model has.
    """
    tensors = dict(tensors)
    image_positions = tensors.pop(_IMAGE_POSITIONS, None)  # the points' own, kept twice or once
    if image_positions is not None and not torch.equal(
        tensors.setdefault(_POSITIONS, image_positions), image_positions
    ):
        raise WeightsError(f"{_POSITIONS} and {_IMAGE_POSITIONS} differ; no published SAM has two encodings.")
    for number, row in enumerate(tensors.pop("prompt_encoder.point_embed.weight", ())):
        tensors[f"prompt_encoder.point_embed.{number}.weight"] = row[None]
    return {_renamed(name, _KINDS[kind].names): tensor for name, tensor in tensors.items()}


def _renamed(name: str, names: _Names) -> str:
    for pattern, new in names:
        name = re.sub(pattern, new, name)
    return name


def _part(config: Config, part: str, **defaults: Any) -> SimpleNamespace:
    """Return options of a part, those that the file leaves out as ``transformers`` has them."""
    for name in part.split("."):
        config = config.get(name) or {}
    return SimpleNamespace(**(defaults | {name: value for name, value in config.items() if value is not None}))


def _require(config: Config, part: str, **options: Any) -> None:
    """Raise ValueError unless options of a part that no tensor's shape shows have the only values that exist here."""
    found = vars(_part(config, part, **options))
    for name, value in options.items():
        if found[name] != value:
            raise ValueError(f"{part}.{name} is {found[name]!r}, and not {value!r}")


def _prompt_encoder_options(config: Config) -> SimpleNamespace:
    part = "prompt_encoder_config"
    _require(config, part, hidden_act="gelu")
    return _part(config, part, hidden_size=256, image_size=1024, patch_size=16, mask_input_channels=16)


def _build_vit_sam(config: Config) -> Sam:
    """Build a SAM without memory for its parameters: all are loaded later."""
    _require(config, "vision_config", hidden_act="gelu")
    _require(config, "mask_decoder_config", hidden_act="relu", iou_head_depth=3)
    vision = _part(
        config,
        "vision_config",
        hidden_size=768,
        output_channels=256,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=1024,
        patch_size=16,
        layer_norm_eps=1e-6,
        qkv_bias=True,
        mlp_ratio=4.0,
        mlp_dim=None,
        use_abs_pos=True,
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(2, 5, 8, 11),
    )
    prompts = _prompt_encoder_options(config)
    decoder = _part(
        config,
        "mask_decoder_config",
        hidden_size=256,
        mlp_dim=2048,
        num_hidden_layers=2,
        num_attention_heads=8,
        attention_downsample_rate=2,
        num_multimask_outputs=3,
        iou_head_hidden_dim=256,
    )
    grid = prompts.image_size // prompts.patch_size
    with torch.device("meta"):
        return Sam(
            ImageEncoderViT(
                img_size=vision.image_size,
                patch_size=vision.patch_size,
                embed_dim=vision.hidden_size,
                depth=vision.num_hidden_layers,
                num_heads=vision.num_attention_heads,
                mlp_ratio=vision.mlp_dim / vision.hidden_size if vision.mlp_dim else vision.mlp_ratio,
                out_chans=vision.output_channels,
                qkv_bias=vision.qkv_bias,
                norm_layer=partial(nn.LayerNorm, eps=vision.layer_norm_eps),
                use_abs_pos=vision.use_abs_pos,
                use_rel_pos=vision.use_rel_pos,
                window_size=vision.window_size,
                global_attn_indexes=tuple(vision.global_attn_indexes),
            ),
            PromptEncoder(
                embed_dim=prompts.hidden_size,
                image_embedding_size=(grid, grid),
                input_image_size=(prompts.image_size, prompts.image_size),
                mask_in_chans=prompts.mask_input_channels,
            ),
            MaskDecoder(
                transformer_dim=decoder.hidden_size,
                transformer=TwoWayTransformer(
                    depth=decoder.num_hidden_layers,
                    embedding_dim=decoder.hidden_size,
                    num_heads=decoder.num_attention_heads,
                    mlp_dim=decoder.mlp_dim,
                    attention_downsample_rate=decoder.attention_downsample_rate,
                ),
                num_multimask_outputs=decoder.num_multimask_outputs,
                iou_head_hidden_dim=decoder.iou_head_hidden_dim,
            ),
        )


def _build_hq(config: Config) -> Sam:
    with torch.device("meta"):
        return with_hq(_build_vit_sam(config))


def _build_hiera_sam(config: Config) -> Sam:
    from timm.models.hieradet_sam2 import HieraDet  # takes seconds, and few models need it

    part = "vision_config.backbone_config"
    backbone = _part(
        config,
        part,
        hidden_size=96,
        num_attention_heads=1,
        blocks_per_stage=(1, 2, 7, 2),
        window_positional_embedding_background_size=(7, 7),
        window_size_per_stage=(8, 4, 14, 7),
        global_attention_blocks=(5, 7, 9),
    )
    _require(
        config,
        part,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        patch_stride=[4, 4],
        patch_padding=[3, 3],
        query_stride=[2, 2],
        num_query_pool_stages=3,
        num_attention_heads_per_stage=[backbone.num_attention_heads * 2**stage for stage in range(4)],
    )
    _require(config, "vision_config", fpn_top_down_levels=[2, 3], num_feature_levels=3)
    _require(
        config,
        "mask_decoder_config",
        hidden_act="gelu",
        num_attention_heads=8,
        iou_head_depth=3,
        dynamic_multimask_via_stability=True,
        dynamic_multimask_stability_delta=0.05,
        dynamic_multimask_stability_thresh=0.98,
    )
    trunk = HieraDet(
        embed_dim=backbone.hidden_size,
        num_heads=backbone.num_attention_heads,
        stages=tuple(backbone.blocks_per_stage),
        global_pos_size=tuple(backbone.window_positional_embedding_background_size),
        window_spec=tuple(backbone.window_size_per_stage),
        global_att_blocks=tuple(backbone.global_attention_blocks),
        weight_init="skip",
    )
    prompts = _prompt_encoder_options(config)
    return sam2_from(trunk, prompts.image_size, prompts.hidden_size)


@dataclass(frozen=True)
class _Kind:
    """How to make a model of one ``model_type``.

    Attributes:
        build: Builds it from its configuration.
        names: How its names of ``transformers`` become the publishers', one pattern after the other.
        rename: Turns the publishers' names into those that are built here.
    """

    build: Callable[[Config], Sam]
    names: _Names
    rename: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


_HIERA = _Kind(_build_hiera_sam, (*_HIERA_NAMES, *_DECODER_NAMES), rename_sam2)
_KINDS = {
    "sam": _Kind(_build_vit_sam, (*_VIT_NAMES, *_DECODER_NAMES), dict),
    "sam_hq": _Kind(_build_hq, (*_VIT_NAMES, *_HQ_NAMES, *_DECODER_NAMES), rename_hq),
    "sam2": _HIERA,
    "sam2_video": _HIERA,
}
