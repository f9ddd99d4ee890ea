import numpy as np
import pytest

from alignsam_gym.errors import OptionError, check_choice, check_number, check_option_names, did_you_mean, first_line


@pytest.mark.parametrize(
    ("name", "hint"),
    [("shotz", " Did you mean shots?"), ("SRM", " Did you mean srm?"), ("voc", " Did you mean VOC2012?"), ("xyz", "")],
)
def test_the_nearest_choice_is_proposed_in_its_own_case(name, hint):
    assert did_you_mean(name, ["shots", "shots_per", "srm", "VOC2012"]) == hint


def test_an_unknown_value_is_told_with_the_choices_and_the_nearest():
    message = r"^branch='explict' is unknown; choose one of implicit, explicit\. Did you mean explicit\?$"
    with pytest.raises(OptionError, match=message):
        check_choice("branch", "explict", ("implicit", "explicit"))
    with pytest.raises(OptionError, match=r"^branch=3 is unknown; choose one of implicit, explicit\.$"):
        check_choice("branch", 3, ("implicit", "explicit"))
    assert check_choice("branch", "explicit", ("implicit", "explicit")) == "explicit"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), np.float32("nan")])
def test_a_number_is_finite(value):
    with pytest.raises(OptionError, match=f"^share={value}: it must be a finite number"):
        check_number("share", value)
    check_number("share", 10**400)


def test_unknown_options_are_told_with_the_known_ones_and_the_nearest():
    check_option_names("this", ["seed"], ["seed", "root"])
    unknown = "an unexpected keyword argument 'rot' and an unexpected keyword argument 'sed'"
    message = rf"^this got {unknown}; it takes root, seed\. Did you mean root\? Did you mean seed\?$"
    with pytest.raises(OptionError, match=message):
        check_option_names("this", ["seed", "sed", "rot"], ["seed", "root"])
    with pytest.raises(OptionError, match=r"^this got an unexpected keyword argument 'seed'; it takes none\.$"):
        check_option_names("this", ["seed"], [])


def test_an_unknown_option_is_the_type_error_that_python_raises_for_an_unknown_keyword():
    def shoot(shots): ...

    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'shotz'"):
        shoot(shotz=3)
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'shotz'"):
        check_option_names("this", ["shotz"], ["shots"])


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("\nno space\nleft"), "no space"), (KeyError("x"), "'x'"), (RuntimeError(), "RuntimeError")],
)
def test_the_first_line_of_an_error_says_something(error, line):
    assert first_line(error) == line
