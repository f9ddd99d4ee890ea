import torch
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.foundation.sam.rows import rows_of


@given(st.lists(st.integers(0, 5), max_size=8))
def test_rows_are_those_of_indexing(rows):
    x, rows = torch.arange(12).view(6, 2), torch.tensor(rows, dtype=torch.int64)
    assert torch.equal(rows_of(x, rows), x[rows])


def test_consecutive_rows_are_not_copied():
    x = torch.zeros(6, 2)
    assert rows_of(x, torch.tensor([2, 3, 4])).data_ptr() == x[2:].data_ptr()
