import threading

import pytest
import torch

from alignsam_gym.evaluation.score_threads import map_threads


@pytest.fixture
def threads():
    """PyTorch's number of threads, 3 while the test runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_results_come_in_order_from_several_threads_at_once(threads):
    together = threading.Barrier(threads, timeout=30)

    def square(number):
        if number < threads:
            together.wait()  # passes only when all threads are here
        return number * number

    assert list(map_threads(square, range(20))) == [number * number for number in range(20)]


def test_no_more_items_are_taken_than_are_under_way(threads):
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    for done, _ in enumerate(map_threads(str, items())):
        assert len(taken) <= done + 2 * threads
    assert len(taken) == 50


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_is_raised_where_its_result_would_be(threads, error):
    def refuse(number):
        if number == 4:
            raise error("four")
        return number

    results = map_threads(refuse, range(50))
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(error, match="four"):
        next(results)


def test_nothing_goes_on_after_an_early_end(threads):
    done = []
    results = map_threads(done.append, range(50))
    next(results)
    results.close()
    assert len(done) <= 2 * threads
