"""A beginning for the embedded CLIP: a text tower that knows ImageNet's nouns, and ImageNet's own image features.

    python -m experiments.pretraining.text <words.safetensors> <output.safetensors>

The rows of ImageNet's classifier, in the space of their 256 principal components, are what the 1,000 classes look like.
What any other noun looks like is a mixture of them, by how near a sentence encoder finds noun and classes
(`experiments.pretraining.words`). The text tower learns these mixtures from the nouns in CLIP Surgery's templates.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.foundation.clip_surgery import TEMPLATES
from alignsam_gym.foundation.tiny.clip import DIM, TextTower, TinyClip, TinyTokenizer, build_tiny_clip, save_tiny_clip
from experiments.pretraining.backbone import fold, published
from experiments.pretraining.optimise import one_cycle
from experiments.pretraining.words import kinds

_DEFINED = 0.15  # how often a definition is read instead of a name
_IN_TEMPLATE = 0.8  # how often a name stands in a template


def appearances(classifier: nn.Linear) -> tuple[Tensor, Tensor]:
    """What the classes look like, (1000, 256) of unit length, and the components (256, 1280) that this is said in."""
    rows = classifier.weight.detach()
    rows = rows - rows.mean(0)
    components = torch.linalg.svd(rows, full_matrices=False).Vh[:DIM]
    return F.normalize(rows @ components.T, dim=1), components


def mixed(meanings: Tensor, classes: Tensor, looks: Tensor, sharpness: float) -> Tensor:
    """What nouns look like, (n, 256) of unit length: mixtures of the classes' `looks`, by likeness of meanings."""
    shares = (sharpness * meanings @ classes.T).softmax(1)
    return F.normalize(shares @ looks, dim=1)


def left_out_likeness(classes: Tensor, looks: Tensor, sharpness: float) -> float:
    """Mean cosine of what a class looks like with what the others say that it does."""
    likeness = (sharpness * classes @ classes.T).fill_diagonal_(-torch.inf)
    return float(F.cosine_similarity(likeness.softmax(1) @ looks, looks).mean())


def train_tower(
    tower: TextTower, names: list[str], looks: Tensor, sentences: list[str], sentence_looks: Tensor, steps: int
) -> None:
    """Let the tower's features of names in random templates, and of definitions, be what they look like."""
    tokenizer = TinyTokenizer()
    defined, named = tokenizer(sentences), tokenizer(names)
    # The tower does not see order, so a template may stand before the name, without its end.
    around = [words[None, : int((words != 0).sum()) - 1] for words in tokenizer([each("") for each in TEMPLATES])]
    begin_tower(tower, named, looks)
    adam = torch.optim.Adam(tower.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: one_cycle(step, 50, steps))
    for step in range(steps):
        if torch.rand(()) < _DEFINED:
            rows = torch.randint(len(defined), (512,))
            tokens, target = defined[rows], sentence_looks[rows]
        else:
            rows = torch.randint(len(named), (512,))
            tokens, target = named[rows], looks[rows]
            if torch.rand(()) < _IN_TEMPLATE:
                tokens = torch.cat([around[step % len(around)].expand(len(rows), -1), tokens], 1)
        loss = 1 - F.cosine_similarity(tower(tokens), target).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        schedule.step()
        if step % 100 == 0:
            typer.echo(f"step {step}  loss {loss.item():.3f}", err=True)


@torch.no_grad()
def begin_tower(tower: TextTower, named: Tensor, looks: Tensor) -> None:
    """Let a token mean what the names with it look like on average, and weigh the less the more names have it.

    named: int64 (n, 32), the names' tokens. looks: float (n, 256).
    """
    width = tower.meanings.embedding_dim
    components = torch.linalg.svd(looks, full_matrices=False).Vh[:width]
    tokens = named.flatten()
    totals = torch.zeros_like(tower.meanings.weight)
    totals.index_add_(0, tokens, (looks @ components.T).repeat_interleave(named.shape[1], 0))
    counts = torch.bincount(tokens, minlength=len(totals))[:, None].float()
    tower.meanings.weight.copy_(totals / (1 + counts))
    tower.weights.weight.copy_(3 - (1 + counts).log())
    tower.project.weight.copy_(components.T)
    for part in tower.mix[-1].parameters():
        part.zero_()


@torch.no_grad()
def take_classifier(model: TinyClip, classifier: nn.Module, components: Tensor) -> None:
    """Let the image tower say in `components` what ImageNet's classifier reads."""
    model.image.expand.weight[:], model.image.expand.bias[:] = fold(classifier.conv_head, classifier.bn2)
    model.image.project.weight[:, :, 0, 0] = components
    model.image.project.bias.zero_()
    last = model.image.detail[-1]
    last.weight.zero_()
    last.bias.zero_()


def main(
    words: Path,
    output: Path,
    sharpness: Annotated[float, typer.Option(help="Of the mixtures.")] = 15.0,
    steps: int = 800,
) -> None:
    """Write the embedded CLIP's first weights."""
    torch.manual_seed(0)
    with safe_open(words, "pt") as file:
        names: dict[str, list[int]] = json.loads(file.metadata()["names"])
        meanings = {name: file.get_tensor(name).float() for name in ("names", "sentences", "classes")}
    many, few = kinds("imagenet-22k"), kinds("imagenet-1k")
    sentences = meanings["sentences"]
    # A word that ImageNet lacks means what the sentence encoder says that it does, and no more.
    owners = torch.stack(
        [sentences[k].mean(0) if k else own for k, own in zip(names.values(), meanings["names"], strict=True)]
    )
    nouns = F.normalize(meanings["names"] + owners, dim=1)
    order = {name: number for number, name in enumerate(names)}
    own = [[order[name] for name in kind.names if name in order] for kind in few]
    classes = F.normalize(
        torch.stack([meanings["classes"][k] + nouns[rows].mean(0) for k, rows in enumerate(own)]), dim=1
    )
    classifier = published()
    looks, components = appearances(classifier.classifier)
    for tried in (5, 10, 15, 20, 30, 40):
        typer.echo(f"sharpness {tried}: a left-out class is like {left_out_likeness(classes, looks, tried):.3f}")
    model = build_tiny_clip()
    take_classifier(model, classifier, components)
    noun_looks = mixed(nouns, classes, looks, sharpness)
    sentence_looks = mixed(sentences, classes, looks, sharpness)
    train_tower(model.text, list(names), noun_looks, [kind.sentence for kind in many], sentence_looks, steps)
    save_tiny_clip(model, output)


if __name__ == "__main__":
    typer.run(main)
