"""YAML to plain values, and what is wrong with them, told by its place and key.

Values come from a file, and may be replaced by variables of the environment and options of the command line:
a `Document` knows of each where it is written.

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
from damd.sentences import KnownKeys, alternatives, begins_at_context, sentence, told_place, yaml_sentence
from damd.sentences import Location as Location
from damd.sentences import Place as Place
from damd.settings import format_size

PlaceOf: TypeAlias = Callable[[int, int], Place]
"""What a line and a column of a text are told as."""


class NotYamlError(ValueError):
    """This text is no YAML; the message says why, and `line` and `column` where."""

    def __init__(self, line: int, column: int, why: str) -> None:
        self.line, self.column = line, column
        super().__init__(why)


MAX_BYTES, MAX_NODES, MAX_DEPTH = 2**20, 20_000, 32

_NO_ALIAS = "aliases (*name) are not used: write the value out, or put it in quotes"

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
            raise yaml.MarkedYAMLError(problem=_NO_ALIAS, problem_mark=mark)
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_NODES:
            raise yaml.MarkedYAMLError(problem="it is too deep or too long to be one", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _name in ("null", "bool", "int", "float"):
    _Loader.add_implicit_resolver(_TAG + _name, _SCALARS[_name][0], list(_SCALARS[_name][1]))


@dataclass
class Document:
    """Values, where they stand, and the problems found in them so far.

    Attributes:
        label: What problems call the file; None where there is none.
        values: The top-level keys; the file's, and then what replaced them.
        value_places: Where each value is written.
        key_places: Where the key of each value is.
    """

    label: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    value_places: dict[Location, Place] = field(default_factory=dict)
    key_places: dict[Location, Place] = field(default_factory=dict)
    _problems: list[tuple[Place, str]] = field(default_factory=list)
    _unreadable: set[Location] = field(default_factory=set)

    def override(self, values: Mapping[str, Any]) -> None:
        """Replace top-level keys by the command line's."""
        for key, value in values.items():
            self.forget((key,))
            self.values[key] = value
            self._note(value, (key,), Place(0, 0, f"--{key}"))

    def forget(self, location: Location) -> None:
        """Where a value and all within it were written, since another one takes its place."""
        for places in (self.value_places, self.key_places):
            for each in [each for each in places if each[: len(location)] == location]:
                del places[each]

    def add_problem(
        self,
        location: Location,
        text: str,
        *,
        of_key: bool = False,
        unreadable: bool = False,
        place: Place | None = None,
    ) -> None:
        """Note one problem with the value at a location, or with its key.

        Args:
            location: Where; the nearest enclosing value that is written gives its place.
            text: What is wrong, and what is allowed.
            of_key: It is the key's place that is told.
            unreadable: There is no value to validate, so its errors count for nothing.
            place: Told instead of the location's.
        """
        place = place or self._place(location, of_key=of_key)
        self._problems.append((place, f"{told_place(place, location)}: {text}"))
        if unreadable:
            self._unreadable.add(location)

    def add_invalid(self, error: ValidationError, keys: KnownKeys) -> None:
        """Note pydantic's errors, in words; the alternatives of a union are one problem.

        Args:
            error: From the validation of `values`.
            keys: Those that are known.
        """
        texts: dict[tuple[Location, bool], list[str]] = {}
        for details in error.errors(include_url=False):
            location = self._without_alternatives(details["loc"])
            if location not in self._unreadable:
                of_key = details["type"] == "extra_forbidden"
                texts.setdefault((location, of_key), []).append(sentence(details, keys))
        for (location, of_key), found in texts.items():
            self.add_problem(location, alternatives(found), of_key=of_key)

    def problems(self) -> list[str]:
        """All that were noted: the command line's first, then the environment's, then in the order of the file."""
        return [text for _, text in sorted(self._problems, key=lambda problem: (problem[0][:3], problem[1]))]

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

    def _note(self, value: Any, location: Location, place: Place) -> None:
        self.value_places[location] = place
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        for key, each in pairs:
            self._note(each, (*location, key), place)

    def _place(self, location: Location, *, of_key: bool) -> Place:
        if of_key and location in self.key_places:
            return self.key_places[location]
        upwards = (location[:depth] for depth in range(len(location), -1, -1))
        nowhere = Place(0, 2, "", location) if self.label is None else Place(1, 1, self.label)
        return next((self.value_places[at] for at in upwards if at in self.value_places), nowhere)


