import pytest
import torch
from torch import nn

from alignsam_gym.srm.branches import BRANCHES, ExplicitBranch, ImplicitBranch
from alignsam_gym.state import State


def _states(count, channels, *size, requires_grad=False):
    embeddings = torch.randn(count, channels, *size, requires_grad=requires_grad)
    return State(embeddings, torch.ones(count, 1, *size), embeddings[:, :0])


@pytest.mark.parametrize("kind", BRANCHES)
@pytest.mark.parametrize("shape", [(2, 24, 8, 8), (1, 24, 4, 6), (1, 24, 5, 3)])
def test_one_logit_for_each_cell(kind, shape):
    assert BRANCHES[kind](24, 16)(_states(*shape)).shape == (shape[0], *shape[2:])


@pytest.mark.parametrize(("kind", "before", "after"), [("implicit", 3, 1), ("explicit", 3, 2)])
def test_a_branch_has_the_papers_convolutions(kind, before, after):
    """Explicit: three, self-attention, two. Implicit: a projection and two blocks, then the head."""
    branch = BRANCHES[kind](24, 16)
    found = [name.split(".")[0] for name, module in branch.named_modules() if isinstance(module, nn.Conv2d)]
    assert sum(name in ("project", "blocks") for name in found) == before
    assert sum(name in ("decode", "head") for name in found) == after


@pytest.mark.parametrize(("blocks", "dilated", "side"), [(2, False, 5), (2, True, 7), (4, True, 31), (5, False, 11)])
def test_how_far_a_logit_of_the_implicit_branch_sees(blocks, dilated, side):
    """Group normalisation sees every cell, so that it is left out."""
    torch.manual_seed(0)
    branch, states = ImplicitBranch(8, 16, blocks, dilated), _states(1, 8, 41, 41, requires_grad=True)
    for block in branch.blocks:
        block[1] = nn.Identity()
    branch(states)[0, 20, 20].backward()
    seen = states.embeddings.grad[0].abs().sum(0) > 0
    assert seen.any(0).nonzero().flatten().tolist() == list(range(20 - side // 2, 21 + side // 2))
    assert torch.equal(seen.any(0), seen.any(1))


def test_every_cell_of_the_explicit_branch_sees_every_other():
    """Its convolutions reach four cells; only attention carries further."""
    torch.manual_seed(0)
    branch, states = ExplicitBranch(8, 16), _states(1, 8, 20, 20, requires_grad=True)
    branch(states)[0, 0, 0].backward()
    assert (states.embeddings.grad.abs().sum(1) > 0).all()


def test_attention_equals_pytorchs_own():
    torch.manual_seed(0)
    branch, x = ExplicitBranch(8, 16), torch.randn(2, 16, 8, 4)
    reference = torch.nn.MultiheadAttention(16, ExplicitBranch.heads, batch_first=True)
    with torch.no_grad():
        parts = (branch.query, branch.key, branch.value)
        reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        reference.out_proj.weight.copy_(branch.mix.weight)
        reference.out_proj.bias.copy_(branch.mix.bias)
        tokens = branch.norm(x.flatten(2).transpose(1, 2))
        means = branch.norm(x.unflatten(2, (2, 4)).mean((3, 4), keepdim=True).flatten(2).transpose(1, 2))
        expected, _ = reference(tokens, means, means)
        ours = branch._attend(x).flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)
