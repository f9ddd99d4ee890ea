import pytest

from alignsam_gym.evaluation.resume_log import ResumeLog


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "resume_log.jsonl"


def test_records_come_back_in_order(path):
    resume_log = ResumeLog(path, {"seed": 0})
    assert list(resume_log.read()) == []
    resume_log.append([{"id": "a"}, {"id": "b", "x": [1.5, None]}])
    resume_log.append([{"id": "ü"}])
    assert list(ResumeLog(path, {"seed": 0}).read()) == [{"id": "a"}, {"id": "b", "x": [1.5, None]}, {"id": "ü"}]


def test_another_signature_begins_anew(path):
    ResumeLog(path, {"seed": 0}).append([{"id": "a"}])
    resume_log = ResumeLog(path, {"seed": 1})
    assert list(resume_log.read()) == []
    resume_log.append([{"id": "b"}])
    assert list(ResumeLog(path, {"seed": 1}).read()) == [{"id": "b"}]


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_a_line_cut_short_is_forgotten(path, cut):
    ResumeLog(path, "same").append([{"id": "a"}, {"id": "b"}])
    path.write_bytes(path.read_bytes()[:-cut])
    resume_log = ResumeLog(path, "same")
    assert list(resume_log.read()) == [{"id": "a"}]
    resume_log.append([{"id": "c"}])
    assert list(resume_log.read()) == [{"id": "a"}, {"id": "c"}]


def test_a_file_that_is_no_resume_log_begins_anew(path):
    path.parent.mkdir()
    path.write_bytes(b"\x00 not json")
    assert list(ResumeLog(path, "same").read()) == []


def test_a_removed_resume_log_leaves_nothing(path):
    ResumeLog(path, "same").remove()
    assert not path.exists()
