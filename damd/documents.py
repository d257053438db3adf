"""YAML to plain values, and what is wrong with them, told by line, column and key.

YAML is read in the narrow dialect that people expect of a configuration: of YAML 1.1's surprises (``on``
is true, ``1:30`` is 90, ``0644`` is 420, the last of two equal keys wins) none is left, aliases and tags
are refused, and size, depth and number of nodes are bounded. A problem never quotes a value, since some
of them hold passwords.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError
from yaml.error import Mark
from yaml.reader import Reader

from damd.errors import ConfigurationError
from damd.sentences import Location as Location
from damd.sentences import sentence
from damd.settings import format_size

Position: TypeAlias = tuple[int, int]
"""Line and column, from 1."""

MAX_BYTES, MAX_NODES, MAX_DEPTH = 2**20, 20_000, 32

_TAG = "tag:yaml.org,2002:"
_SCALARS: dict[str, tuple[re.Pattern[str], Sequence[str], Callable[[str], Any]]] = {
    # YAML 1.2's core schema without its rarities; what is longer than a 64-bit integer is text.
    "null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""], lambda _: None),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF", lambda text: text.lower() == "true"),
    "int": (re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\Z"), "-+0123456789", int),
    "float": (re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}\Z"), "-+0123456789", float),
    "str": (re.compile(r".*\Z", re.DOTALL), "", str),
}


class _Loader(yaml.SafeLoader):
    """Composes nodes within bounds; `_build` makes values of them."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - SafeLoader's own ones are not inherited

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0

    def next_mark(self) -> Mark:
        mark: Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # PyYAML's stubs lack this one
        return mark

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.next_mark()
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not used: write the value out", problem_mark=mark)
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_NODES:
            raise yaml.MarkedYAMLError(problem="it is too deep or too long to be one", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_SPECIAL = {f"while {doing} {what}" for doing in ("scanning", "parsing") for what in ("an alias", "an anchor", "a tag")}

for _name in ("null", "bool", "int", "float"):
    _Loader.add_implicit_resolver(_TAG + _name, _SCALARS[_name][0], list(_SCALARS[_name][1]))


@dataclass
class Document:
    """Values, where they stand, and the problems found in them so far.

    Attributes:
        label: What problems call the file; None where there is none.
        values: The top-level keys, from the file and then from the command line.
        overridden: Those that the command line gave; their problems begin with ``--key``.
        value_positions: Where in the file each value begins.
        key_positions: Where the key of each value begins.
    """

    label: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    overridden: frozenset[str] = frozenset()
    value_positions: dict[Location, Position] = field(default_factory=dict)
    key_positions: dict[Location, Position] = field(default_factory=dict)
    _problems: list[tuple[Position, str, str]] = field(default_factory=list)
    _unreadable: set[Location] = field(default_factory=set)

    def override(self, values: Mapping[str, Any]) -> None:
        """Replace top-level keys by the command line's."""
        self.values.update(values)
        self.overridden |= frozenset(values)

    def add_problem(self, location: Location, text: str, *, of_key: bool = False, unreadable: bool = False) -> None:
        """Note one problem with the value at a location, or with its key.

        Args:
            location: Where; the nearest enclosing value that the file has gives line and column.
            text: What is wrong, and what is allowed.
            of_key: It is the key's position that is told.
            unreadable: There is no value to validate, so its errors count for nothing.
        """
        self._problems.append((*self._place(location, of_key=of_key), text))
        if unreadable:
            self._unreadable.add(location)

    def add_invalid(self, error: ValidationError, known_keys: Callable[[Location], Sequence[str]]) -> None:
        """Note pydantic's errors, in words; the alternatives of a union are one problem.

        Args:
            error: From the validation of `values`.
            known_keys: The keys that may stand in the mapping at a location.
        """
        texts: dict[tuple[Location, bool], list[str]] = {}
        for details in error.errors(include_url=False):
            location = self._without_alternatives(details["loc"])
            if location not in self._unreadable:
                of_key = details["type"] == "extra_forbidden"
                texts.setdefault((location, of_key), []).append(sentence(details, known_keys))
        for (location, of_key), found in texts.items():
            self.add_problem(location, ", or ".join(dict.fromkeys(found)), of_key=of_key)

    def problems(self) -> list[str]:
        """All that were noted, the command line's first, then in the order of the file."""
        return [f"{place}: {text}" for _, place, text in sorted(self._problems)]

    def _without_alternatives(self, location: Location) -> Location:
        """Cut off what pydantic appends below a value to tell a union's alternatives apart."""
        value: Any = self.values
        for depth, part in enumerate(location):
            if isinstance(value, Mapping):
                if part not in value:
                    return location[: depth + 1]
                value = value[part]
            elif isinstance(value, list | tuple) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return location[:depth]
        return location

    def _place(self, location: Location, *, of_key: bool) -> tuple[Position, str]:
        key = ".".join(_shown(part) for part in location)
        if location and location[0] in self.overridden:
            return (0, 0), f"--{location[0]}"
        if self.label is None:
            return (0, 0), key
        position = self.key_positions.get(location) if of_key else None
        if position is None:
            upwards = (location[:depth] for depth in range(len(location), -1, -1))
            position = next((self.value_positions[at] for at in upwards if at in self.value_positions), (1, 1))
        where = f"{self.label}:{position[0]}:{position[1]}"
        return position, f"{where}: {key}" if key else where


def read_document(path: Path) -> Document:
    """Read a file that holds one YAML mapping, or nothing.

    Raises:
        ConfigurationError: It cannot be read, or is not YAML. Where a key is repeated, or a value is none
            that is accepted, the document has noted it as a problem instead.
    """
    loader = _Loader(_read_text(path))
    try:
        node = loader.get_node() if loader.check_node() else None
        if loader.check_node():
            raise _unusable(path, _position(loader.next_mark()), "a second document begins: keep one")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark or loader.get_mark()
        hint = ": values that begin with *, & or ! need quotes" if error.context in _SPECIAL else ""
        raise _unusable(path, _position(mark), f"this is no YAML for a configuration: {error.problem}{hint}") from None
    except (ValueError, OverflowError):
        # An escape or a directive with a number beyond Python's.
        raise _unusable(path, _position(loader.get_mark()), "this is not YAML: a number is out of range") from None
    document = Document(label=str(path))
    values = None if node is None else _build(document, node, ())
    if isinstance(values, dict):
        document.values = values
    elif values is not None:
        document.add_problem((), "expected keys and values, such as `state: /var/lib/damd`")
    return document


def write_document(values: Mapping[str, Any]) -> str:
    """YAML that `read_document` reads back as these values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # Only in double quotes does PyYAML escape what would be a line break to its reader, U+0085 among them.
        return self.represent_scalar(f"{_TAG}str", text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError([f"{path}: is larger than {format_size(MAX_BYTES)}: no configuration is"])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        readable = content[: error.start].decode("utf-8", "replace")
        raise _unusable(path, _end_of(readable), "this is not UTF-8: save the file in that encoding") from None
    if unprintable := Reader.NON_PRINTABLE.search(text):
        position = _end_of(text[: unprintable.start()])
        raise _unusable(path, position, "YAML does not allow this control character: remove it")
    return text


def _unusable(path: Path, position: Position, text: str) -> ConfigurationError:
    return ConfigurationError([f"{path}:{position[0]}:{position[1]}: {text}"])


def _position(mark: Mark) -> Position:
    return mark.line + 1, mark.column + 1


def _end_of(text: str) -> Position:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _build(document: Document, node: yaml.Node, location: Location) -> Any:
    document.value_positions[location] = _position(node.start_mark)
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        return {key: _build(document, value, (*location, key)) for key, value in _pairs(document, node, location)}
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_build(document, value, (*location, index)) for index, value in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        pattern, _, construct = _SCALARS.get(node.tag.removeprefix(_TAG), (None, "", str))
        if pattern and pattern.match(node.value) and _is_text(node.value):
            return construct(node.value)
        if pattern:
            document.add_problem(location, "holds characters that are no text, or not of its tag", unreadable=True)
            return None
    document.add_problem(location, "tags (!name) are not used: remove it", unreadable=True)
    return None


def _pairs(document: Document, node: yaml.MappingNode, location: Location) -> Iterator[tuple[str, yaml.Node]]:
    """The usable keys of a mapping with their nodes; every key is text, whatever it looks like."""
    for key_node, value_node in node.value:
        position = _position(key_node.start_mark)
        usable = isinstance(key_node, yaml.ScalarNode) and key_node.value.isprintable()
        at = (*location, key_node.value if usable else "?")
        if not usable:
            document.key_positions[at] = position
            document.add_problem(at, "a key is a word, and this is none", of_key=True)
            continue
        if at in document.key_positions:
            first = document.key_positions[at][0]
            document.key_positions[at] = position
            document.add_problem(at, f"is written twice, first on line {first}: keep one", of_key=True)
            continue
        document.key_positions[at] = position
        yield key_node.value, value_node


def _is_text(value: str) -> bool:
    """Paths may hold bytes that are no text, in Python's notation for them; other lone surrogates are nothing."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _shown(part: int | str) -> str:
    # Where a colon's blank is forgotten, a whole URL with its password becomes a key.
    return str(part) if isinstance(part, int) or re.fullmatch(r"[\w .+-]{1,64}", part) else "(unnamed)"
