"""The configuration in force, and of each value where it came from.

An origin is ``FILE:LINE``, ``$VARIABLE``, ``--option``, or ``default`` where nobody has said anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from damd.config.model import Config
from damd.config.shown import plain_values, written_values
from damd.documents import Document, Location, write_document


def config_with_origins(config: Config, document: Document) -> str:
    """As `damd.config.shown.config_as_yaml`, each value with a comment of its origin behind it."""
    text = write_document(written_values(config))
    lines = text.split("\n")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for line, location in _lines(node, ()) if node is not None else ():
        lines[line] += f"  # {_printable(_origin(document, location))}"
    return "\n".join(lines)


def flat_with_origins(config: Config, document: Document) -> dict[str, dict[str, Any]]:
    """Each value by its key, such as ``watch.0.path``: an object of ``value`` and ``origin``; secrets are masked."""
    return {
        ".".join(map(str, location)): {"value": value, "origin": _origin(document, location)}
        for location, value in _leaves(plain_values(config), ())
    }


def _origin(document: Document, location: Location) -> str:
    place = document.value_places.get(location)
    if place is None:
        return "default"
    return f"{place.source}:{place.line}" if place.line else place.source


def _lines(node: yaml.Node, location: Location) -> Iterator[tuple[int, Location]]:
    """The line on which each value ends that holds no others; `write_document` writes each on a line of its own."""
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            yield from _lines(value, (*location, key.value))
    elif isinstance(node, yaml.SequenceNode) and node.value:
        for index, value in enumerate(node.value):
            yield from _lines(value, (*location, index))
    else:
        yield node.end_mark.line, location


def _leaves(value: Any, location: Location) -> Iterator[tuple[Location, Any]]:
    if value and isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(each, (*location, key))
    else:
        yield location, value


def _printable(text: str) -> str:
    # A line break in the name of a file would end the comment.
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
