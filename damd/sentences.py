"""What a fault in a configuration is told as: its place, and a sentence for an administrator, in words pydantic lacks.

Nothing that was written is quoted where it may hold a password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, Protocol, TypeAlias

from pydantic_core import ErrorDetails

from damd.settings import format_duration, format_size

Location: TypeAlias = tuple[int | str, ...]
"""Where in a document: keys and indexes, as pydantic's ``loc``."""


class KnownKeys(Protocol):
    """Which keys a configuration knows."""

    def at(self, location: Location) -> Sequence[str]:
        """Those that may stand in the mapping at a location."""
        ...

    def homes_of(self, key: str) -> Sequence[str]:
        """The sections that know a key, in words."""
        ...


class Place(NamedTuple):
    """Where a value is written; in the order in which problems are told: options, variables, then the file's lines.

    Attributes:
        line: From 1; 0: in no file.
        column: From 1, of a line.
        source: The file, ``$VARIABLE`` or ``--option``.
        key: What a variable or an option sets, as their problems need not repeat.
    """

    line: int
    column: int
    source: str
    key: Location | None = None

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


_YAML = {
    "mapping values are not allowed": "a key begins in the middle of a value: check the indentation, and put values"
    " with a colon and a blank in quotes",
    "could not find expected ':'": "expected a colon and a blank after the key",
    "'\\t'": "a tab stands here: indent with blanks",
    "but found '<block mapping start>'": "this is indented unlike what it belongs to",
    "expected the node content": "expected a value",
    "expected <block end>": "this does not continue what stands before it: check indentation and quotes",
    "found unexpected end of stream": "quotes are opened, and never closed",
    "unexpected document separator": "quotes are opened, and never closed",
    "expected ',' or ']'": "expected a comma, or the ] of the list",
    "expected ',' or '}'": "expected a comma, or the } that ends the keys",
    "tag handle": "tags (!name) are not used",
    "that cannot start any token": "nothing begins with this character outside of quotes",
}
"""Parts of PyYAML's problems, for people who do not write parsers; what is not here needs no other words."""

_SPECIAL = {f"while {doing} {what}" for doing in ("scanning", "parsing") for what in ("an alias", "an anchor", "a tag")}

_SENTENCES = {
    "missing": "is missing, and has no default",
    "extra_forbidden": "is not a known key",
    **dict.fromkeys(("bool_parsing", "bool_type"), "expected true or false"),
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "expected a whole number"),
    "int_parsing_size": "is larger than any number that is meant",
    **dict.fromkeys(("float_parsing", "float_type"), "expected a number"),
    **dict.fromkeys(
        ("model_type", "model_attributes_type", "dict_type"), "expected keys and values, such as {{key: value}}"
    ),
    **dict.fromkeys(("list_type", "tuple_type"), "expected a list, such as [first, second]"),
    "string_type": "expected text: put it in quotes if it looks like something else",
    "string_unicode": "holds characters that are no text",
    "string_pattern_mismatch": "holds characters that are not allowed here; the pattern is {pattern}",
    "string_too_short": "is too short; the least is {min_length}",
    "string_too_long": "is too long; the most is {max_length} characters",
    "too_short": "has too few entries; the least is {min_length}",
    "too_long": "has too many entries; the most is {max_length}",
    "literal_error": "expected {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
}
"""pydantic's types of error, for people who have never heard of pydantic."""


def told_place(place: Place, location: Location) -> str:
    """Place and key, as every problem begins; of a variable the key only where it is about another one."""
    key = ".".join(_shown(part) for part in location)
    if place.line == 0 and (not key or place.source.startswith("--") or place.key == location):
        return str(place) or key
    return f"{place}: {key}" if key else str(place)


def _shown(part: int | str) -> str:
    # Where a colon's blank is forgotten, a whole URL with its password becomes a key.
    return str(part) if isinstance(part, int) or re.fullmatch(r"[\w .+-]{1,64}", part) else "(unnamed)"


def begins_at_context(problem: str | None) -> bool:
    """Whether PyYAML noticed this problem of a text long after it began."""
    return any(
        part in (problem or "") for part in ("could not find expected ':'", "end of stream", "document separator")
    )


def yaml_sentence(problem: str | None, context: str | None) -> str:
    """What is wrong with a text that is no YAML, by PyYAML's problem and context; it quotes at most a character."""
    text = next((text for part, text in _YAML.items() if part in (problem or "")), problem or "it cannot be read")
    return f"{text}: values that begin with *, & or ! need quotes" if context in _SPECIAL else text


def alternatives(sentences: Iterable[str]) -> str:
    """What is wrong with a value that may be one of several things, as one sentence."""
    first, *others = dict.fromkeys(sentences)
    return ", or ".join([first, *(each.removeprefix("expected ") for each in others)])


def sentence(details: ErrorDetails, keys: KnownKeys) -> str:
    """What is wrong with one value, and what is allowed.

    Args:
        details: One of ``ValidationError.errors()``.
        keys: For the suggestion of what is meant by an unknown one.
    """
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _SENTENCES[kind] + _suggestion(details["loc"], keys)
    if details["input"] is None and kind != "missing":
        return "has no value: write one, or leave it out"
    if kind in ("value_error", "assertion_error") and "error" in context:
        text = _without_password(" ".join(str(context["error"]).split()), details["input"])
        return text + _clock_hint(details["input"]) if text.startswith("a duration") else text
    if kind not in _SENTENCES:
        message = details["msg"].replace("Input should be", "expected")
        return _without_password(message[:1].lower() + message[1:], details["input"])
    limits = {name: _limit(value, details["input"]) for name, value in context.items()}
    return _SENTENCES[kind].format_map(limits)


def _suggestion(location: Location, keys: KnownKeys) -> str:
    key, known = re.sub(r"[\W_]+", "_", str(location[-1]).lower()), keys.at(location[:-1])
    near = difflib.get_close_matches(key, known, cutoff=0.8)
    if not near and (homes := keys.homes_of(key)):
        return f" here: it belongs to {' or '.join(homes)}"
    if near := near or difflib.get_close_matches(key, known, n=1):
        return f": did you mean {' or '.join(near)}?"
    return f"; those known here are: {', '.join(known)}" if known else ": remove it"


def _clock_hint(given: Any) -> str:
    # YAML 1.1 made 90 of 1:30, and other programs still do.
    is_clock = isinstance(given, str) and re.fullmatch(r"\d+(:\d+)+", given)
    return "; 1:30 is one of 1h30m and 1m30s" if is_clock else ""


def _limit(value: Any, given: Any) -> str:
    if isinstance(value, str) and value.startswith("datetime.timedelta("):
        # pydantic hands over its repr: datetime.timedelta(days=1, seconds=30)
        return format_duration(timedelta(**{unit: int(number) for unit, number in re.findall(r"(\w+)=(-?\d+)", value)}))
    if isinstance(value, int) and isinstance(given, str) and given.endswith("B"):
        return format_size(value)
    return str(value).replace("'", "")


def _without_password(text: str, given: Any) -> str:
    """Hide what quotes a URL's user or password, as urllib's errors do."""
    user = re.search(r"://(.*)@", given, re.DOTALL) if isinstance(given, str) else None
    if user and any(part in text for part in user[1].split(":") if part):
        return "is not accepted; it holds a password, so more cannot be said here"
    return text
