"""The example of a configuration: every key with its words and its default, made of the schema.

`damd config init` writes it, and ``config.example.yaml`` is it: renew that with
``damd config init --stdout > config.example.yaml``, or ``make docs``.

A key that needs a value from somebody, or has a default that depends on the system, is commented out. Words have one
blank behind their ``#`` and such keys none, or several: who uncomments the keys has a configuration again.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

import yaml

from damd.config.schema import configuration_schema
from damd.documents import write_document
from damd.settings import format_path
from damd.watch.base import RootSettings

_WIDTH = 118
_HEADER = """\
The configuration of damd. Every key is here with its default; keys that have none, or whose default depends on the \
system, are commented out. Nothing is required: `damd run --watch DIR` needs no file at all.

Paths are best written in full, with ~, or with variables as ${NAME} or ${NAME:-default}, so that a $ itself is $$; a \
relative one counts from the folder in which damd is started. Durations are written 500ms, 60s, 15m, 1h30m, 7d; sizes \
512MiB, 2GB; large numbers 500M. `damd config check` tells every mistake with its line.

Any key can be set from outside, too: DAMD__THUMBNAILS__QUALITY=70 in the environment replaces what is said here.
"""


def example(roots: Sequence[RootSettings] = ()) -> str:
    """The text of a configuration file.

    Args:
        roots: What it is to watch, by their paths; without any, a folder that somebody may have.
    """
    schema = configuration_schema()
    walk = _Walk(schema["$defs"])
    if roots:
        entries = [{"path": format_path(root.path), "name": root.name} for root in roots]
        walk.resolved(schema["properties"]["watch"]["items"])["examples"] = entries
    lines = [line for paragraph in _HEADER.splitlines() for line in _words(paragraph) or ["#"]]
    for key, each in schema["properties"].items():
        lines += ["", *walk.property(key, each, schema)]
    return "".join(f"{line}\n" for line in lines)


class _Walk:
    """Makes the lines of each part of a schema, as if the part began at the left.

    Args:
        definitions: What the schema refers to.
    """

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions

    def resolved(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """What a schema refers to, in itself or in an alternative to null; else itself."""
        for each in (schema, *schema.get("anyOf", ())):
            if "$ref" in each:
                definition: dict[str, Any] = self._definitions[each["$ref"].removeprefix("#/$defs/")]
                return definition
        return dict(schema)

    def property(
        self, key: str, schema: Mapping[str, Any], mapping: Mapping[str, Any], *, bare: bool = False, depth: int = 0
    ) -> Iterator[str]:
        """The words of a key, and the key itself with its value.

        Args:
            key: The key.
            schema: Its value's.
            mapping: What the key is in: its example comes before the default.
            bare: Whether the key is in what is commented out as a whole, and so is not by itself.
            depth: By how many columns it will be indented.
        """
        yield from _words(schema.get("description", ""), depth)
        is_comment = not bare and schema.get("default") is None and key not in mapping.get("required", ())
        lines = self._pair(key, schema, _example_of(mapping), bare=bare or is_comment, depth=depth)
        yield from _commented(lines) if is_comment else lines

    def _pair(
        self, key: str, schema: Mapping[str, Any], given: Mapping[str, Any], *, bare: bool, depth: int
    ) -> Iterator[str]:
        target = self.resolved(schema)
        items = self.resolved(target.get("items", {}))
        if key in given:
            yield _line(key, given[key])
        elif "properties" in target:
            yield f"{key}:"
            yield from _indented(self._mapping(target, bare=bare, depth=depth + 2))
        elif "properties" in items or "oneOf" in items:
            yield f"{key}:"
            yield from _indented(self._entries(schema, items, depth=depth + 2))
        else:
            yield _line(key, schema.get("default"))

    def _mapping(self, schema: Mapping[str, Any], *, bare: bool, depth: int) -> Iterator[str]:
        for key, each in schema["properties"].items():
            yield from self.property(key, each, schema, bare=bare, depth=depth)

    def _entries(self, schema: Mapping[str, Any], items: Mapping[str, Any], *, depth: int) -> Iterator[str]:
        """A list's: one of each kind, commented out where it is no default; or one in full, and the other examples."""
        kinds = [each["kind"] for each in schema.get("default", ()) if "kind" in each]
        for each in _said_once(items.get("oneOf", [items])):
            kind = each["properties"].get("kind", {}).get("const")
            lines = list(self._mapping(each, bare=kind not in (None, *kinds), depth=depth + 2))
            words = list(takewhile(lambda line: line.startswith("# "), lines))
            entry = _indented(lines[len(words) :], "- ")
            yield from words
            yield from entry if kind in (None, *kinds) else _commented(entry)
        for other in items.get("examples", ())[1:]:
            yield from _indented((_line(key, other[key]) for key in items.get("required", ())), "- ")


def _example_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    constants = {key: each["const"] for key, each in schema["properties"].items() if "const" in each}
    for each in schema.get("examples", ())[:1]:
        constants |= each
    return constants


def _said_once(kinds: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Without the words that a former kind has for the same key."""
    said: set[tuple[str, str]] = set()
    for kind in kinds:
        words = {(key, each.get("description", "")) for key, each in kind["properties"].items()}
        properties = {
            key: {**each, "description": ""} if (key, each.get("description", "")) in said else each
            for key, each in kind["properties"].items()
        }
        said |= words
        yield {**kind, "properties": properties}


def _line(key: str, value: Any) -> str:
    if not isinstance(value, list | dict):
        return write_document({key: value}).rstrip("\n")
    flow: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return f"{key}: {flow.rstrip()}"


def _words(text: str, depth: int = 0) -> list[str]:
    wrapped = textwrap.wrap(text, _WIDTH - depth - 2, break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in wrapped]


def _indented(lines: Iterable[str], first: str = "  ") -> Iterator[str]:
    for number, line in enumerate(lines):
        yield (first if number == 0 else "  ") + line


def _commented(lines: Iterable[str]) -> Iterator[str]:
    return (f"#{line}" for line in lines)
