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

from alignsam_gym.agents.networks import EvidenceExtractor, PatchHead
from alignsam_gym.agents.policies import PromptPolicy
from alignsam_gym.atomic_write import write_atomically
from alignsam_gym.envs.episode import Episode
from alignsam_gym.envs.patch_evidence import EVIDENCE_CHANNELS
from alignsam_gym.errors import OptionError, WeightsError

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
        """Choose the patch of the highest score for each row, of those not chosen before: a `Prompter`."""
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
    """Give a policy of Stable-Baselines3 the weights of the shipped one, and keep them as what it begins from.

    Its logits are the expected gains, in units of `UNIT`, its value the return of ``reward=delta_iou``. Stopping gets
    the logit 0, as it gains nothing.

    Raises:
        OptionError: It is not the policy of PPO or A2C.
        WeightsError: The weights cannot be read.
    """
    if not isinstance(policy, PromptPolicy):
        raise OptionError("policy.init=pretrained needs agent=ppo or a2c; for others take init=none.")
    pretrained = load_prompting_policy(POLICY_WEIGHTS)
    head: Any = policy.mlp_extractor
    for extractor in {policy.features_extractor, policy.pi_features_extractor, policy.vf_features_extractor}:
        extractor.load_state_dict(pretrained.extractor.state_dict())
    head.load_state_dict(pretrained.head.state_dict(), strict=False)  # which has no stopping
    with torch.no_grad():
        policy.value_net.weight.copy_(pretrained.value.weight * UNIT)
        policy.value_net.bias.copy_(pretrained.value.bias * UNIT)
        if head.stop is not None:
            head.stop.weight.zero_()
            head.stop.bias.zero_()
    policy.keep_start()
