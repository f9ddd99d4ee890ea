from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.shard import Shard


@given(st.integers(0, 50), st.integers(1, 20))
def test_parts_in_a_row_are_the_list_and_alike_in_length(length, count):
    items = list(range(length))
    parts = [Shard(index, count).part(items) for index in range(count)]
    assert list(chain(*parts)) == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(0, 50), st.integers(1, 20), st.integers(1, 9))
def test_shards_end_where_batches_end(length, count, size):
    items = list(range(length))
    shards = [Shard(index, count) for index in range(count)]
    if count > max(1, -(-length // size)):
        with pytest.raises(OptionError, match=f"{count} shards: {length} images are"):
            shards[0].whole_batches(items, size)
        return
    parts = [shard.whole_batches(items, size) for shard in shards]
    assert list(chain(*parts)) == items
    assert all(len(part) % size == 0 for part in parts[:-1])


@pytest.mark.parametrize("text", ["", "1", "1/", "/8", "a/8", "-1/8", "0.5/8", "1/8/2"])
def test_a_shard_is_written_as_index_and_count(text):
    with pytest.raises(OptionError, match="write 0/8 for the first of eight"):
        Shard.parsed(text)
