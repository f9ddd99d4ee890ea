import pytest

from experiments.journal import Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "journal.jsonl"


def test_records_come_back_in_order(path):
    journal = Journal(path, {"seed": 0})
    assert list(journal.read()) == []
    journal.append([{"id": "a"}, {"id": "b", "x": [1.5, None]}])
    journal.append([{"id": "ü"}])
    assert list(Journal(path, {"seed": 0}).read()) == [{"id": "a"}, {"id": "b", "x": [1.5, None]}, {"id": "ü"}]


def test_another_signature_begins_anew(path):
    Journal(path, {"seed": 0}).append([{"id": "a"}])
    journal = Journal(path, {"seed": 1})
    assert list(journal.read()) == []
    journal.append([{"id": "b"}])
    assert list(Journal(path, {"seed": 1}).read()) == [{"id": "b"}]


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_a_line_cut_short_is_forgotten(path, cut):
    Journal(path, "same").append([{"id": "a"}, {"id": "b"}])
    path.write_bytes(path.read_bytes()[:-cut])
    journal = Journal(path, "same")
    assert list(journal.read()) == [{"id": "a"}]
    journal.append([{"id": "c"}])
    assert list(journal.read()) == [{"id": "a"}, {"id": "c"}]


def test_a_file_that_is_no_journal_begins_anew(path):
    path.parent.mkdir()
    path.write_bytes(b"\x00 not json")
    assert list(Journal(path, "same").read()) == []


def test_a_removed_journal_leaves_nothing(path):
    Journal(path, "same").remove()
    assert not path.exists()
