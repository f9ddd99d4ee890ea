from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.experiments.shard import Shard


@given(st.integers(0, 50), st.integers(1, 20))
def test_parts_in_a_row_are_the_list_and_alike_in_length(length, count):
    items = list(range(length))
    parts = [Shard(index, count).part(items) for index in range(count)]
    assert list(chain(*parts)) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
