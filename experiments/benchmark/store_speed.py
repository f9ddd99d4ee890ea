"""Embeddings on disk: our store beside LMDB, and what a warm start saves."""

from __future__ import annotations

import logging
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import torch
from safetensors.torch import save_file

import alignsam_gym  # noqa: F401  # registers the environment
from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.benchmark.models import Setting, benchmark_model
from alignsam_gym.experiments.benchmark.timing import alternate, statistics
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
from alignsam_gym.result_table import ResultTable


def time_store(setting: Setting) -> dict[str, Any]:
    """Time writing and reading embeddings, and ``gym.make(...).reset()`` without and with embeddings there.

    The ratio is that of a cold to a warm start.

    Raises:
        OptionError: If the package ``lmdb`` is missing.
    """
    model = benchmark_model(setting.sam, setting.device)
    count, rounds = (16, 3) if setting.quick else (128, 7)
    with tempfile.TemporaryDirectory() as folder:
        rows = _encodings(Path(folder), model.embedding_shape, count, rounds)
        weights = Path(folder) / "weights.safetensors"
        save_file({name: value.contiguous() for name, value in model.sam.state_dict().items()}, weights)
        starts = _starts(Path(folder), weights, setting.device, 1 if setting.quick else 3)
    lines = []
    for name, row in rows.items():
        rates = [f"{1e3 / row[kind]['median']:.0f} images/s" for kind in ("ours", "lmdb")]
        lines.append([name, *rates, f"{row['ratio']:.2f}"])
    title = f"encodings of {tuple(model.embedding_shape)}"
    ResultTable(["what", "ours", "LMDB", "LMDB's time over ours"], lines, title).print()
    cold, warm = (median(starts[kind]) for kind in ("cold", "warm"))
    print(f"on disk: {rows['read']['bytes'] / 2**20:.3f} MiB an image")
    print(f"gym.make(...).reset(): cold {cold:.2f} s, warm {warm:.2f} s (medians of {len(starts['warm'])})")
    return {
        "ratio": cold / warm,
        "what": "cold over warm gym.make(...).reset()",
        "records": rows,
        "starts": starts,
    }


def _encodings(folder: Path, shape: tuple[int, ...], count: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Times of writing and of reading `count` encodings, both ways, whole and checked."""
    try:
        import lmdb
    except ImportError as error:
        raise OptionError("benchmark store needs the package lmdb: pip install 'alignsam-gym[test]'.") from error
    encodings = {f"{i:064x}": torch.randn(shape).half() for i in range(count)}
    ours = EmbeddingStore(folder / "ours")
    # As ours: what is written outlives the process, not a power cut, and is checked when it is read.
    theirs = lmdb.open(str(folder / "lmdb"), map_size=4 * count * encodings[f"{0:064x}"].nbytes, sync=False)
    checksums = {}

    def write_lmdb() -> None:
        for key, encoding in encodings.items():
            content = encoding.numpy().tobytes()
            checksums[key] = zlib.crc32(content)
            with theirs.begin(write=True) as transaction:  # one each: acknowledged means kept
                transaction.put(key.encode(), content)

    def read_lmdb() -> None:
        with theirs.begin() as transaction:
            for key in encodings:
                content = bytearray(transaction.get(key.encode()) or b"")
                assert zlib.crc32(content) == checksums[key]
                torch.frombuffer(content, dtype=torch.float16).view(shape)

    def write_ours() -> None:
        for key, encoding in encodings.items():
            ours.put(key, encoding)

    writing = {"ours": write_ours, "lmdb": write_lmdb}
    reading: dict[str, Callable[[], object]] = {"ours": lambda: [ours.get(key) for key in encodings], "lmdb": read_lmdb}
    times = {
        "write": statistics(alternate(writing, rounds), count),
        "read": statistics(alternate(reading, rounds), count),
    }
    theirs.close()
    size = sum(file.stat().st_size for file in (folder / "ours").rglob("*.safetensors")) / count
    times["read"]["bytes"] = size
    return times


def _starts(folder: Path, weights: Path, device: str, repeats: int) -> dict[str, list[float]]:
    """Seconds from `gym.make` to the first state, with an empty cache and with the one that this leaves."""
    logging.disable(logging.INFO)
    starts: dict[str, list[float]] = {"cold": [], "warm": []}
    for number in range(repeats):
        make = partial(gym.make, "AlignSAM-v0", sam=str(weights), device=device, cache_dir=folder / f"cache{number}")
        for kind in starts:
            started = time.perf_counter()
            env = make()
            env.reset(seed=0)
            starts[kind].append(time.perf_counter() - started)
            env.close()
    logging.disable(logging.NOTSET)
    return starts
