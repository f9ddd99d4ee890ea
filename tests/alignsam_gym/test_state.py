from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.state import State, StateKind, StateProjection, make_state, state_channels


def _state(seed, rows=3, channels=4, factors=2, maps=1):
    generator = torch.Generator().manual_seed(seed)
    parts = [(rows, channels), (rows, factors), (rows, maps)]
    return State(*(torch.randn(*part, 5, 6, generator=generator) for part in parts))


@pytest.mark.parametrize("kind", get_args(StateKind))
def test_states_are_formed_as_their_names_say(kind):
    embeddings, mask, srm_map = torch.randn(2, 3, 4, 4), torch.rand(2, 4, 4), torch.rand(2, 4, 4)
    formed = make_state(kind, embeddings, mask, srm_map).formed()
    product = embeddings * mask[:, None]
    expected = {
        "product": [product],
        "concat": [embeddings, product, mask[:, None]],
        "guided": [product, mask[:, None], srm_map[:, None]],
    }[kind]
    assert torch.equal(formed, torch.cat(expected, dim=1))
    assert formed.shape[1] == state_channels(kind, 3)


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(0, 2))
def test_projecting_equals_forming_and_then_projecting(seed, factors, maps):
    state = _state(seed, factors=factors, maps=maps)
    torch.manual_seed(seed)
    projection = StateProjection(state.formed().shape[1], 7)
    torch.testing.assert_close(projection(state), projection.convolution(state.formed()), atol=1e-5, rtol=1e-4)


def test_rows_and_parts_are_those_of_the_formed_state():
    state = _state(0, rows=5)
    whole = state.formed()
    assert len(state) == 5
    for rows in (slice(1, 3), torch.tensor([4, 0]), torch.tensor([True, False, True, True, False])):
        assert torch.equal(state[rows].formed(), whole[rows])
    assert torch.equal(torch.cat([part.formed() for part in state.split(2)]), whole)
    assert [len(part) for part in state.split(2)] == [2, 2, 1]
