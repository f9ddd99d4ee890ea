import pytest

from alignsam_gym.data.file_problems import FileProblems
from alignsam_gym.errors import DataError


def test_problems_are_an_error_together_or_a_warning_each(caplog):
    problems = FileProblems(skip=False)
    problems.check()
    problems.add("a is torn")
    problems.add("b is torn")
    with pytest.raises(DataError, match=r"^a is torn\nb is torn$"):
        problems.check()
    problems = FileProblems(skip=True)
    problems.add("c is torn")
    problems.check()
    assert "Left out: c is torn" in caplog.text
