"""The pretrained prompting policy: what one that knows no image, but many tasks, would prompt next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from alignsam_gym.agents.networks import EvidenceExtractor, PatchHead, RecurrentHead
from alignsam_gym.agents.q_policies import ActionValues, QPolicyMixin
from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.patch_evidence import EVIDENCE_CHANNELS
from alignsam_gym.errors import WeightsError

UNIT = 0.01
"""The gain of IoU that one unit of a patch's score, and of the value, stands for."""

POLICY_WEIGHTS = Path(__file__).parent / "prompting_policy.safetensors"
"""The shipped policy; how it was made is in POLICY_CARD.md, beside it."""

_SIDE = 10


class PromptingPolicy(nn.Module):
    """The networks of ``policy.network=evidence``, outside of Stable-Baselines3.

    Args:
        width: Channels of a layer.
        side: Patches along a side. The weights do not depend on it.
    """

    def __init__(self, width: int, side: int = _SIDE) -> None:
        super().__init__()
        self.width, self.side = width, side
        space = spaces.Box(-1, 1, (len(EVIDENCE_CHANNELS), side, side), np.float32)
        self.extractor = EvidenceExtractor(space, width)
        self.head = PatchHead(self.extractor, side * side)
        self.value = nn.Linear(self.head.latent_dim_vf, 1)

    def forward(self, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """Score patches and states.

        Args:
            evidence: float32 (B, channels, side, side), from `patch_evidence`.

        Returns:
            By patch, the change of IoU that a prompt there is expected to make, float32 (B, N), and the value, the
            discounted sum of what is to come, (B,). Both are in units of `UNIT`.
        """
        features = self.extractor(evidence)
        values: Tensor = self.value(self.head.value_features(features))
        return self.head.patch_scores(features)[:, 0], values[:, 0]

    def for_side(self, side: int) -> PromptingPolicy:
        """Return a policy with the same weights for another number of patches along a side."""
        if side == self.side:
            return self
        other = PromptingPolicy(self.width, side).to(self.value.weight.device)
        other.load_state_dict(self.state_dict())
        return other.train(self.training)

    @torch.no_grad()
    def choose(self, episode: Episode) -> np.ndarray:
        """Choose the patch of the highest score for each row, of those that `revisit` leaves: a `Prompter`."""
        scores, _ = self.for_side(episode.rules.grid.side)(episode.evidence())
        allowed = torch.from_numpy(episode.allowed()[:, : episode.rules.grid.count]).to(scores.device)
        return np.asarray(scores.masked_fill(~allowed, float("-inf")).argmax(1).cpu().numpy())


def save_prompting_policy(policy: PromptingPolicy, path: Path) -> None:
    """Write the weights as float16 safetensors."""
    weights = {name: value.detach().half().contiguous() for name, value in policy.state_dict().items()}
    write_atomically(path, save(weights, {"width": str(policy.width)}))


def load_prompting_policy(path: Path) -> PromptingPolicy:
    """Read what `save_prompting_policy` wrote.

    Raises:
        WeightsError: The file cannot be read, or holds other weights.
    """
    try:
        with safe_open(path, "pt") as file:
            policy = PromptingPolicy(int((file.metadata() or {})["width"]))
            policy.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} does not hold the weights of a prompting policy: {error}") from error
    return policy.eval()


def begin_pretrained(policy: BasePolicy) -> None:
    """Give a policy of any algorithm, with ``network=evidence``, the weights of the shipped one.

    An actor's logits are then the expected gains, in units of `UNIT`, and its critic's value the return of
    ``reward=delta_iou``; the Q of DQN and QR-DQN is that value and, by patch, the gain over the mean. Stopping gets the
    score 0, as it gains nothing.

    Raises:
        WeightsError: The weights cannot be read.
    """
    pretrained = load_prompting_policy(POLICY_WEIGHTS)
    for module in policy.modules():
        if isinstance(module, EvidenceExtractor):
            module.load_state_dict(pretrained.extractor.state_dict())
        elif isinstance(module, PatchHead):
            module.value.load_state_dict(pretrained.head.value.state_dict())
            _copy(pretrained.head.logits, module.logits, UNIT if isinstance(policy, QPolicyMixin) else 1.0)
            if module.stop is not None:
                nn.init.zeros_(module.stop.weight)
                nn.init.zeros_(module.stop.bias)
        elif isinstance(module, ActionValues):
            _copy(pretrained.value, module.value, UNIT)
        elif isinstance(module, RecurrentHead):
            nn.init.zeros_(module.remembered.weight)
    if not isinstance(policy, QPolicyMixin):
        _copy(pretrained.value, policy.value_net, UNIT)


@torch.no_grad()
def _copy(source: Any, target: Any, scale: float) -> None:
    """Copy a layer of one output to each output of another, times `scale`; what that reads besides counts nothing."""
    target.weight.zero_()
    target.weight[:, : source.weight.shape[1]] = source.weight * scale
    target.bias[:] = source.bias * scale