def read_document(path: Path) -> Document:
    """Read a file that holds one YAML mapping, or nothing.

    Raises:
        ConfigurationError: It cannot be read, or is not YAML. Where a key is repeated, or a value is none
            that is accepted, the document has noted it as a problem instead.
    """
    document = Document(label=str(path))
    try:
        values = parse_value(document, _read_text(path), (), lambda line, column: Place(line, column, str(path)))
    except NotYamlError as error:
        raise ConfigurationError([f"{path}:{error.line}:{error.column}: {error}"]) from None
    if isinstance(values, dict):
        document.values = values
    elif values is not None:
        document.add_problem((), "expected keys and values, such as `state: /var/lib/damd`")
    return document


def parse_value(document: Document, text: str, location: Location, place: PlaceOf) -> Any:
    """The value that a text is as YAML; where it lies, and what is wrong with it, the document notes.

    Args:
        document: What it becomes a part of.
        text: The YAML.
        location: Where in the document it will stand.
        place: What tells where in the text something is.

    Raises:
        NotYamlError: It is none.
    """
    node = _compose(text)
    if node is None:
        document.value_places[location] = place(1, 1)
        return None
    return _build(document, node, location, place)


def _compose(text: str) -> yaml.Node | None:
    if unprintable := Reader.NON_PRINTABLE.search(text):
        place = _end_of(text[: unprintable.start()])
        raise NotYamlError(*place, "YAML does not allow this control character: remove it")
    loader = _Loader(text)
    try:
        node = loader.get_node() if loader.check_node() else None
        if loader.check_node():
            raise NotYamlError(*_start(loader.next_mark()), "a second document begins: keep one")
    except yaml.MarkedYAMLError as error:
        mark = (
            (error.context_mark if begins_at_context(error.problem) else None)
            or error.problem_mark
            or loader.get_mark()
        )
        why = f"this is no YAML for a configuration: {yaml_sentence(error.problem, error.context)}"
        raise NotYamlError(*_start(mark), why) from None
    except (ValueError, OverflowError) as error:
        if isinstance(error, NotYamlError):
            raise
        # An escape or a directive with a number beyond Python's.
        raise NotYamlError(*_start(loader.get_mark()), "this is not YAML: a number is out of range") from None
    return node


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
    except PermissionError as error:
        advice = "let the user that damd runs as read it, and enter the folders above it"
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}: {advice}"]) from None
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from None
    if len(content) > MAX_BYTES:
        raise ConfigurationError([f"{path}: is larger than {format_size(MAX_BYTES)}: no configuration is"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _end_of(content[: error.start].decode("utf-8", "replace"))
        raise NotYamlError(*place, "this is not UTF-8: save the file in that encoding") from None


def _start(mark: Mark) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _end_of(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _build(document: Document, node: yaml.Node, location: Location, place: PlaceOf) -> Any:
    document.value_places[location] = place(*_start(node.start_mark))
    if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
        pairs = _pairs(document, node, location, place)
        return {key: _build(document, value, (*location, key), place) for key, value in pairs}
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
        return [_build(document, value, (*location, index), place) for index, value in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        pattern, _, construct = _SCALARS.get(node.tag.removeprefix(_TAG), (None, "", str))
        if pattern and pattern.match(node.value) and _is_text(node.value):
            return construct(node.value)
        if pattern:
            document.add_problem(location, "holds characters that are no text, or not of its tag", unreadable=True)
            return None
    document.add_problem(location, "tags (!name) are not used: remove it", unreadable=True)
    return None


def _pairs(
    document: Document, node: yaml.MappingNode, location: Location, place: PlaceOf
) -> Iterator[tuple[str, yaml.Node]]:
    """The usable keys of a mapping with their nodes; every key is text, whatever it looks like."""
    for key_node, value_node in node.value:
        usable = isinstance(key_node, yaml.ScalarNode) and key_node.value.isprintable()
        at = (*location, key_node.value if usable else "?")
        first = document.key_places.get(at)
        document.key_places[at] = place(*_start(key_node.start_mark))
        if not usable:
            document.add_problem(at, "a key is a word, and this is none", of_key=True)
        elif first is not None:
            where = f", first on line {first.line}" if first.line else ""
            document.add_problem(at, f"is written twice{where}: keep one", of_key=True)
        else:
            yield key_node.value, value_node


def _is_text(value: str) -> bool:
    """Paths may hold bytes that are no text, in Python's notation for them; other lone surrogates are nothing."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return "\0" not in value
