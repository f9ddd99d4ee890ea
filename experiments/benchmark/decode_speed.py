"""Prompt sets on different images: our batched decoder, and ``segment_anything``'s on one image after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from alignsam_gym.experiments.benchmark.models import Setting, benchmark_model
from alignsam_gym.experiments.benchmark.timing import alternate, statistics
from alignsam_gym.foundation.sam.decode_calibration import fastest_batch
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor
from alignsam_gym.result_table import ResultTable

POINTS = 9  # the pair that an episode begins with, and half of its 15 steps


def time_decoding(setting: Setting) -> dict[str, Any]:
    """Time both at several batch sizes; the ratio is that at our best size."""
    model = benchmark_model(setting.sam, setting.device)
    sizes, rounds = ((1, 2, 4), 3) if setting.quick else ((1, 2, 4, 8, 16, 32), 15)
    rows = compare_decoders(model, sizes, rounds)
    best = min(rows, key=lambda row: row["ours"]["median"])
    what = f"throughput over segment_anything's own decoder at our best batch, {best['batch']}"
    return {"ratio": best["ratio"], "what": what, "rows": rows}


@torch.no_grad()
def compare_decoders(model: BatchedSamPredictor, sizes: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Time both on random encodings and prompts, and print a table.

    Ours decodes as many prompt sets at once as it does fastest. ``segment_anything`` decodes in float32, whatever
    precision ours has.

    Args:
        model: The SAM.
        sizes: Numbers of prompt sets, each on an image of its own.
        rounds: How often each is timed.

    Returns:
        For each size the ``batch``, the ``largest_difference`` of two logits, and what `statistics` gives.
    """
    model.decode_batch = fastest_batch(model)
    print(f"measured best: {model.decode_batch} prompt sets at once")
    rows: list[dict[str, Any]] = []
    for size in sizes:
        embeddings = torch.randn(size, *model.embedding_shape, device=model.device)
        points = torch.rand(size, POINTS, 2, device=model.device)
        labels = torch.randint(0, 2, (size, POINTS), device=model.device)
        image, every = model.prepare_image(embeddings), torch.arange(size)
        strategies: dict[str, Callable[[], Tensor]] = {
            "ours": partial(model.decode, image, every, points, labels),
            "segment_anything": partial(_one_by_one, model.sam, embeddings, points * model.input_size, labels),
        }
        difference = (strategies["ours"]() - strategies["segment_anything"]()).abs().max()
        seconds = alternate(strategies, rounds, model.device)
        rows.append({"batch": size, "largest_difference": float(difference), **statistics(seconds, size)})
    lines = []
    for row in rows:
        times = [f"{row[name]['median']:.1f} ± {row[name]['spread']:.1f}" for name in strategies]
        lines.append([row["batch"], *times, f"{row['ratio']:.2f}", f"{row['largest_difference']:.0e}"])
    columns = ["prompt sets", "ours, ms each", "segment_anything, ms each", "ratio", "largest difference"]
    ResultTable(columns, lines).print()
    return rows


def _one_by_one(sam: Sam, embeddings: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    answers = []
    for embedding, p, given in zip(embeddings, points, labels, strict=True):
        sparse, dense = sam.prompt_encoder(points=(p[None], given[None]), boxes=None, masks=None)
        positions = sam.prompt_encoder.get_dense_pe()
        masks, _ = sam.mask_decoder(embedding[None], positions, sparse, dense, multimask_output=False)
        answers.append(masks[:, 0])
    return torch.cat(answers)
