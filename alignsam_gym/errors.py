"""What can go wrong, as a user would name it. Every message says what, where, and what to do."""

from numbers import Integral, Real


class AlignSAMError(Exception):
    """Base of every error that this package raises for a user's input."""


class OptionError(AlignSAMError, ValueError):
    """A keyword or configuration value that has no meaning here."""


class DataError(AlignSAMError, ValueError):
    """Images or masks that are missing, unreadable or do not belong together."""


class DataNotFoundError(DataError):
    """A published data set of which nothing is here."""


class WeightsError(AlignSAMError, RuntimeError):
    """Model weights that are missing or are not what they should be."""


def check_count(name: str, value: object, reason: str, least: int = 1) -> int:
    """Return `value` if it is a whole number, `least` or more; raise `OptionError` with the reason otherwise."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: it must be a whole number.")
    if value < least:
        raise OptionError(f"{name}={value}: {reason}.")
    return int(value)


def check_number(name: str, value: object) -> None:
    """Raise `OptionError` if `value` is no number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: it must be a number.")


def check_switch(name: str, value: object) -> None:
    """Raise `OptionError` if `value` is neither True nor False: words such as no and off would count as True."""
    if not isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: it must be true or false.")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> str:
    """Return `value` if it is one of `choices`; raise `OptionError` naming them otherwise."""
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"{name}={value!r} is unknown; choose one of {', '.join(choices)}.")
    return value
