"""The page of an agent's repository on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from alignsam_gym.agents.agent_config import AgentConfig, is_digest
from alignsam_gym.agents.hub import PICTURE
from alignsam_gym.data import USER_DATASETS
from alignsam_gym.foundation.sam.hf_checkpoints import is_repository
from alignsam_gym.foundation.sam.official_checkpoints import CHECKPOINTS
from alignsam_gym.result_table import ResultTable

_CARD = """\
---
{metadata}
---

# {name}

An [AlignSAM](https://openaccess.thecvf.com/content/CVPR2024/html/Huang_AlignSAM_Aligning_Segment_Anything_Model_to\
_Open_Context_via_Reinforcement_CVPR_2024_paper.html) agent: it points the Segment Anything Model at {target}. Given an
image, it returns a mask. The agent's policy and its semantic recalibration module are here, without pickle; SAM itself
is not.
{picture}
## Use

```sh
pip install alignsam-gym{weights}
```

```python
from alignsam_gym import AlignSAM

agent = AlignSAM.from_pretrained({arguments})
prediction = agent.predict("photo.jpg"{text})
prediction.mask, prediction.probability, prediction.points, prediction.labels
```

## Data

{data}

## Measurements

{results}

## The agent

| | |
| --- | --- |
| SAM | {sam} |
| what the SRM sees | {features} |
| SRM | {branch} branch |
| prompts | {steps}, after an initial pair |
| patches | {side} × {side} |

## Licence

{licence}
"""
_PICTURE = """
![Photographs, and the mask and the prompts after some numbers of prompts]({file})

*Discs are labelled foreground, squares background; 0 is the initial pair.*
"""


def make_card(
    config: AgentConfig,
    repo: str,
    metrics: Mapping[str, Any] | None = None,
    *,
    licence: str | None = None,
    data: str | None = None,
    has_picture: bool = False,
) -> str:
    """Write the page, Markdown with the Hub's metadata.

    Args:
        config: The agent's.
        repo: ``user/name``.
        metrics: What `alignsam_gym.agents.metrics_file.write_metrics` wrote, if the agent was measured.
        licence: The Hub's identifier of a licence, such as ``apache-2.0`` or ``cc-by-4.0``.
        data: What the agent was trained and measured on, Markdown.
        has_picture: Whether `PICTURE` lies beside the page.
    """
    env, name = config.env, repo.rpartition("/")[2]
    return _CARD.format(
        metadata=_metadata(name, config, metrics, licence).to_yaml(),
        name=name,
        target=config.text or f"what the masks of {_called(config.dataset)} show",
        picture=_PICTURE.format(file=PICTURE) if has_picture else "",
        weights=_weights(config),
        arguments=_arguments(config, repo),
        text=f', text="{config.text or "what to look for"}"' if config.guided else "",
        data=_data(config, metrics, data),
        results=_results(metrics) if metrics and metrics["prompting"] else "It has not been measured.",
        sam=env.get("sam", "tiny"),
        features={"sam": "SAM's embedding", "clip": "a CLIP's features", "both": "SAM's embedding, a CLIP's features"}[
            config.srm.get("features", "sam")
        ],
        branch=env.get("branch", "implicit"),
        steps=env.get("max_steps", 15),
        side=env.get("image_size", 800) // env.get("patch_size", 80),
        licence=f"`{licence}`" if licence else "Its maker has not chosen one.",
    )


def _metadata(name: str, config: AgentConfig, metrics: Mapping[str, Any] | None, licence: str | None) -> ModelCardData:
    agent = (metrics or {}).get("prompting", {}).get("agent")
    results = None
    if metrics and agent:
        where = metrics.get("measured_on", config.dataset)
        results = [
            EvalResult(
                task_type="image-segmentation",
                dataset_type=where,
                dataset_name=_called(where),
                metric_type="mean_iou",
                metric_name=f"mIoU after {len(agent['miou_by_step']) - 1} prompts",
                metric_value=round(agent["miou_by_step"][-1], 4),
            )
        ]
    return ModelCardData(
        model_name=name,
        license=licence,
        library_name="alignsam-gym",
        pipeline_tag="image-segmentation",
        tags=["alignsam", "segment-anything", "reinforcement-learning", "stable-baselines3"],
        eval_results=results,
    )


def _called(dataset: str) -> str:
    """What a stranger may call a data set: one of a user's own files has only the name of its format."""
    return "its maker's own data" if dataset in USER_DATASETS else dataset


def _weights(config: AgentConfig) -> str:
    """The command that downloads an official SAM, if the agent has one."""
    sam = config.env.get("sam", "tiny")
    return f"\nalignsam weights action=download names={sam}" if sam in CHECKPOINTS else ""


def _arguments(config: AgentConfig, repo: str) -> str:
    """What `AlignSAM.from_pretrained` needs elsewhere: models that it would not find or download by itself."""
    sam, clip = (str(config.env.get(kind, "tiny")) for kind in ("sam", "clip"))
    arguments = [f'"{repo}"']
    if is_digest("sam", sam):
        arguments.append('sam="<file of the checkpoint>"')
    if is_repository(sam):
        arguments.append(f'sam="{sam}"')
    if config.needs_clip and clip != "tiny":
        arguments.append(f'clip="{clip.partition("/")[0]}/<file>"' if is_digest("clip", clip) else f'clip="{clip}"')
    return ", ".join(arguments)


def _data(config: AgentConfig, metrics: Mapping[str, Any] | None, told: str | None) -> str:
    images = (metrics or {}).get("labelled_images")
    counted = f"{images} labelled images" if images else "labelled images"
    lines = [f"The agent learned from {counted}, of {_called(config.dataset)}."]
    if metrics and metrics["prompting"]:
        measured = next(iter(metrics["prompting"].values()))["images"]
        lines.append(f"It was measured on {measured} others, of {_called(metrics.get('measured_on', config.dataset))}.")
    lines.append(told or "Its maker has not described them further.")
    if config.env.get("sam", "tiny") == "tiny":
        lines.append("The embedded SAM and CLIP had learned from other photographs, which their cards list.")
    return "\n".join(lines)


def _results(metrics: Mapping[str, Any]) -> str:
    """The prompting strategies as rows of a table."""
    rows = []
    for name, summary in metrics["prompting"].items():
        curve, rate = summary["miou_by_step"], summary["foreground_rate"]
        hits = "" if rate is None else f"{rate:.1%}"
        rows.append([name, summary["images"], len(curve) - 1, f"{curve[0]:.3f}", f"{curve[-1]:.3f}", hits])
    table = ResultTable(["prompting", "images", "prompts", "mIoU before", "after", "hits"], rows).to_markdown()
    seed = f" One seed, {metrics['seed']}." if "seed" in metrics else ""
    return f"""\
{table}

mIoU is the mean over images, before the first prompt and after the last.{seed} `hits` is the fraction of prompts on the
target. `agent` is this agent; rows beside it, if there are any, prompt the same SAM otherwise: `random`, `srm` and
`disagreement` without a policy, `oracle` knowing the ground truth."""
