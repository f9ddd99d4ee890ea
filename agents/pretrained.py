"""A trained agent for images that have no masks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy

from alignsam_gym.agents.agent_config import AgentConfig, is_digest, official, portable, read_agent_config, weights_file
from alignsam_gym.agents.agent_prompter import AgentPrompter
from alignsam_gym.agents.agent_weights import save_agent
from alignsam_gym.agents.bundle import SUFFIX, export, opened
from alignsam_gym.agents.embedded_weights import check_embedded_weights
from alignsam_gym.agents.hub import PICTURE, download_bundle, upload
from alignsam_gym.agents.networks import observation_of
from alignsam_gym.agents.trained_run import METRICS_FILE, trained_policy
from alignsam_gym.agents.vec_env import make_environments
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.prompting_session import (
    ImageLike,
    Prediction,
    PromptingSession,
    UnlabelledImages,
    read_pixels,
)
from alignsam_gym.errors import AlignSAMError, OptionError, WeightsError, check_count
from alignsam_gym.foundation.encoding.embedding_store import RecentStore
from alignsam_gym.foundation.sam.hf_checkpoints import is_cached, is_repository

_REPO = re.compile(r"[\w.-]+/[\w.-]+")


class AlignSAM:
    """A trained agent with its SRM and its SAM.

    >>> agent = AlignSAM.from_pretrained("outputs/train/2026-01-01_12-00-00")  # or a bundle, or user/name on the Hub
    >>> agent.predict("photo.jpg").mask

    Images may have any size. Nothing is kept of them but the latest encodings, in memory.

    Threads may share an agent: each call of `predict` and `predict_many`, and each session, gives the points and masks
    that it gives alone. No lock is needed for that, as all that changes in prompting belongs to the session. A session
    itself is for one thread at a time, and so is the iterator that `predict_many` returns.

    Attributes:
        rules: Of the prompting game.
        model: The SAM.
        clip: Draws the map of a text; None where no text guides the agent.
        features: The CLIP whose dense features the SRM sees; None where it sees none.
        srm: The trained SRM.
        policy: The trained policy.
        config: What the agent was made of.
        batch_size: How many images `predict_many` prompts at once.
    """

    def __init__(self, episode: Episode, policy: BasePolicy, config: AgentConfig, metrics: Path | None = None) -> None:
        """Take an agent's parts from the episode of its environment.

        Args:
            episode: Its rules, SAM, CLIP and trained SRM are the agent's, its number of rows the `batch_size`.
            policy: A trained one for such episodes.
            config: What the agent was made of.
            metrics: The file of its measurements, for the card of `push_to_hub`.

        Raises:
            OptionError: The agent prompts by the ground truth, which new images lack.
        """
        self.rules, self.model, self.srm = episode.rules, episode.model, episode.srm
        self.clip, self.features = episode.encoded.clip, episode.encoded.features
        self.policy, self.config, self.batch_size = policy, config, len(episode)
        self._metrics = metrics
        self._store = RecentStore()
        self.session()  # which raises what is wrong with the rules

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        sam: str | None = None,
        clip: str | None = None,
        trust_local_weights: bool = False,
        device: str | torch.device = "auto",
        batch_size: int = 16,
    ) -> AlignSAM:
        """Load an agent from a folder, a file or the Hugging Face Hub.

        Whoever made it, nothing is unpickled and nothing run, and what it is made of may choose neither which files
        are opened nor what is downloaded.

        Args:
            source: The folder of a run, a bundle of `alignsam_gym.agents.bundle` (a folder, or one file), or a
                repository on the Hub, ``user/name``. What lies here goes before the Hub.
            revision: Branch, tag or commit of the repository.
            sam: As for ``AlignSAM-v0``, if not the one that the agent was trained with; needed where that is a file.
            clip: The same; needed too where the agent's CLIP is not here.
            trust_local_weights: Open the files of weights that the configuration names, and download its CLIP, without
                `sam` and `clip`: for runs of your own.
            device: ``auto`` takes CUDA, else MPS, else the CPU; see `alignsam_gym.foundation.devices`.
            batch_size: How many images `predict_many` prompts at once.

        Raises:
            WeightsError: Something is missing, damaged or refused.
            OptionError: A keyword has no meaning here, or the agent prompts by the ground truth.
        """
        check_count("batch_size", batch_size, "at least one image is prompted at once")
        path = Path(source).expanduser()
        if path.exists() or not _is_repo(source):
            if revision is not None:
                raise OptionError(f"revision={revision!r} is for the Hub, and {path} is no repository there.")
        elif trust_local_weights:
            raise OptionError(f"trust_local_weights is for runs of your own, not for the Hub's {source}.")
        else:
            path = download_bundle(str(source), revision)
        with opened(path) as folder:
            config = with_models(read_agent_config(folder), sam, clip, trust_local_weights)
            env, policy = restore(folder, config, device, batch_size)
        return cls(env.episode, policy, config, path / METRICS_FILE)

    def save_pretrained(self, path: str | Path) -> None:
        """Write the agent as a bundle: one file if `path` ends in ``.alignsam``, else a folder.

        A SAM or CLIP from a file is left out, and named by its SHA-256.

        Raises:
            WeightsError: The bundle cannot be written, or would replace another run.
        """
        with TemporaryDirectory() as place:
            folder = Path(place)
            self.config.write(folder)
            save_agent(folder, self.policy, self.srm)
            export(folder, Path(path))

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool = False,
        images: Sequence[ImageLike] = (),
        licence: str | None = None,
        data: str | None = None,
    ) -> str:
        """Put the agent on the Hugging Face Hub, with a card; see `alignsam_gym.agents.hub.push`.

        Args:
            repo: ``user/name``, made if need be.
            private: Of a repository that is made.
            images: Whose masks the card shows. They are published with it.
            licence: The Hub's identifier of a licence, such as ``apache-2.0``, for the card.
            data: What the agent was trained and measured on, Markdown, for the card.

        Returns:
            The repository's address.

        Raises:
            WeightsError: The Hub refuses, or does not answer.
            OptionError: A text is needed to prompt the images.
            DataError: An image cannot be read, or the agent's measurements cannot.
        """
        with TemporaryDirectory() as place:
            self.save_pretrained(place)
            if images:
                from alignsam_gym.agents.sample_picture import draw_strips, prompt_photographs

                draw_strips(prompt_photographs(self, images), Path(place) / PICTURE)
            return upload(Path(place), repo, private, self._metrics, licence, data)

    def session(self) -> PromptingSession:
        """Make a session in which the agent prompts step by step, and a user may correct it."""
        prompter = AgentPrompter(self.policy, deterministic=True)
        return PromptingSession(
            self.rules,
            self.model,
            self.srm,
            prompter,
            clip=self.clip,
            features=self.features,
            text=self.config.text,
            intensity_range=self.config.intensity_range,
            store=self._store,
        )

    def predict(self, image: ImageLike, text: str | None = None) -> Prediction:
        """Segment an image by all the agent's prompts.

        Args:
            image: Of any size.
            text: What to look for, for an agent that a text guides; by default what it was trained for, if that was
                one text.

        Raises:
            OptionError: A text is needed and missing, or given and not looked at.
            DataError: The image is none, or cannot be read.
        """
        return next(self.predict_many([image], text))

    def predict_many(self, images: Iterable[ImageLike], text: str | None = None) -> Iterator[Prediction]:
        """Segment one image after the other, prompted in batches; see `predict`.

        The first image that cannot be read ends the iteration, after the answers to all before it.

        Args:
            images: Asked for as they are needed.
            text: What to look for in all of them.

        Raises:
            OptionError: A text is needed and missing, or given and not looked at.
            DataError: An image is none, or cannot be read.
        """
        failures: list[Exception] = []

        def readable() -> Iterator[np.ndarray]:
            try:
                for image in images:
                    yield read_pixels(image, self.config.intensity_range)
            except Exception as error:  # of the images' iterator, too; raised once those before are answered
                failures.append(error)

        session, waiting = self.session(), readable()
        while count := session.set_images(islice(waiting, self.batch_size), text):
            while session.step():
                pass
            for row in range(count):
                yield session.prediction(row)
        if failures:
            raise failures[0]


def with_models(
    config: AgentConfig, sam: str | None, clip: str | None, trust_local_weights: bool = False
) -> AgentConfig:
    """Put `sam` and `clip` into a configuration where they are given, as `AlignSAM.from_pretrained` explains.

    Raises:
        WeightsError: A model is refused, or needed and not given.
    """
    given = {"sam": sam, "clip": clip}
    trained = {kind: str(config.env.get(kind, "tiny")) for kind in given}
    if not config.needs_clip:
        trained["clip"] = "tiny"  # none is opened
    chosen = {kind: _choose_model(kind, trained[kind], name, trust_local_weights) for kind, name in given.items()}
    return replace(config, env=config.env | chosen)


def restore(
    folder: Path, config: AgentConfig, device: str | torch.device, batch_size: int
) -> tuple[AlignSAMVectorEnv, BasePolicy]:
    """Make what a run or bundle holds: an environment without images, its SRM trained, and the policy.

    Args:
        folder: Of the run or bundle.
        config: The agent's, checked.
        device: Where environment and policy are.
        batch_size: Rows of the environment.

    Raises:
        AlignSAMError: Weights are missing or damaged, or the configuration describes no agent.
    """
    check_embedded_weights(folder, config.embedded, config.env, config.needs_clip)
    try:
        env = make_environments(
            batch_size,
            observation_of(config.policy),
            dataset=UnlabelledImages(),
            split="test",
            device=device,
            srm=config.srm,
            **config.env,
        )
        return env, trained_policy(folder, env, config.agent, config.policy)
    except AlignSAMError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:  # a stranger may have written the options
        raise WeightsError(f"{folder} does not describe an agent ({type(error).__name__}: {error}).") from error


def _is_repo(source: str | Path) -> bool:
    """Whether a source that is not here may be a repository of the Hub."""
    return isinstance(source, str) and bool(_REPO.fullmatch(source)) and not source.endswith(SUFFIX)


def _choose_model(kind: str, trained: str, given: str | None, trust_local_weights: bool) -> str:
    """The `sam` or `clip` to use: the given one, or else the one that the agent was trained with.

    Unless it is trusted, the latter may be no file, and nothing is downloaded for it. Raises WeightsError.
    """
    if given is None:
        if trust_local_weights and not is_digest(kind, trained):
            return trained
        if not official(kind, trained):
            raise WeightsError(
                f"This agent was trained with a {kind} of its maker's own, {trained}: give its file, {kind}=<path> (a "
                f"command: --{kind} <path>)."
            )
        if not _is_here(kind, trained):
            raise WeightsError(
                f"This agent was trained with {kind}={trained}, which is not here: give {kind}={trained} to have it "
                f"downloaded (a command: --{kind} {trained})."
            )
        return trained
    own = is_digest(kind, trained) and not official(kind, given) and weights_file(kind, given).is_file()
    if own and portable(kind, given) != trained:
        raise WeightsError(f"{kind}={given} is not the model that this agent was trained with, {trained}.")
    return given


def _is_here(kind: str, name: str) -> bool:
    """Whether a published model is loaded without a download, as official checkpoints of SAM always are."""
    if kind == "sam":
        return not is_repository(name) or is_cached(name)
    if name == "tiny":
        return True
    from alignsam_gym.foundation.clip_surgery import is_downloaded  # open_clip takes seconds to import

    return is_downloaded(name)
