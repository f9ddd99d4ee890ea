from dataclasses import replace
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


def test_some_states_are_those_of_the_formed_state():
    state = _state(0, rows=5)
    whole = state.formed()
    assert len(state) == 5
    for rows in ([1, 2], [4, 0], [0, 2, 3], []):
        some = state[torch.tensor(rows, dtype=torch.int64)]
        assert len(some) == len(rows)
        assert torch.equal(some.formed(), whole[rows])
    assert torch.equal(state[torch.tensor([4, 0, 1])][torch.tensor([2, 1])].formed(), whole[[1, 0]])


def test_projecting_some_states_equals_forming_and_then_projecting():
    state = _state(0, rows=5)
    state = replace(state, channel_gains=torch.rand(5, state.embeddings.shape[1]))
    projection = StateProjection(state.formed().shape[1], 7)
    for rows in ([3, 0, 4], [1, 2, 3]):
        some = state[torch.tensor(rows)]
        for part in (some, replace(some, channel_gains=None)):
            torch.testing.assert_close(projection(part), projection.convolution(part.formed()), atol=1e-5, rtol=1e-4)
