"""Bundles from and to the Hugging Face Hub."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from alignsam_gym.agents.agent_config import AgentConfig, read_agent_config
from alignsam_gym.agents.bundle import MEMBERS, export
from alignsam_gym.agents.trained_run import METRICS_FILE
from alignsam_gym.errors import OptionError, WeightsError, first_line
from alignsam_gym.result_table import ResultTable

_CARD = """\
---
library_name: alignsam-gym
pipeline_tag: image-segmentation
tags:
- alignsam
- segment-anything
- reinforcement-learning
- stable-baselines3
---

# {repo}

An [AlignSAM](https://openaccess.thecvf.com/content/CVPR2024/html/Huang_AlignSAM_Aligning_Segment_Anything_Model_to\
_Open_Context_via_Reinforcement_CVPR_2024_paper.html) agent: it points the Segment Anything Model at {target}. The
policy and the semantic recalibration module are here; SAM itself ({sam}) is not.

```python
from alignsam_gym import AlignSAM  # pip install alignsam-gym[hub]

agent = AlignSAM.from_pretrained("{repo}")
agent.predict("photo.jpg"{text}).mask
```

| | |
| --- | --- |
| trained on | {dataset} |
| SAM | {sam} |
| SRM | {branch} branch |
| prompts | {steps}, after an initial pair |
| patches | {side} × {side} |

{results}
"""


def download_bundle(repo: str, revision: str | None = None) -> Path:
    """Download a bundle from the Hub into its cache.

    Args:
        repo: ``user/name``.
        revision: Branch, tag or commit; by default the main branch.

    Returns:
        The bundle's folder.

    Raises:
        WeightsError: The Hub does not have it, or does not answer.
        OptionError: The extra ``hub`` is not installed.
    """
    hub = _import_hub()
    try:
        return Path(hub.snapshot_download(repo, revision=revision, allow_patterns=list(MEMBERS)))
    except Exception as error:  # its own, or those of the HTTP library that its version has
        raise WeightsError(
            f"{repo} cannot be had from the Hub ({first_line(error)}), nor is there a folder or file of that name."
        ) from error


def push(run: Path, repo: str, private: bool = False) -> str:
    """Put a run or bundle on the Hub as a bundle, with a card of the run's measurements.

    You must be logged in (``hf auth login``, or $HF_TOKEN).

    Args:
        run: Folder of a run, or a bundle.
        repo: ``user/name``, made if need be.
        private: Of a repository that is made.

    Returns:
        The repository's address.

    Raises:
        WeightsError: The run is incomplete, or the Hub refuses or does not answer.
        OptionError: The extra ``hub`` is not installed.
    """
    with tempfile.TemporaryDirectory() as place:
        export(run, Path(place))
        return upload(Path(place), repo, private, run / METRICS_FILE)


def upload(bundle: Path, repo: str, private: bool, metrics: Path | None) -> str:
    """Upload the folder of a bundle, with a card that is written into it; see `push`.

    Args:
        bundle: Folder of the bundle.
        repo: ``user/name``, made if need be.
        private: Of a repository that is made.
        metrics: What an evaluation has left, for the card; it need not be there.
    """
    api = _import_hub().HfApi()
    (bundle / "README.md").write_text(make_card(read_agent_config(bundle), repo, metrics), encoding="utf-8")
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=url.repo_id, folder_path=bundle, commit_message="AlignSAM agent")
    except Exception as error:
        raise WeightsError(f"{repo} cannot be pushed to the Hub ({first_line(error)}).") from error
    return str(url)


def make_card(config: AgentConfig, repo: str, metrics: Path | None) -> str:
    """Write the page of a repository, Markdown, with what the file `metrics` tells, if it is there."""
    env = config.env
    return _CARD.format(
        repo=repo,
        target=config.text or f"what {config.dataset} shows",
        sam=env.get("sam", "tiny"),
        text=f', text="{config.text or "what to look for"}"' if config.guided else "",
        dataset=config.dataset,
        branch=env.get("branch", "implicit"),
        steps=env.get("max_steps", 15),
        side=env.get("image_size", 800) // env.get("patch_size", 80),
        results=_results(metrics) if metrics and metrics.is_file() else "It has not been measured.",
    )


def _results(metrics: Path) -> str:
    """The prompting strategies as rows of a table."""
    strategies: dict[str, Any] = json.loads(metrics.read_text())["prompting"]
    rows = []
    for name, summary in strategies.items():
        curve, rate = summary["miou_by_step"], summary["foreground_rate"]
        hits = "" if rate is None else f"{rate:.1%}"
        rows.append([name, summary["images"], len(curve) - 1, f"{curve[0]:.3f}", f"{curve[-1]:.3f}", hits])
    return ResultTable(["prompting", "images", "prompts", "mIoU before", "after", "hits"], rows).to_markdown()


def _import_hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise OptionError("The Hugging Face Hub needs huggingface_hub: pip install 'alignsam-gym[hub]'.") from error
    return huggingface_hub
