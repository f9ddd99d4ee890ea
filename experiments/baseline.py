"""Trains another method on the same few labelled images, and measures it as the agent is.

python -m experiments.baseline method=persam dataset=shapes seed=0
python -m experiments.baseline -m method=persam,persam_f,samed,msa seed=0,1,2
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.progress import track

from alignsam_gym.agents.trained_run import dataset_options
from alignsam_gym.baselines import Baseline, make_baseline
from alignsam_gym.data.mask_files import write_mask
from alignsam_gym.envs.env_config import SampleOptions
from alignsam_gym.envs.episode_factory import open_samples
from alignsam_gym.evaluation.prompting_evaluation import print_metrics
from alignsam_gym.experiments.run_folder import check_counts, exit_on_user_error, save_config, write_metrics
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, load_sam
from alignsam_gym.metrics import PromptedImage, PromptingScores, overlap, score_mask
from alignsam_gym.transforms import mask_from_logits

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path="../conf", config_name="baseline")
@exit_on_user_error
def main(config: DictConfig) -> float:
    """Returns the mIoU on the test split, for Hydra's sweepers."""
    return compete(Path(HydraConfig.get().runtime.output_dir), config)


def compete(folder: Path, config: DictConfig) -> float:
    """Train and measure one baseline, in `folder`."""
    check_counts(config)
    options = config.evaluate
    method: dict[str, Any] = OmegaConf.to_container(config.method, resolve=True)  # type: ignore[assignment]
    model = load_sam(config.env.sam, config.device, config.env.precision)
    shots, test = (open_split(config, split, model) for split in ("train", "test"))
    baseline = make_baseline(model, method)
    save_config(folder, config)
    started = time.perf_counter()
    baseline.fit(shots, config.seed)
    minutes = (time.perf_counter() - started) / 60

    def keep(name: str, mask: np.ndarray) -> None:
        write_mask(folder / "predictions" / config.method.name, name, mask)

    scores = measure(baseline, test, options.limit, options.batch_size, keep if options.save_predictions else None)
    extra = {"training_minutes": round(minutes, 2), "seed": config.seed}
    metrics = write_metrics(folder, {config.method.name: scores}, test.dataset, extra)
    summary = metrics["prompting"][config.method.name]
    title = f"{test.dataset.name}, {summary['images']} test images, {minutes:.1f} minutes of training"
    print_metrics({config.method.name: summary["metrics"]}, metrics["table"], title)
    log.info("everything about this run is in %s", folder)
    return float(summary["miou"])


def open_split(config: DictConfig, split: str, model: BatchedSamPredictor) -> EncodedDataset:
    """The images of a split, of the training split those that an agent of the same configuration would learn from."""
    name, kwargs = dataset_options(config)
    drawn = {key: config.env[key] for key in ("shots", "shots_per", "shots_seed", "on_error")}
    samples = open_samples(SampleOptions.of({"dataset": name, "dataset_kwargs": kwargs, "split": split, **drawn}))
    return EncodedDataset(samples, model, EmbeddingStore(config.cache_dir), config.env.image_size)


def measure(
    baseline: Baseline,
    test: EncodedDataset,
    limit: int | None,
    batch_size: int,
    keep: Callable[[str, np.ndarray], None] | None = None,
) -> PromptingScores:
    """A fitted baseline on the first `limit` images (None: all), at each image's own size, logits cut at zero.

    keep: called with each image's id and answer, bool (H, W).
    """
    scores, ids = PromptingScores(), test.dataset.ids
    indices, nothing = range(len(ids))[:limit], np.zeros(0, bool)
    for start in track(range(0, len(indices), batch_size), "evaluating"):
        batch = indices[start : start + batch_size]
        for index, logits in zip(batch, baseline.predict(test, batch), strict=True):
            sample = test[index]
            answer = mask_from_logits(logits, sample.mask.shape)
            overlaps = np.array([overlap(answer, sample.mask, sample.void)])
            figures = score_mask(answer, sample.mask, sample.void)
            scores.add(PromptedImage(ids[index], sample.text, overlaps, nothing, nothing, figures))
            if keep:
                keep(ids[index], answer)
    return scores


if __name__ == "__main__":
    main()
