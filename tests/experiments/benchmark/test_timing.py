import torch

from alignsam_gym.experiments.benchmark.timing import alternate, statistics


def test_ways_take_turns_and_the_first_round_is_not_counted():
    calls = []
    strategies = {"ours": lambda: calls.append("ours"), "theirs": lambda: calls.append("theirs")}
    seconds = alternate(strategies, 3, torch.device("cpu"))
    assert calls == ["ours", "theirs"] * 4
    assert [len(times) for times in seconds.values()] == [3, 3]


def test_statistics_are_for_each_of_the_things_counted():
    found = statistics({"ours": [0.1, 0.2, 0.3], "other": [0.4, 0.4, 0.4]}, count=10)
    assert found["ours"]["median"] == 20
    assert found["ours"]["spread"] == 5
    assert found["ratio"] == 2
