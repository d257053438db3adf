"""What a fault in a configuration is told as: one sentence for an administrator, in words that pydantic lacks.

Nothing that was written is quoted where it may hold a password.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

from pydantic_core import ErrorDetails

from damd.settings import format_duration, format_size

Location: TypeAlias = tuple[int | str, ...]
"""Where in a document: keys and indexes, as pydantic's ``loc``."""

_SENTENCES = {
    "missing": "is missing, and has no default",
    "extra_forbidden": "is not a known key",
    **dict.fromkeys(("bool_parsing", "bool_type"), "expected true or false"),
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "expected a whole number"),
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


def sentence(details: ErrorDetails, known_keys: Callable[[Location], Sequence[str]]) -> str:
    """What is wrong with one value, and what is allowed.

    Args:
        details: One of ``ValidationError.errors()``.
        known_keys: The keys that are known at a place, for the suggestion of the nearest.
    """
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _SENTENCES[kind] + _suggestion(str(details["loc"][-1]), known_keys(details["loc"][:-1]))
    if kind in ("value_error", "assertion_error") and "error" in context:
        return _without_password(" ".join(str(context["error"]).split()), details["input"])
    if kind not in _SENTENCES:
        message = details["msg"].replace("Input should be", "expected")
        return _without_password(message[:1].lower() + message[1:], details["input"])
    if details["input"] is None:
        return "has no value: write one, or remove the key"
    limits = {name: _limit(value, details["input"]) for name, value in context.items()}
    return _SENTENCES[kind].format_map(limits)


def _suggestion(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key.lower(), known, n=1)
    if near:
        return f": did you mean {near[0]}?"
    return f"; those known here are: {', '.join(known)}" if known else ": remove it"


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
