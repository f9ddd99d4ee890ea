"""Bundles from and to the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from pathlib import Path

from alignsam_gym.agents.agent_config import read_agent_config
from alignsam_gym.agents.bundle import MEMBERS, export
from alignsam_gym.agents.metrics_file import read_metrics
from alignsam_gym.agents.trained_run import METRICS_FILE
from alignsam_gym.errors import WeightsError, first_line

PICTURE = "samples.png"
"""What the picture of a card is called, beside it."""


def download_bundle(repo: str, revision: str | None = None) -> Path:
    """Download a bundle from the Hub into its cache.

    Args:
        repo: ``user/name``.
        revision: Branch, tag or commit; by default the main branch.

    Returns:
        The bundle's folder.

    Raises:
        WeightsError: The Hub does not have it, or does not answer.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(MEMBERS)))
    except Exception as error:  # its own, or those of the HTTP library that its version has
        raise WeightsError(
            f"{repo} cannot be had from the Hub ({first_line(error)}), nor is there a folder or file of that name."
        ) from error


def push(run: Path, repo: str, private: bool = False, licence: str | None = None, data: str | None = None) -> str:
    """Put a run or bundle on the Hub as a bundle, with a card of the run's measurements.

    You must be logged in (``hf auth login``, or $HF_TOKEN).

    Args:
        run: Folder of a run, or a bundle.
        repo: ``user/name``, made if need be.
        private: Of a repository that is made.
        licence: The Hub's identifier of a licence, such as ``apache-2.0``, for the card.
        data: What the agent was trained and measured on, Markdown, for the card.

    Returns:
        The repository's address.

    Raises:
        WeightsError: The run is incomplete, or the Hub refuses or does not answer.
        DataError: The run's `METRICS_FILE` is torn, or holds no measurements.
    """
    run = run.expanduser()
    with tempfile.TemporaryDirectory() as place:
        export(run, Path(place))
        return upload(Path(place), repo, private, run / METRICS_FILE, licence, data)


def upload(
    bundle: Path,
    repo: str,
    private: bool = False,
    metrics: Path | None = None,
    licence: str | None = None,
    data: str | None = None,
) -> str:
    """Upload the folder of a bundle, with a card that is written into it; see `push`.

    Args:
        bundle: Folder of the bundle. A picture called `PICTURE` in it is shown by the card.
        repo: ``user/name``, made if need be.
        private: Of a repository that is made.
        metrics: What an evaluation has left, for the card; it need not be there.
        licence: For the card.
        data: For the card.

    Raises:
        WeightsError: The Hub refuses, or does not answer.
        DataError: `metrics` is torn, or holds no measurements.
    """
    from huggingface_hub import HfApi

    from alignsam_gym.agents.hub_card import make_card

    found = read_metrics(metrics) if metrics and metrics.is_file() else None
    has_picture = (bundle / PICTURE).is_file()
    card = make_card(read_agent_config(bundle), repo, found, licence=licence, data=data, has_picture=has_picture)
    (bundle / "README.md").write_text(card, encoding="utf-8")
    api = HfApi()
    try:
        url = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=url.repo_id, folder_path=bundle, commit_message="AlignSAM agent")
    except Exception as error:
        raise WeightsError(f"{repo} cannot be pushed to the Hub ({first_line(error)}).") from error
    return str(url)
