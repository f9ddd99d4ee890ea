"""Bundles from and to the Hugging Face Hub."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from alignsam_gym.agents.agent_config import Recipe, read_recipe
from alignsam_gym.agents.bundle import MEMBERS, export
from alignsam_gym.errors import OptionError, WeightsError

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
from alignsam_gym.agents import AlignSAM  # pip install alignsam-gym[hub]

agent = AlignSAM.from_hub("{repo}")
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


def download(repo: str, revision: str | None = None) -> Path:
    """The folder of a bundle from the Hub, in its cache. Raises WeightsError."""
    hub = _hub()
    try:
        return Path(hub.snapshot_download(repo, revision=revision, allow_patterns=list(MEMBERS)))
    except Exception as error:  # its own, or those of the HTTP library that its version has
        raise WeightsError(f"{repo} cannot be had from the Hub ({_first_line(error)}).") from error


def push(run: Path, repo: str, private: bool = False) -> str:
    """Export a run's folder to the repository `repo` (``user/name``), made if need be; returns its address.

    A card with the run's measurements goes with it. You must be logged in (``hf auth login``, or $HF_TOKEN).
    Raises WeightsError.
    """
    api = _hub().HfApi()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        export(run, folder)
        (folder / "README.md").write_text(card(run, read_recipe(folder), repo), encoding="utf-8")
        try:
            url = api.create_repo(repo, private=private, exist_ok=True)
            api.upload_folder(repo_id=url.repo_id, folder_path=folder, commit_message="AlignSAM agent")
        except Exception as error:
            raise WeightsError(f"{repo} cannot be pushed to the Hub ({_first_line(error)}).") from error
    return str(url)


def card(run: Path, recipe: Recipe, repo: str) -> str:
    """The page of a repository, Markdown, with what ``metrics.json`` in the run's folder tells, if it is there."""
    env, file = recipe.env, run / "metrics.json"
    return _CARD.format(
        repo=repo,
        target=recipe.text or f"what {recipe.dataset} shows",
        sam=env.get("sam", "tiny"),
        text=f', text="{recipe.text or "what to look for"}"' if recipe.guided else "",
        dataset=recipe.dataset,
        branch=env.get("branch", "implicit"),
        steps=env.get("max_steps", 15),
        side=env.get("image_size", 800) // env.get("patch_size", 80),
        results=_results(json.loads(file.read_text())) if file.is_file() else "It has not been measured.",
    )


def _results(metrics: dict[str, Any]) -> str:
    """The ways of prompting as rows of a table."""
    strategies = metrics["prompting"]
    lines = ["| prompting | images | prompts | mIoU before | after | hits |", "| --- | --- | --- | --- | --- | --- |"]
    for name, summary in strategies.items():
        curve = summary["miou_by_step"]
        hits = "" if (rate := summary["foreground_rate"]) is None else f"{rate:.1%}"
        lines.append(f"| {name} | {summary['images']} | {len(curve) - 1} | {curve[0]:.3f} | {curve[-1]:.3f} | {hits} |")
    return "\n".join(lines)


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise OptionError("The Hugging Face Hub needs huggingface_hub: pip install 'alignsam-gym[hub]'.") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
