"""A warm start for the policy: it first imitates one that can try prompts out before it chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from rich.progress import track
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional as F

from alignsam_gym.agents.policies import PromptPolicyMixin
from alignsam_gym.envs.alignsam_vector_env import AlignSAMVectorEnv
from alignsam_gym.errors import OptionError

_Tried = tuple[dict[str, Tensor] | Tensor, Tensor, Tensor]


def warm_start(policy: BasePolicy, env: AlignSAMVectorEnv, options: Mapping[str, Any], seed: int) -> None:
    """Distil one-step lookahead into `policy`, while the SRM of `env` learns as always. [ours; warm_start]

    A round is one episode of every environment, which must have been reset. At each step some patches are tried out
    with the labels that they would get (`Episode.lookahead_iou`); the policy learns to choose among them, and stopping, which
    gains nothing, in proportion to exp(gain of IoU / temperature). Half of the rows then take the best of them, the
    others a draw from the policy.

    options: config group ``warm_start``. Raises OptionError for a policy that gives no distribution over actions for a
    state alone.
    """
    if not isinstance(policy, PromptPolicyMixin) or policy.memory:
        raise OptionError("warm_start needs agent=ppo, a2c or maskable_ppo; for others leave warm_start=none.")
    if "learning_rate" not in options:
        raise OptionError("warm_start.rounds is set, but warm_start=none says nothing else; take warm_start=lookahead.")
    options = dict(options)
    rng = np.random.default_rng(seed)
    episode = env.episode
    optimizer = torch.optim.Adam(policy.parameters(), lr=options["learning_rate"])
    tried: list[_Tried] = []
    for number in track(range(options["srm_rounds"] + options["rounds"]), "warm start"):
        for _ in range(episode.rules.max_steps):
            candidates = _draw(episode.allowed()[:, : episode.rules.grid.count], options["candidates"], rng)
            if number < options["srm_rounds"]:
                env.step(candidates[:, 0].numpy())
                continue
            candidates = candidates.to(episode.model.device)
            gains = episode.lookahead_iou(candidates) - episode.iou[:, None]
            best = candidates.gather(1, gains.argmax(1, keepdim=True))[:, 0].cpu().numpy()
            if episode.rules.stop:
                candidates = F.pad(candidates, (0, 1), value=episode.rules.grid.count)
                gains = F.pad(gains, (0, 1))
            observations = env.observe()
            drawn, _ = policy.predict(observations)
            tried.append((policy.obs_to_tensor(observations)[0], candidates, gains))
            env.step(np.where(rng.random(len(best)) < 0.5, best, drawn))
        if tried:
            _imitate(policy, optimizer, tried, options, rng)


def _draw(allowed: np.ndarray, count: int, rng: np.random.Generator) -> Tensor:
    """`count` of each row's allowed patches, int64 (B, count); others only where there are not as many."""
    return torch.from_numpy(np.argsort(-rng.random(allowed.shape) * allowed, axis=1)[:, :count])


def _imitate(
    policy: PromptPolicyMixin,
    optimizer: torch.optim.Optimizer,
    tried: list[_Tried],
    options: Mapping[str, Any],
    rng: np.random.Generator,
) -> None:
    """Some passes over all that was tried."""
    policy.set_training_mode(True)
    seen, candidates, gains = _joined(tried)
    wanted = (gains / options["temperature"]).softmax(1)
    for _ in range(options["epochs"]):
        for batch in torch.from_numpy(rng.permutation(len(gains))).split(options["batch_size"]):
            distribution = policy.get_distribution(_thinned(_rows(seen, batch), options["dropout"], rng)).distribution
            assert isinstance(distribution, Categorical)
            loss = F.cross_entropy(distribution.logits.gather(1, candidates[batch]), wanted[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _joined(tried: list[_Tried]) -> _Tried:
    observations, candidates, gains = zip(*tried, strict=True)
    if isinstance(observations[0], dict):
        joined: Any = {name: torch.cat([one[name] for one in observations]) for name in observations[0]}
    else:
        joined = torch.cat(observations)
    return joined, torch.cat(candidates), torch.cat(gains)


def _rows(observations: Any, batch: Tensor) -> Any:
    if isinstance(observations, dict):
        return {name: part[batch] for name, part in observations.items()}
    return observations[batch]


def _thinned(observations: Any, rate: float, rng: np.random.Generator) -> Any:
    """Observations with some channels left out, so that no few of SAM's many are relied on."""
    if isinstance(observations, dict):
        return observations | {"patches": _thinned(observations["patches"], rate, rng)}
    kept = torch.from_numpy(rng.random(observations.shape[:2]) >= rate).to(observations) / (1 - rate)
    return observations * kept[:, :, None, None]
