"""First weights of the embedded CLIP: a text tower that knows ImageNet's nouns, and ImageNet's own image features.

    python -m experiments.pretrain.initial_clip <noun embeddings> <output.safetensors>

The rows of ImageNet's classifier, as coordinates along their 256 principal components, are the appearances of its 1,000
classes. The appearance of any other noun is a mixture of these, weighted by how near a sentence encoder finds noun and
classes (`noun_embeddings`). The text tower learns these mixtures from the nouns in CLIP Surgery's templates. The empty
text gets the last component, which says least of any class, so that it can stand for what has no name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from alignsam_gym.experiments.command_line import exit_on_user_error
from alignsam_gym.experiments.pretrain.noun_embeddings import imagenet_classes
from alignsam_gym.experiments.pretrain.optimise import one_cycle
from alignsam_gym.experiments.pretrain.published_backbone import fold_batch_norm, published_efficientnet
from alignsam_gym.foundation.clip_model import prompt_templates
from alignsam_gym.foundation.tiny.tiny_clip import (
    CONTEXT,
    FEATURES,
    TextTower,
    TinyClip,
    build_tiny_clip,
    save_tiny_clip,
)
from alignsam_gym.foundation.tiny.tiny_tokenizer import TOKENIZER

_DEFINED = 0.15  # how often a definition is read instead of a name
_IN_TEMPLATE = 0.8  # how often a name stands in a template
_EMPTY = 1 / 16  # share of a batch whose names are left out of their templates


def appearances(classifier: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return the classes' appearances (1000, 256), of unit length, and the components (256, 1280) along which they are.

    The components are so long that an image's answer to a class is about the classifier's.
    """
    rows = classifier.weight.detach()
    rows = rows - rows.mean(0)
    components = torch.linalg.svd(rows, full_matrices=False).Vh[:FEATURES]
    looks = rows @ components.T
    return F.normalize(looks, dim=1), components * looks.norm(dim=1).mean()


def mix_appearances(meanings: Tensor, classes: Tensor, looks: Tensor, sharpness: float) -> Tensor:
    """Mix the classes' appearances (1000, 256) to those of nouns, (n, 256) of unit length, by likeness of meanings."""
    shares = (sharpness * meanings @ classes.T).softmax(1)
    return F.normalize(shares @ looks, dim=1)


def left_out_likeness(classes: Tensor, looks: Tensor, sharpness: float) -> float:
    """Return the mean cosine between a class's appearance and the mixture of the others' that its meaning gives."""
    likeness = (sharpness * classes @ classes.T).fill_diagonal_(-torch.inf)
    return float(F.cosine_similarity(likeness.softmax(1) @ looks, looks).mean())


def train_tower(
    tower: TextTower, names: list[str], looks: Tensor, sentences: list[str], sentence_looks: Tensor, steps: int
) -> None:
    """Train the tower to give names in random templates, and definitions, their appearances."""
    defined, named = TOKENIZER(sentences), TOKENIZER(names)
    nothing = F.one_hot(torch.tensor(FEATURES - 1), FEATURES).float()
    # The tower does not see order, so a template may stand before the name, without its end.
    prompts = TOKENIZER([template("") for template in prompt_templates()])
    around = [words[None, : int((words != 0).sum()) - 1] for words in prompts]
    initialise_tower(tower, named, looks)
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
                empty = torch.rand(len(rows)) < _EMPTY
                tokens[empty, -CONTEXT:], target = 0, torch.where(empty[:, None], nothing, target)
        loss = 1 - F.cosine_similarity(tower(tokens), target).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        schedule.step()
        if step % 100 == 0:
            typer.echo(f"step {step}  loss {loss.item():.3f}", err=True)


@torch.no_grad()
def initialise_tower(tower: TextTower, named: Tensor, looks: Tensor) -> None:
    """Give each token the mean appearance of the names with it, and less weight, the more names have it.

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
def initialise_image_tower(model: TinyClip, classifier: Any, components: Tensor) -> None:
    """Let the image tower give the coordinates along `components` of what ImageNet's classifier reads."""
    weight, bias = fold_batch_norm(classifier.conv_head, classifier.bn2)
    model.image.expand.load_state_dict({"weight": weight, "bias": bias})
    model.image.project.load_state_dict({"weight": components[:, :, None, None], "bias": torch.zeros(FEATURES)})
    for part in model.image.detail[-1].parameters():
        part.zero_()


@exit_on_user_error
def main(
    nouns: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    output: Path,
    sharpness: Annotated[float, typer.Option(help="Of the mixtures: how much nearer classes count for more.")] = 15.0,
    steps: int = 800,
) -> None:
    """Write the embedded CLIP's first weights."""
    torch.manual_seed(0)
    with safe_open(nouns, "pt") as file:
        names: dict[str, list[int]] = json.loads(file.metadata()["names"])
        meanings = {name: file.get_tensor(name).float() for name in ("names", "sentences", "classes")}
    many, few = imagenet_classes("imagenet-22k"), imagenet_classes("imagenet-1k")
    sentences = meanings["sentences"]
    # A noun's meaning is its own and that of the classes that have it; a word that ImageNet lacks has its own alone.
    owners = torch.stack(
        [sentences[k].mean(0) if k else own for k, own in zip(names.values(), meanings["names"], strict=True)]
    )
    noun_meanings = F.normalize(meanings["names"] + owners, dim=1)
    order = {name: number for number, name in enumerate(names)}
    own = [[order[name] for name in each.names if name in order] for each in few]
    classes = F.normalize(
        torch.stack([meanings["classes"][k] + noun_meanings[rows].mean(0) for k, rows in enumerate(own)]), dim=1
    )
    classifier = published_efficientnet()
    looks, components = appearances(classifier.classifier)
    for tried in (5, 10, 15, 20, 30, 40):
        typer.echo(f"sharpness {tried}: a left-out class is like {left_out_likeness(classes, looks, tried):.3f}")
    model = build_tiny_clip()
    initialise_image_tower(model, classifier, components)
    noun_looks = mix_appearances(noun_meanings, classes, looks, sharpness)
    sentence_looks = mix_appearances(sentences, classes, looks, sharpness)
    train_tower(model.text, list(names), noun_looks, [each.sentence for each in many], sentence_looks, steps)
    save_tiny_clip(model, output)


if __name__ == "__main__":
    typer.run(main)
