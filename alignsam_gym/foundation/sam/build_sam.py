"""Builds the SAM whose tensors a checkpoint file holds.

`alignsam_gym.foundation.sam.predictor.load_sam` does this for a name or a path, and makes the model ready for use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

import torch
from segment_anything.build_sam import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor

from alignsam_gym.errors import WeightsError
from alignsam_gym.foundation.sam.mobile_sam import build_mobile_sam, rename_mobile
from alignsam_gym.foundation.sam.sam2 import build_sam2, rename_sam2
from alignsam_gym.foundation.sam.sam_hq import build_hq_sam, rename_hq
from alignsam_gym.foundation.tiny.tiny_sam import build_tiny_sam
from alignsam_gym.weight_files import read_tensors, without_common_prefix

_VIT_BY_WIDTH: dict[tuple[int, ...], str] = {(768,): "vit_b", (1024,): "vit_l", (1280,): "vit_h"}

_HIERA_BY_WIDTH_AND_BLOCKS: dict[tuple[int, ...], str] = {
    (96, 12): "tiny",
    (96, 16): "small",
    (112, 24): "base_plus",
    (144, 48): "large",
}


def load_sam_checkpoint(path: Path) -> Sam:
    """Load a SAM, MobileSAM, SAM-HQ, SAM 2.1 or the embedded SAM; which of them the tensors' names tell.

    Args:
        path: A file that `read_tensors` takes. Its tensors may have a prefix in front of the published names.

    Returns:
        The model, float32, on the CPU.

    Raises:
        WeightsError: The file is torn, is refused, does not hold exactly the tensors of a known architecture, or holds
            NaN or infinite ones.
    """
    tensors = read_tensors(path)
    kind = recognise(tensors)
    if kind is None:
        tensors = without_common_prefix(tensors)
        kind = recognise(tensors)
    if kind is None:
        raise WeightsError(
            f"{path} holds {len(tensors)} tensors, but not those of a SAM that is known here: {', '.join(_KINDS)}."
        )
    build, rename = _KINDS[kind]
    return load_tensors(build(), rename(tensors), path, kind)


def load_tensors(sam: Sam, tensors: Mapping[str, Tensor], path: Path, kind: str) -> Sam:
    """Load tensors into an untrained model.

    Args:
        sam: The model, perhaps without memory for its parameters.
        tensors: Under the names that the model's own state dict has.
        path: Their file, for the message.
        kind: What the model is called, for the message.

    Returns:
        The model, float32.

    Raises:
        WeightsError: They are not exactly the model's tensors.
    """
    _check_fit(path, kind, tensors, sam.state_dict())
    # A model that was built without memory takes the tensors themselves.
    sam.load_state_dict(tensors, assign=next(sam.parameters()).is_meta)
    return sam.float()


def recognise(tensors: Mapping[str, Tensor]) -> str | None:
    """Tell the architecture that published tensors belong to.

    Args:
        tensors: A state dict, with the names that its publisher gave.

    Returns:
        The name that `load_sam` has for the architecture, such as ``vit_b``, or None if it is not a known SAM.
    """
    if "image_encoder.pos_embed" in tensors:
        vit = _VIT_BY_WIDTH.get(tensors["image_encoder.pos_embed"].shape[-1:])
        return f"sam_hq_{vit}" if vit and "mask_decoder.hf_token.weight" in tensors else vit
    if "image_encoder.trunk.pos_embed" in tensors:
        width = tensors["image_encoder.trunk.pos_embed"].shape[1:2]
        matches = (re.match(r"image_encoder\.trunk\.blocks\.(\d+)\.", name) for name in tensors)
        blocks = {match[1] for match in matches if match}
        size = _HIERA_BY_WIDTH_AND_BLOCKS.get((*width, len(blocks)))
        return f"sam2.1_hiera_{size}" if size else None
    if "image_encoder.patch_embed.seq.0.c.weight" in tensors:
        return "vit_t"
    return "tiny" if "image_encoder.detail.stages.0.0.weight" in tensors else None


def _check_fit(path: Path, kind: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    reshaped = [name for name in found.keys() & expected.keys() if found[name].shape != expected[name].shape]
    differences = {
        "lacks": expected.keys() - found.keys(),
        "has besides": found.keys() - expected.keys(),
        "has in another shape": reshaped,
    }
    if any(differences.values()):
        what = "; ".join(f"it {verb} {_listed(names)}" for verb, names in differences.items() if names)
        raise WeightsError(f"{path} looks like {kind}, but {what}.")


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _build_vit(kind: str) -> Sam:
    """Build a SAM without memory for its parameters: to initialise them takes seconds, and all are loaded later."""
    with torch.device("meta"):
        sam: Sam = sam_model_registry[kind]()
    return sam


_KINDS: dict[str, tuple[Callable[[], Sam], Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]]] = {
    **{vit: (partial(_build_vit, vit), dict) for vit in _VIT_BY_WIDTH.values()},
    "vit_t": (build_mobile_sam, rename_mobile),
    **{f"sam_hq_{vit}": (partial(build_hq_sam, vit), rename_hq) for vit in _VIT_BY_WIDTH.values()},
    **{
        f"sam2.1_hiera_{size}": (partial(build_sam2, size), rename_sam2) for size in _HIERA_BY_WIDTH_AND_BLOCKS.values()
    },
    "tiny": (build_tiny_sam, dict),
}
"""For each architecture, how to build it untrained, and how to rename published tensors to the names it uses."""
