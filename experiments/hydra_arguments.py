"""Texts and paths among a command's arguments, put into quotes so that Hydra reads them as they were typed.

Hydra takes ``7``, ``null`` and ``[a]`` for values of other types, and refuses most punctuation and every letter beyond
ASCII; but a folder may be called any of these. What a user has put into quotes, a list where the key takes one, and an
interpolation keep their meaning, unless a file or folder is called exactly so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import GrammarParseError
from omegaconf.grammar_parser import parse as parse_interpolations

from alignsam_gym.errors import OptionError
from alignsam_gym.experiments.command_keys import key_types
from alignsam_gym.foundation.sam.hf_checkpoints import HF
from alignsam_gym.options import alternatives

_ARGUMENT = re.compile(r"(?P<override>\+{0,2}(?P<key>[\w./]+)(?:@[\w.:]+)?)=(?P<value>.*)", re.DOTALL)
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_ITEM = re.compile(rf"\s*((?:{_QUOTED.pattern})(?=\s*(?:,|\Z))|(?:\[[^\[\]]*\]|[^,])*)\s*(,?)", re.DOTALL)
_FUNCTION = re.compile(r"[a-z_]+\(.*\)", re.DOTALL)  # of Hydra's, in a sweep: choice(a,b), glob(*)


def hydra_arguments(command: str, arguments: Sequence[str]) -> list[str]:
    """Quote the texts and paths among a command's arguments.

    Args:
        command: The name of its file in conf/, without ``.yaml``.
        arguments: As they were typed. With ``-m`` among them, commas separate the values of a sweep.

    Returns:
        The arguments for Hydra.

    Raises:
        OptionError: A text is empty, or several values may be meant.
    """
    types, sweeps = key_types(command), not {"-m", "--multirun"}.isdisjoint(arguments)
    return [_hydra_argument(argument, types, sweeps) for argument in arguments]


def quoted(text: object) -> str:
    """Put a text into quotes that Hydra takes off again."""
    return str(QuotedString(str(text), Quote.single).with_quotes())


def _hydra_argument(argument: str, types: Mapping[str, Any], sweeps: bool) -> str:
    if argument.startswith(f"sam={HF}") and "env.sam" in types:  # no choice of the group ``sam`` begins so
        argument = f"env.{argument}"
    parts = _ARGUMENT.fullmatch(argument)
    if parts is None:
        return argument
    value, key = parts["value"], _Key.of(parts["key"], types.get(parts["key"], Any))
    if not (key.takes_text or key.takes_word or key.takes_texts):
        return argument
    if sweeps and not _exists(value):
        values = [value] if _FUNCTION.fullmatch(value) else [key.quote(item) for item in _items(value)]
        return f"{parts['override']}={','.join(values)}"
    return f"{parts['override']}={key.quote(value)}"


class _Key(NamedTuple):
    """A key, and what its type lets it take."""

    name: str
    takes_text: bool
    takes_word: bool  # one of several
    takes_list: bool
    takes_texts: bool  # a list of them
    takes_values: bool  # a list of numbers or lists
    takes_number: bool
    takes_null: bool

    @classmethod
    def of(cls, name: str, hint: Any) -> _Key:
        kinds = alternatives(hint)
        lists = [kind for kind in kinds if get_origin(kind) in (Sequence, list)]
        items = {kind for each in lists for kind in alternatives(get_args(each)[0])}
        return cls(
            name,
            str in kinds or Path in kinds,
            any(get_origin(kind) is Literal for kind in kinds),
            bool(lists),
            bool({str, Path} & items),
            bool(items - {str, Path}),
            int in kinds or float in kinds,
            NoneType in kinds,
        )

    def quote(self, value: str) -> str:
        """Quote a value, or each text in a list of them."""
        if self.takes_null and value.lower() == "null":
            return value
        if _exists(value):
            return _quoted_if_needed(_home(value).replace("${", r"\${"))
        if self.takes_list and value.startswith("[") and value.endswith("]"):
            items = _items(value[1:-1]) if self.takes_texts and value[1:-1].strip() else []
            return f"[{','.join(map(self._quote_item, items))}]" if items else value
        if "," in value and not self.takes_text and not self.takes_list:
            return value  # no choice has a comma: Hydra tells how to sweep
        if "," in value and self.takes_list and not _QUOTED.fullmatch(value):
            raise OptionError(
                f"{self.name}={value}: for several write {self.name}=[{value}], for one with a comma "
                f'{self.name}="{quoted(value)}".'
            )
        if self.takes_number and type(_read(value)) in (int, float):
            return value
        return self._quote_text(value)

    def _quote_item(self, item: str) -> str:
        is_value = self.takes_values and type(_read(item)) in (int, float, list)
        return item if is_value else self._quote_text(item)

    def _quote_text(self, text: str) -> str:
        if _QUOTED.fullmatch(text):
            return text
        if not text and self.takes_text:
            null = f", {self.name}=null for none," if self.takes_null else ""
            raise OptionError(f"{self.name}= is empty: give a value{null} or leave it out.")
        return _quoted_if_needed(_escape_broken_interpolations(_home(text)))


def _items(text: str) -> list[str]:
    """Split at the commas that are neither in quotes nor in brackets."""
    items, start, comma = list[str](), 0, ","
    while comma:
        item = _ITEM.match(text, start)
        assert item is not None  # it matches nothing, too
        items.append(item[1].strip())
        start, comma = item.end(), item[2]
    return items


def _quoted_if_needed(text: str) -> str:
    return text if _read(text) == text else quoted(text)


def _read(text: str) -> Any:
    """Return what Hydra takes a text for, or None if it refuses it."""
    try:
        return OverridesParser.create().parse_override(f"key={text}").value()
    except HydraException:
        return None


def _exists(value: str) -> bool:
    return bool(value) and os.path.lexists(_home(value))


def _home(text: str) -> str:
    """Put the home folder in the place of a leading ``~``, which shells only do at the beginning of a word."""
    return os.path.expanduser(text)  # noqa: PTH111  # a text need not be a path


def _escape_broken_interpolations(text: str) -> str:
    """Escape each ``${`` of a text that OmegaConf could not read."""
    if "${" in text:
        try:
            parse_interpolations(text)
        except GrammarParseError:
            return text.replace("${", r"\${")
    return text
