"""What a user can do wrong, as errors. Every message says what is wrong, where, and what to do."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from math import inf
from numbers import Integral, Real


class AlignSAMError(Exception):
    """Base of every error that this package raises for a user's input."""


class OptionError(AlignSAMError, ValueError):
    """A keyword or configuration value that has no meaning here."""


class UnknownOptionError(OptionError, TypeError):
    """An option that there is not.

    Python raises a TypeError for an unknown keyword. TorchRL's ``GymEnv`` passes ``frameskip`` to every environment,
    and leaves it out once such an error, in Python's words, has refused it.
    """


class DataError(AlignSAMError, ValueError):
    """Images or masks that are missing, unreadable or do not belong together."""


class DataNotFoundError(DataError):
    """A published data set of which no part is found."""


class WeightsError(AlignSAMError, RuntimeError):
    """Model weights that are missing or are not what they should be."""


def check_count(name: str, value: object, reason: str, least: int = 1) -> int:
    """Check that an option is a whole number of at least `least`.

    Args:
        name: The option's name, for the message.
        value: What the user gave.
        reason: Why a smaller number makes no sense, for the message.
        least: The smallest number allowed.

    Returns:
        The value as an `int`.

    Raises:
        OptionError: If the value is no whole number, or too small.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: it must be a whole number.")
    if value < least:
        raise OptionError(f"{name}={value}: {reason}.")
    return int(value)


def check_number(name: str, value: object) -> None:
    """Raise `OptionError` if the value of the option `name` is not a finite real number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: it must be a number.")
    if value <= -inf or not value < inf:  # NaN, too; math.isfinite fails on whole numbers above the largest float
        raise OptionError(f"{name}={value}: it must be a finite number.")


def check_switch(name: str, value: object) -> None:
    """Raise `OptionError` if the value of the option `name` is neither True nor False.

    Python would take words such as "no" and "off" for True.
    """
    if not isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: it must be true or false.")


def check_list(name: str, value: object) -> None:
    """Raise OptionError if one word is given where a list of them is wanted."""
    if isinstance(value, str):
        raise OptionError(f"{name}={value}: it must be a list, such as [{value}].")


def check_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Check that an option has one of its possible values.

    Args:
        name: The option's name, for the message.
        value: What the user gave.
        choices: The possible values, in the order in which the message lists them.

    Returns:
        The value.

    Raises:
        OptionError: If the value is none of the choices. The message lists them and proposes the nearest.
    """
    if not isinstance(value, str) or value not in choices:
        hint = did_you_mean(str(value), choices)
        raise OptionError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}.{hint}")
    return value


def check_option_names(owner: str, names: Iterable[str], known: Collection[str]) -> None:
    """Check that something has all the options that a user gave it.

    Args:
        owner: What takes the options, as the subject of the message: ``dataset='shapes'``.
        names: Names of the options that the user gave.
        known: Names of the options that there are.

    Raises:
        UnknownOptionError: If an option is unknown. The message lists the known ones and proposes the nearest ones.
    """
    if unknown := sorted(set(names) - set(known)):
        refused = " and ".join(f"an unexpected keyword argument {name!r}" for name in unknown)
        hints = "".join(did_you_mean(name, known) for name in unknown)
        raise UnknownOptionError(f"{owner} got {refused}; it takes {', '.join(sorted(known)) or 'none'}.{hints}")


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a sentence that proposes the choice nearest to a misspelt name, to end a message with.

    Upper and lower case count as the same. The sentence begins with a space: `` Did you mean shots?``; it is empty if
    no choice is near.
    """
    match = nearest(name, choices)
    return f" Did you mean {match}?" if match else ""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice nearest to a misspelt name, whatever its case, or None if no choice is near."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    matches = get_close_matches(name.lower(), by_lower_case, n=1)
    return by_lower_case[matches[0]] if matches else None


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, to stand in a message of ours; its type if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
