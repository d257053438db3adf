"""The environment's part of the configuration: ``DAMD__THUMBNAILS__QUALITY=70`` sets ``thumbnails.quality``.

A name is folded to lower case and split at two underscores; a number is an index into a list, and one that is the
list's length appends to it. The value is read as YAML in the dialect of the file (`damd.documents`), so that
``[512, 1024]``, ``true`` and ``{file: /x}`` are what they would be there. A variable replaces what the file says
at its place, and the command line replaces both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from damd.documents import MAX_DEPTH, Document, Location, NotYamlError, Place, PlaceOf, parse_value

PREFIX = "DAMD__"
_INDEX = re.compile(r"[0-9]{1,6}")


class _Variable(NamedTuple):
    name: str
    key: Location
    """What it sets."""

    @property
    def place(self) -> Place:
        return Place(0, 1, f"${self.name}", self.key)


def apply_variables(document: Document, environment: Mapping[str, str]) -> None:
    """Let the environment's variables replace the document's values; what is wrong with them, it notes."""
    for variable in _variables(document, environment):
        try:
            container, location = _descend(document, variable)
        except ValueError as error:
            document.add_problem(variable.key, str(error), place=variable.place)
            continue
        _put(document, container, location, None, variable.place)
        try:
            value = parse_value(document, environment[variable.name], location, _always(variable.place))
        except NotYamlError as error:
            document.add_problem(location, str(error), unreadable=True)
        else:
            container[location[-1]] = value


def _variables(document: Document, environment: Mapping[str, str]) -> Iterator[_Variable]:
    """Those that can be applied, in the order of their keys, so that lists grow from their beginning."""
    found = []
    for name in environment:
        if name.startswith(PREFIX):
            parts = name.removeprefix(PREFIX).lower().split("__")
            key = tuple(int(part) if _INDEX.fullmatch(part) else part for part in parts)
            found.append(_Variable(name, key))
    last: _Variable | None = None
    for variable in sorted(found, key=lambda each: ([(isinstance(part, str), part) for part in each.key], each.name)):
        if len(variable.key) > MAX_DEPTH:
            document.add_problem(variable.key[:1], "is too deep to be a key", place=variable.place)
        elif "" in variable.key:
            document.add_problem(variable.key, "names no key: write it as DAMD__SECTION__KEY", place=variable.place)
        elif last and variable.key[: len(last.key)] == last.key:
            text = f"sets what ${last.name} sets, too: keep one of them"
            document.add_problem(variable.key, text, place=variable.place)
        else:
            last = variable
            yield variable


def _always(place: Place) -> PlaceOf:
    return lambda _line, _column: place


def _descend(document: Document, variable: _Variable) -> tuple[Any, Location]:
    """Find the container of what a variable sets, and its location; what is missing on the way is made.

    Raises:
        ValueError: There can be nothing at this place.
    """
    container: Any = document.values
    location: Location = ()
    for depth, part in enumerate(variable.key):
        key = _key_within(container, part, location)
        location = (*location, key)
        if depth + 1 < len(variable.key):
            is_there = key < len(container) if isinstance(container, list) else key in container
            if not is_there or container[key] is None:
                following = variable.key[depth + 1]
                _put(document, container, location, [] if isinstance(following, int) else {}, variable.place)
            container = container[key]
    return container, location


def _key_within(container: Any, part: int | str, location: Location) -> Any:
    """What a part of a name stands for: a key of a mapping, or an index."""
    if isinstance(container, dict):
        return str(part)
    above = ".".join(map(str, location))
    if isinstance(container, list):
        if isinstance(part, int) and part <= len(container):
            return part
        entries = f"{len(container)} entries" if len(container) != 1 else "1 entry"
        raise ValueError(f"{above} is a list of {entries}: count them from 0; {len(container)} appends one")
    raise ValueError(f"{above} is a plain value, and nothing in it can be set")


def _put(document: Document, container: Any, location: Location, value: Any, place: Place) -> None:
    """Set a value, and forget where the former one was written."""
    document.forget(location)
    document.value_places[location] = document.key_places[location] = place
    if isinstance(container, list) and location[-1] == len(container):
        container.append(value)
    else:
        container[location[-1]] = value
