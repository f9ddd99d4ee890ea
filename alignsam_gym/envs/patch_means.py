"""The observation on the agent's own grid: what the state is on average in each patch."""

from __future__ import annotations

import torch
from torch import Tensor

from alignsam_gym.envs.rules import Rules
from alignsam_gym.state import make_state


def patch_means(rules: Rules, embeddings: Tensor, mask: Tensor, srm_logits: Tensor) -> Tensor:
    """Average a state over patches.

    A guided state gets two channels that the means do not tell: how much M and the SRM's map differ on average, and
    the SRM's map at the patch's centre, where the prompt would be.

    Args:
        rules: They say what a state and a patch is.
        embeddings: float (B, C, g, g), E(x).
        mask: float (B, g, g) in [0, 1], M.
        srm_logits: float (B, g, g), the SRM's map as logits.

    Returns:
        float (B, channels, side, side).
    """
    grid, srm_map = rules.grid, srm_logits.sigmoid()
    state = make_state(rules.state, embeddings, mask, srm_map)
    means = [grid.pool_product(embeddings, factor) for factor in state.factors.unbind(1)]
    means.append(grid.pool(state.maps))
    if rules.state == "guided":
        means.append(grid.pool((srm_map - mask).abs())[:, None])
        centres = grid.centres.to(srm_logits.device, non_blocking=True).expand(srm_logits.shape[0], -1, -1)
        means.append(grid.sample(srm_logits, centres).sigmoid().unflatten(1, (1, grid.side, -1)))
    return torch.cat(means, dim=1)
