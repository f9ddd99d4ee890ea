"""Plays vector environments, and compares what they return."""

import numpy as np
from gymnasium.utils.env_checker import data_equivalence


def assert_close(ours, theirs, tolerance):
    """Equal trees of dicts and arrays, floats within a tolerance."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            assert_close(ours[name], theirs[name], tolerance)
    elif np.issubdtype(np.asarray(theirs).dtype, np.floating):
        np.testing.assert_allclose(ours, theirs, atol=tolerance)
    else:
        np.testing.assert_array_equal(ours, theirs)


def play(envs, actions, **reset):
    return [envs.reset(**reset), *(envs.step(np.array(action)) for action in actions)]


def are_identical(a, b):
    return data_equivalence(a, b, exact=True)
