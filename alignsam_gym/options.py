"""One declaration of each option: a dataclass field with its type, its limits and a line of documentation.

From these fields follow the environment's signature and the table in its documentation, Hydra's schema, and the check
of configurations that come from strangers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache, wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    ClassVar,
    Concatenate,
    Literal,
    ParamSpec,
    Self,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml

from alignsam_gym.errors import OptionError, check_choice, check_count, check_number, check_option_names, check_switch
from alignsam_gym.result_table import ResultTable

Preset = Literal["paper", "best"]
"""``paper``: the paper's settings. ``best``: the best settings measured so far. Both are files in conf/experiment."""

P = ParamSpec("P")
T = TypeVar("T")
_UNSET: Any = type("Unset", (), {"__repr__": lambda _: "<by the preset>"})()


def option(
    doc: str,
    default: Any = _UNSET,
    *,
    required: bool = False,
    least: float | None = None,
    most: float | None = None,
    reason: str = "it is out of range",
) -> Any:
    """Declare an option as a dataclass field.

    Args:
        doc: What the option is, as Markdown.
        default: Its default. Without one, the preset gives the value.
        required: Whether it must be given: it has neither a default nor a place in a preset.
        least: The smallest value of a number.
        most: The largest number that is believed where a stranger's file gives it: more would fill the memory.
        reason: Why a number below `least` makes no sense, for the error message.
    """
    metadata = {"doc": doc, "least": least, "most": most, "reason": reason}
    return field(metadata=metadata) if required else field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options that are checked when they are given, and filled from a preset when they are not.

    Attributes:
        group: Name of the options in a preset and in error messages (``srm.width``); of the environment's own, "env".
        title: What has these options, for the error of an unknown one.
    """

    group: ClassVar[str] = "env"
    title: ClassVar[str] = "AlignSAM-v0"

    def __post_init__(self) -> None:
        for name, value in self._defaults(getattr(self, "preset", "paper")).items():
            if getattr(self, name) is _UNSET:
                object.__setattr__(self, name, value)
        hints = get_type_hints(type(self))
        for each in fields(self):
            check_value(shown_name(self.group, each.name), getattr(self, each.name), hints[each.name], each)

    @classmethod
    def of(cls, values: Mapping[str, Any], preset: Preset = "paper") -> Self:
        """Make options from a mapping, and from a preset where the mapping has no value.

        Args:
            values: Values by the options' names.
            preset: The preset, unless ``preset`` is itself among the values.

        Raises:
            OptionError: A name is unknown, or a value is out of range.
        """
        names = [each.name for each in fields(cls)]
        check_option_names(cls.title, values, names)
        preset = values.get("preset", preset)
        told = {"preset": preset} if "preset" in names else {}  # for what the options make later, such as an SRM's
        return cls(**{**cls._defaults(preset), **told, **values})

    @classmethod
    def _defaults(cls, preset: str) -> dict[str, Any]:
        """Look up the options that have no default of their own."""
        names = [each.name for each in fields(cls) if each.default is _UNSET]
        return {name: preset_values(preset, cls.group)[name] for name in names}


def shown_name(group: str, name: str) -> str:
    """Give an option's name as error messages have it: the environment's own without a group."""
    return name if group == "env" else f"{group}.{name}"


def preset_values(preset: str, group: str) -> Mapping[str, Any]:
    """Look up a group of values (``env``, ``srm``) of a preset.

    Raises:
        OptionError: There is no such preset.
    """
    values: Mapping[str, Any] = _read_preset(check_choice("preset", preset, get_args(Preset)))[group]
    return values


@cache
def _read_preset(preset: str) -> dict[str, Any]:
    file = Path(__file__).parent / "conf" / "experiment" / f"{preset}.yaml"
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return values


def check_value(name: str, value: object, hint: Any, declared: Field[Any]) -> None:
    """Check a value against the type and the limits of its field.

    Types that are neither numbers, switches, choices, words nor mappings are left to whoever uses the option.

    Raises:
        OptionError: The value does not fit.
    """
    kinds = alternatives(hint)
    if value is None and NoneType in kinds:
        return
    kinds = tuple(kind for kind in kinds if kind is not NoneType)
    if len(kinds) > 1:
        return
    least, reason = declared.metadata["least"], declared.metadata["reason"]
    match kinds[0]:
        case kind if get_origin(kind) is Literal:
            check_choice(name, value, get_args(kind))
        case kind if kind is bool:
            check_switch(name, value)
        case kind if kind is int:
            check_count(name, value, reason, least=1 if least is None else int(least))
        case kind if kind is float:
            check_number(name, value)
            if least is not None and value < least:
                raise OptionError(f"{name}={value}: {reason}.")
        case kind if kind is str and not isinstance(value, str):
            raise OptionError(f"{name}={value!r}: it must be a word.")
        case kind if get_origin(kind) is Mapping and not isinstance(value, Mapping):
            raise OptionError(f"{name}={value!r}: it must be a mapping of names to values.")


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Split a type into the types of which a value may have any: the members of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def choices_of(hint: Any) -> tuple[str, ...]:
    """Collect the words that an option may be: those of a `Literal`, also within a union."""
    literals = [kind for kind in alternatives(hint) if get_origin(kind) is Literal]
    return tuple(choice for literal in literals for choice in get_args(literal))


def takes_options_of(
    options: Callable[P, object],
) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, P], None]]:
    """Give a constructor the signature of an options class, for editors, type checkers and `help` alike.

    Args:
        options: The options class. The constructor is called with the keywords that were given, and no others.
    """

    def decorate(init: Callable[..., None]) -> Callable[Concatenate[Any, P], None]:
        @wraps(init)
        def constructor(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> None:
            init(self, *args, **kwargs)

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        hints = get_type_hints(options)
        parameters = inspect.signature(options).parameters
        declared = [parameter.replace(annotation=hints[name]) for name, parameter in parameters.items()]
        setattr(constructor, "__signature__", inspect.Signature([own, *declared]))  # noqa: B010  # for type checkers
        return constructor

    return decorate


def documented_by(options: type[Options]) -> Callable[[type[T]], type[T]]:
    """Add the documentation of options to that of a class whose constructor takes them."""

    def decorate(documented: type[T]) -> type[T]:
        if documented.__doc__:  # python -OO leaves docstrings out
            lines = [f"{each.name}: {each.metadata['doc']}" for each in fields(options)]
            documented.__doc__ += "\n        ".join(["\n    Args:", *lines])
        return documented

    return decorate


def options_table(options: type[Options], names: Collection[str] | None = None) -> str:
    """Write the documentation of options as a Markdown table: type, the values of both presets, meaning.

    Args:
        options: The options class.
        names: The options that are shown; all by default.
    """
    rows = []
    hints = get_type_hints(options)
    for each in fields(options):
        if names is not None and each.name not in names:
            continue
        choices = choices_of(hints[each.name])
        kind = " or ".join(f"`{choice}`" for choice in choices) if choices else f"`{each.type}`"
        values = [each.default, each.default]
        if each.default is _UNSET:
            values = [preset_values(preset, options.group)[each.name] for preset in get_args(Preset)]
        rows.append([f"`{each.name}`", kind, *(f"`{value}`" for value in values), each.metadata["doc"]])
    return ResultTable(["keyword", "type", "`paper`", "`best`", "what it is"], rows).to_markdown()
