"""Measures a trained agent again, perhaps on other data.

python -m experiments.evaluate run=outputs/train/<date>
python -m experiments.evaluate run=<dir> dataset=folder dataset.root=photos
python -m experiments.evaluate -m run=<dir> num_shards=4 shard=0,1,2,3 hydra/launcher=local
python -m experiments.evaluate run=<dir> num_shards=4 merge=true
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.agents.agent_weights import POLICY
from alignsam_gym.agents.algorithms import make_policy
from alignsam_gym.agents.metrics_file import write_metrics
from alignsam_gym.agents.trained_run import METRICS_FILE, load_run, load_training
from alignsam_gym.agents.training_state import CHECKPOINT
from alignsam_gym.agents.vec_env import PromptVecEnv
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.errors import OptionError, check_switch
from alignsam_gym.evaluation.filmstrips import filmstrip
from alignsam_gym.evaluation.prompting_evaluation import compare
from alignsam_gym.evaluation.prompting_tables import metrics_table, prompting_table
from alignsam_gym.experiments.evaluation_options import check_evaluation_options, chosen_strategies
from alignsam_gym.experiments.evaluation_shards import SHARDS, measure_shard, merge_shards
from alignsam_gym.experiments.hydra_command import hydra_command
from alignsam_gym.experiments.resumable_evaluation import images_of, mask_keeper, resumable
from alignsam_gym.experiments.run_config import ANY_MACHINE, config_diff, save_config
from alignsam_gym.experiments.run_lock import run_lock
from alignsam_gym.experiments.shard import WHOLE, Shard


@hydra_command("evaluate")
def main(config: DictConfig) -> float | None:
    """Measure a run again, or a shard of it, or put the shards together.

    Returns:
        The mIoU of the first prompting strategy, the agent unless `evaluate.strategies` says otherwise; None of a
        shard.
    """
    folder, output = Path(config.run), Path(config.output)
    shard = Shard.checked(config.shard, config.num_shards)
    check_switch("merge", config.merge)
    if config.merge and shard == WHOLE:
        raise OptionError("merge=true puts shards together: give their number, num_shards=….")
    run = load_training(folder)
    trained_with = run.seed
    _change(run, config)
    check_evaluation_options(run)
    env, policy = load_run(folder, run)
    untrained = make_policy(PromptVecEnv(env), run.agent, run.policy, trained_with)
    strategies, _ = chosen_strategies(run, env.episode, policy, untrained)  # before anything in the output is changed
    _check_output(output, folder, run)
    if shard != WHOLE and not config.merge:
        measure_shard(output, shard, run, env.episode, policy, strategies)
        return None
    output.mkdir(parents=True, exist_ok=True)
    extra = {"run": str(config.run), "dataset": OmegaConf.to_container(run.dataset, resolve=True)}
    with run_lock(output):
        if config.merge:  # the whole evaluation then finds everything measured
            merge_shards(output, shard.count, run, env.episode, policy)
        save_config(output, run)  # what a report tells evaluations apart by
        miou = evaluate_agent(output, run, env, policy, untrained, extra)
    if config.merge:
        shutil.rmtree(output / SHARDS)
    return miou


def _change(run: DictConfig, config: DictConfig) -> None:
    """Put what the command line gives in the place of what the run was trained with."""
    for name in ("dataset", "device", "cache_dir", "seed"):
        if config.get(name) is not None:
            OmegaConf.update(run, name, config[name], merge=False)
    if config.on_error is not None:
        run.env.on_error = config.on_error
    for name, value in config.evaluate.items():
        if value is not None:
            OmegaConf.update(run, f"evaluate.{name}", value, merge=False)


def _check_output(output: Path, trained: Path, run: DictConfig) -> None:
    """Raise OptionError if a folder is a training's, or holds what was measured by another configuration."""
    if output.resolve() == trained.resolve() or any((output / name).exists() for name in (CHECKPOINT, POLICY)):
        raise OptionError(
            f"output={output} is the folder of a training, which would be overwritten; name another folder."
        )
    changed = config_diff(output, run, ANY_MACHINE) if (output / METRICS_FILE).exists() else []
    if changed:
        raise OptionError(
            f"{output} holds an evaluation with another {', '.join(changed)}; name another folder, output=…, or delete "
            "it."
        )


def evaluate_agent(
    folder: Path,
    config: DictConfig,
    env: AlignSAMVectorEnv,
    policy: BasePolicy,
    untrained: BasePolicy,
    extra: Mapping[str, Any],
) -> float:
    """Compare prompting strategies; write ``metrics.json`` and filmstrips, and print the tables.

    An evaluation of the same run and configuration that was interrupted in this folder goes on where it stopped.
    With ``evaluate.save_predictions``, last masks go to ``predictions/<strategy>/<sample id>.png``.

    Args:
        folder: Where all of it is written.
        config: The run's.
        env: Of the images to measure on.
        policy: The agent's.
        untrained: The one that its training began with.
        extra: Further entries of ``metrics.json``, plain values.

    Returns:
        The mIoU of the first strategy.
    """
    options, episode = config.evaluate, env.episode
    dataset = episode.encoded.dataset
    strategies, drawn = chosen_strategies(config, episode, policy, untrained)
    with resumable(folder, config, episode, policy) as resume_log:
        images = images_of(config, episode)
        results = compare(episode, images, strategies, resume_log, mask_keeper(folder, config))
        count = min(options.filmstrips, len(episode.encoded))
        if count:
            filmstrip(episode, _spread(count, len(episode.encoded)), drawn, folder / "filmstrip.png")
    about = {"seed": config.seed, "split": options.get("split", "test")}
    metrics = write_metrics(folder, results, dataset, {**extra, **about})  # last: it tells that all is done
    resume_log.remove()
    summaries = metrics["prompting"]
    first = next(iter(summaries.values()))
    title = f"{dataset.name}, {first['images']} {about['split']} images"
    prompting_table(summaries, title).print()
    last = {name: summary["metrics"] for name, summary in summaries.items()}
    metrics_table(last, metrics["table"], f"After {episode.rules.max_steps} prompts: {title}").print()
    return float(first["miou"])


def _spread(count: int, images: int) -> list[int]:
    """Choose `count` of some images, as far apart as can be."""
    return [round(place * (images - 1) / max(1, count - 1)) for place in range(count)]


if __name__ == "__main__":
    main()
