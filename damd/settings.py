"""What settings are made of: the frozen base that every slice's settings share, durations and sizes.

A room of its own on the lowest floor, because each slice declares its settings beside the code that
they steer, and `damd.config`, above them all, assembles them.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BINARY = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_DECIMAL = {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_COUNTS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_DIGITS = r"[0-9]+(\.[0-9]+)?"  # as JSON Schema has it


class Settings(BaseModel):
    """Frozen; an unknown key is an error.

    The docstring beneath a field tells users of it: it is what `damd config schema` describes the key with, and
    the comment in the example. ``examples`` of a class are for keys that have no default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


def parse_duration(value: Any) -> timedelta:
    """``500ms``, ``15m``, ``1h30m`` to a timedelta.

    Raises:
        ValueError: It is no such text; a bare number has no unit and is refused.
    """
    if isinstance(value, timedelta):
        return value
    parts = _DURATION_PART.findall(value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise ValueError("a duration is written with its units: 500ms, 15m, 1h30m, 7d")
    try:
        return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError("this duration is longer than anything can wait") from None


def format_duration(value: timedelta) -> str:
    """The text that `parse_duration` reads as this value: ``timedelta(minutes=90)`` gives ``1h30m``."""
    milliseconds = round(value.total_seconds() * 1000)
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _parse_with_unit(value: Any, units: dict[str, int], example: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and "" in units:
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", value) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"expected a number with its unit, such as {example}")
    number = Decimal(match[1]) * units[match[2]]
    if number >= 2**63:
        raise ValueError("this number is larger than any that is meant")
    return int(number)


def parse_size(value: Any) -> int:
    """``512MiB``, ``2GB`` to bytes.

    Raises:
        ValueError: It is no such text; a bare number has no unit and is refused.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError("a size is written with its unit: 512MiB, 2GiB")  # noqa: TRY004 - pydantic wants it
    return _parse_with_unit(value, _BINARY | _DECIMAL, "512MiB or 2GiB")


def format_size(value: int) -> str:
    """The shortest exact text that `parse_size` reads as this value: ``2147483648`` gives ``2GiB``."""
    unit = max(
        (name for name in _BINARY if value and value % _BINARY[name] == 0),
        key=_BINARY.__getitem__,
        default="B",
    )
    return f"{value // _BINARY[unit]}{unit}"


def parse_count(value: Any) -> int:
    """``500M``, ``20k`` or a bare number to a number.

    Raises:
        ValueError: It is neither.
    """
    return _parse_with_unit(value, _COUNTS, "500M")


def format_count(value: int) -> str:
    """The shortest exact text that `parse_count` reads as this value: ``500000000`` gives ``500M``."""
    for unit in ("G", "M", "k"):
        if value and value % _COUNTS[unit] == 0:
            return f"{value // _COUNTS[unit]}{unit}"
    return str(value)


def _parse_path(value: Any) -> Any:
    """A path with ``${NAME}``, ``${NAME:-default}`` and a leading ``~`` replaced, made absolute.

    As in a shell, the default also takes the place of an empty value. ``$$`` is the sign itself. Any other ``$`` is
    refused, since whoever writes ``$HOME`` or forgets a brace means a variable.

    Raises:
        ValueError: It is no path, or a variable or a home is not known.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a path cannot hold a NUL character")
        # Path.expanduser() raises a RuntimeError for an unknown user.
        expanded = os.path.expanduser(_VARIABLE.sub(_value_of, value))  # noqa: PTH111
        if expanded.startswith("~"):
            raise ValueError("this user is not known here, or has no home folder: write the whole path")
        value = Path(expanded) if value else value
    if not isinstance(value, Path):
        raise ValueError("expected a path, such as ~/Pictures/inbox")  # noqa: TRY004 - pydantic wants it
    return Path(os.path.abspath(value))  # noqa: PTH100 - Path.absolute() keeps `..`


_VARIABLE = re.compile(r"\$(?:(?P<sign>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^${}]*))?\})?")


def _value_of(match: re.Match[str]) -> str:
    if match["sign"]:
        return "$"
    if not match["name"]:
        raise ValueError("a variable is written ${NAME} or ${NAME:-default}, and the sign $ itself $$")
    value = os.environ.get(match["name"]) or match["default"]
    if not value:
        raise ValueError(f"the variable {match['name']} is not set, or empty: set it where damd is started")
    return value


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError("a duration cannot be negative")
    return value


def parse_share(value: Any) -> float:
    """``10%`` to 0.1.

    Raises:
        ValueError: It is no percentage from 0% to 100%.
    """
    if isinstance(value, float):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value) if isinstance(value, str) else None
    if match is None or float(match[1]) > 100:
        raise ValueError("expected a percentage, such as 10%")
    return float(match[1]) / 100


def format_share(value: float) -> str:
    """The text that `parse_share` reads as this value: 0.1 gives ``10%``."""
    return f"{round(value * 100, 6):g}%"


def format_path(value: Path) -> str:
    """The text that a path is read from: ``$`` is doubled, since a single one begins a variable."""
    return str(value).replace("$", "$$")


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_not_negative),
    PlainSerializer(format_duration),
    WithJsonSchema({"type": "string", "pattern": f"^({_DIGITS}({'|'.join(_SECONDS)}))+$"}),
]
"""A timedelta, written ``500ms``, ``15m`` or ``1h30m``."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size),
    WithJsonSchema({"type": "string", "pattern": rf"^{_DIGITS}\s*({'|'.join(_BINARY | _DECIMAL)})$"}),
]
"""Bytes, written ``512MiB`` or ``2GB``."""

Count = Annotated[
    int,
    BeforeValidator(parse_count),
    PlainSerializer(format_count),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 0, "pattern": rf"^{_DIGITS}\s*[kKMG]?$"}),
]
"""A number, written ``500M``, ``20k`` or plainly."""

Share = Annotated[
    float,
    BeforeValidator(parse_share),
    PlainSerializer(format_share),
    WithJsonSchema({"type": "string", "pattern": rf"^{_DIGITS}\s*%$"}),
]
"""A part of the whole, written ``10%``."""

AbsolutePath = Annotated[
    Path, BeforeValidator(_parse_path), PlainSerializer(str), WithJsonSchema({"type": "string", "minLength": 1})
]
"""A path, made absolute; ``~`` is the home of whoever runs damd."""
