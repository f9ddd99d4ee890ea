import torch
from hypothesis import given
from hypothesis import strategies as st

from alignsam_gym.rows import Rows, index_on

CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 5), max_size=8))
def test_an_index_takes_the_rows(rows):
    x = torch.arange(12).view(6, 2)
    at = Rows.of(rows, CPU)
    assert at.here.tolist() == rows
    assert torch.equal(x[at.there], x[torch.tensor(rows, dtype=torch.int64)])


def test_rows_that_follow_one_another_are_not_copied():
    x = torch.zeros(6, 2)
    assert x[index_on(CPU, torch.tensor([2, 3, 4]))].data_ptr() == x[2:].data_ptr()
