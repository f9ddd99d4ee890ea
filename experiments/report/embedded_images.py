"""Images inside the page."""

from __future__ import annotations

import io
from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from alignsam_gym.experiments.report.found_runs import RunGroup
from alignsam_gym.figure_files import Figure

_QUALITY = 85


class EmbeddedImage(NamedTuple):
    """An image that needs no file.

    Attributes:
        data: A ``data:`` address.
        alt: What the image shows, for those who cannot see it.
    """

    data: str
    alt: str


def embed_image(file: Path | io.BytesIO, alt: str) -> EmbeddedImage:
    """Embed an image as WebP, which takes a tenth of PNG for photographs."""
    content = io.BytesIO()
    with Image.open(file) as image:
        image.convert("RGB").save(content, "webp", quality=_QUALITY)
    return EmbeddedImage("data:image/webp;base64," + b64encode(content.getvalue()).decode(), alt)


def embed_if_exists(file: Path, alt: str) -> list[EmbeddedImage]:
    """Embed an image file, or nothing where there is none."""
    return [embed_image(file, alt)] if file.exists() else []


def plot_miou_by_step(group: RunGroup) -> EmbeddedImage:
    """Plot mIoU after every prompt, a curve for each prompting strategy: the mean over runs, and their range."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axis = figure.subplots()
    ends = []
    for name in group.metrics[0]["prompting"]:
        curves = np.array([metrics["prompting"][name]["miou_by_step"] for metrics in group.metrics])
        steps, mean = np.arange(curves.shape[1]), curves.mean(0)
        if len(steps) == 1:  # a method that does not prompt step by step
            axis.axhline(mean[0], linestyle="--", label=name)
        else:
            (line,) = axis.plot(steps, mean, marker="o", markersize=3, label=name)
            axis.fill_between(steps, curves.min(0), curves.max(0), color=line.get_color(), alpha=0.15)
        ends.append(f"{name} {mean[-1]:.3f}")
    axis.set(xlabel="prompts", ylabel="mIoU over images")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return embed_image(content, f"mIoU after each prompt; at the end: {', '.join(ends)}")
