from pathlib import Path

import pytest

from alignsam_gym.demo import words
from alignsam_gym.demo.pointers import Pointers
from alignsam_gym.demo.visit import prompt_to_end


@pytest.mark.parametrize(
    ("runs", "short"),
    [
        (["ECSSD/0"], ["0"]),
        (["ECSSD/0", "VOC2012/0", "VOC2012/1"], ["ECSSD/0", "VOC2012/0", "1"]),
        (["new/ECSSD/0", "old/ECSSD/0"], ["new/ECSSD/0", "old/ECSSD/0"]),
        (["0", "ECSSD/0"], ["0", "ECSSD/0"]),
    ],
)
def test_agents_are_called_by_as_much_of_their_paths_as_tells_them_apart(make_run, monkeypatch, tmp_path, runs, short):
    monkeypatch.chdir(tmp_path)
    for run in runs:
        Path(run).parent.mkdir(parents=True, exist_ok=True)
        make_run(run)
    pointers = Pointers([Path(run) for run in runs], None, None, "cpu")
    assert pointers.names[:-1] == runs
    found = [pointers.get(run) for run in runs]
    assert [pointer.short for pointer in found] == short
    assert all(f"**The trained agent of {name}**" in pointer.how for name, pointer in zip(short, found, strict=True))


def test_the_page_calls_an_agent_by_its_short_name(make_pointer, picture):
    visit = prompt_to_end(make_pointer(), picture, None)
    prediction = visit.session.prediction()
    assert words.summary(visit, 3, prediction).startswith("run: t = 3 of 3;")
    assert "run" in words.table(visit, 3, prediction)
