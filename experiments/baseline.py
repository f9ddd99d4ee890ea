"""Trains another method on the same few labelled images, and measures it as the agent is.

python -m experiments.baseline method=persam dataset=shapes seed=0
python -m experiments.baseline -m method=persam,persam_f,samed,msa seed=0,1,2
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from alignsam_gym.agents.metrics_file import write_metrics
from alignsam_gym.agents.trained_run import dataset_options
from alignsam_gym.baselines import make_baseline
from alignsam_gym.data.mask_files import write_mask
from alignsam_gym.envs.env_config import SampleOptions
from alignsam_gym.envs.episode_factory import open_samples
from alignsam_gym.evaluation.baseline_evaluation import score_baseline
from alignsam_gym.evaluation.prompting_tables import metrics_table
from alignsam_gym.experiments.evaluation_options import check_evaluation_options
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.experiments.run_config import save_config
from alignsam_gym.foundation.encoding.embedding_store import EmbeddingStore
from alignsam_gym.foundation.encoding.encoded_dataset import EncodedDataset
from alignsam_gym.foundation.sam.predictor import BatchedSamPredictor, load_sam

log = logging.getLogger(__name__)


@hydra_command("baseline")
def main(config: DictConfig) -> float:
    """Train and measure one baseline; returns its mIoU on the test split, for Hydra's sweepers."""
    return run_baseline(Path(HydraConfig.get().runtime.output_dir), config)


def run_baseline(folder: Path, config: DictConfig) -> float:
    """Train and measure one baseline.

    Args:
        folder: Where its configuration, ``metrics.json`` and predictions are written.
        config: As of ``conf/baseline.yaml``.

    Returns:
        Its mIoU on the split ``evaluate.split``.
    """
    check_evaluation_options(config)
    options, name = config.evaluate, config.method.name
    method: dict[str, Any] = OmegaConf.to_container(config.method, resolve=True)  # type: ignore[assignment]
    model = load_sam(config.env.sam, config.device, config.env.precision)
    baseline = make_baseline(model, method)
    shots = open_split(config, "train", model)
    test = open_split(config, options.split, model)
    save_config(folder, config)
    started = time.perf_counter()
    baseline.fit(shots, config.seed)
    minutes = (time.perf_counter() - started) / 60

    def keep(image: str, mask: np.ndarray) -> None:
        write_mask(folder / "predictions" / name, image, mask)

    scores = score_baseline(
        baseline, test, options.limit, options.batch_size, keep if options.save_predictions else None
    )
    extra = {"training_minutes": round(minutes, 2), "seed": config.seed, "split": options.split}
    metrics = write_metrics(folder, {name: scores}, test.dataset, extra)
    summary = metrics["prompting"][name]
    title = f"{test.dataset.name}, {summary['images']} {options.split} images, {minutes:.1f} minutes of training"
    metrics_table({name: summary["metrics"]}, metrics["table"], title).print()
    log.info("everything about this run is in %s", folder)
    return float(summary["miou"])


def open_split(config: DictConfig, split: str, model: BatchedSamPredictor) -> EncodedDataset:
    """Open the images of a split, encoded by the model.

    Of the training split these are the images that an agent of the same configuration would learn from.
    """
    name, kwargs = dataset_options(config)
    drawn = {key: config.env[key] for key in ("shots", "shots_per", "shots_seed", "on_error")}
    samples = open_samples(SampleOptions.of({"dataset": name, "dataset_kwargs": kwargs, "split": split, **drawn}))
    store = EmbeddingStore(config.cache_dir)
    store.check()
    return EncodedDataset(samples, model, store, config.env.image_size)


if __name__ == "__main__":
    main()
