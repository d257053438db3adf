"""Patterns in gitignore syntax: one of them, and the layer that one source of them makes.

pathspec reads the syntax; what is made of it here differs in three ways. It answers for one path and never
for what lies below it, since the folders above are judged one by one. A bracket never matches a slash, as in
git. And nothing in a pattern makes its matching explode, whoever wrote it: each piece between two stars is
taken where it first fits, and never given back.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from damd.events import readable

CONFIGURATION = "the configuration"

_LONGEST = 4096  # PATH_MAX

# How pathspec writes these. A pattern is split at its slashes first, so no bracket or name of the user's own
# can hold one: nothing else in an expression looks like them.
_ANY_FOLDER_ABOVE = "^(?:.+/)?"
_ANY_FOLDER_BETWEEN = "(?:/.+)?"
_END = "(?:(?P<ps_d>/)|$)"
_STAR = "[^/]*"

_STARS = re.compile(rf"(?:{re.escape(_STAR)})+")
_PIECE_BETWEEN_STARS = re.compile(rf"{re.escape(_STAR)}((?:\[\^/]|[^/])*?)(?={re.escape(_STAR)})")
_BRACKET = re.compile(r"\\.|\[\^/]|\[\^?]?[^]]*]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Rule:
    """What decided on a path, for people.

    Attributes:
        pattern: As it was written, or words where no pattern decided.
        source: ``the defaults``, ``the configuration``, or a file and the line in it: ``/photos/.damdignore:3``.
    """

    pattern: str
    source: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, asked about one path without a trailing slash.

    Attributes:
        expression: What it matches, from the start, of the path or of the name alone.
        of_names: Whether it looks at the name alone, wherever it is.
        ignores: False: it brings back.
        folders_only: Whether files are none of its business.
        names_everything: Whether it is ``*`` or its like.
        rule: What it is called.
    """

    expression: re.Pattern[str]
    of_names: bool
    ignores: bool
    folders_only: bool
    names_everything: bool
    rule: Rule


def as_text(name: bytes) -> str:
    """A name or path as patterns see it: UTF-8 whatever the locale, since patterns are; no byte is lost."""
    return name.decode("utf-8", "surrogateescape")


def parse_pattern(text: str, source: str = CONFIGURATION) -> Pattern:
    """One line of gitignore syntax.

    Raises:
        ValueError: It is malformed, or it would match nothing: blank, a comment, an open bracket.
    """
    if text.startswith("#"):
        raise ValueError(f"{text!r} is a comment in gitignore syntax and ignores nothing: write '\\{text}'")
    if "\n" in text or "\0" in text:
        raise ValueError(f"{text!r} holds a line break or NUL: write one pattern for each entry")
    if len(text) > _LONGEST:
        raise ValueError(f"{text[:40]!r}... is longer than any path")
    body = text if text.endswith("\\ ") else text.rstrip()
    try:
        with warnings.catch_warnings():
            # Python warns of brackets that a later version might read differently, [[:alpha:]] among them.
            warnings.simplefilter("error", FutureWarning)
            compiled = GitIgnoreSpecPattern(body.rstrip("/"))
            if compiled.regex is None or compiled.include is None:
                raise ValueError("it matches nothing; is a bracket left open?")
            written, of_names = _for_one_path(compiled.regex.pattern)
            expression = re.compile(written, re.DOTALL)
    except (ValueError, re.error, FutureWarning, RecursionError, OverflowError) as error:
        raise ValueError(f"{text!r} is not a pattern in gitignore syntax: {error}") from None
    return Pattern(
        expression,
        of_names=of_names,
        ignores=compiled.include,
        folders_only=body.endswith("/"),
        names_everything=not body.lstrip("!").strip("*/"),
        rule=Rule(readable(text), source),
    )


def _for_one_path(written: str) -> tuple[str, bool]:
    """From pathspec's expression, for ``search``, one for ``match``, and whether it looks at names alone."""
    if written == "/":  # whatever is not at the top
        return ".+/", False
    if written == ".":
        return written, True
    written = written.removesuffix(_END) + r"\Z" if written.endswith(_END) else written
    written = _PIECE_BETWEEN_STARS.sub(r"(?>[^/]*?\1)", _STARS.sub(lambda _: _STAR, written))
    name = written.removeprefix(_ANY_FOLDER_ABOVE)
    of_names = name != written and "/" not in name.replace("[^/]", "")
    written = name if of_names else _take_folders_at_once(written)
    return _BRACKET.sub(
        lambda match: match[0] if match[0][0] == "\\" or match[0] == "[^/]" else "(?!/)" + match[0], written
    ), of_names


def _take_folders_at_once(written: str) -> str:
    """What lies between two ``**`` is taken where it first fits; it ends with a folder's name."""
    first, *between = written.split(_ANY_FOLDER_BETWEEN)
    if not between:
        return written
    if first.startswith(_ANY_FOLDER_ABOVE):
        first = rf"(?>(?:.+?/)??{first.removeprefix(_ANY_FOLDER_ABOVE)}(?=/))"
    middle = "".join(rf"(?>(?:/.+?)??{piece}(?=/))" for piece in between[:-1])
    return first + middle + _ANY_FOLDER_BETWEEN + between[-1]


class Layer:
    """The patterns of one source, all of them relative to one folder; the last that matches decides.

    Args:
        patterns: In the order in which they were written.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = tuple(reversed(patterns))
        # Most paths match nothing at all, and one expression finds that out at once.
        self._names = _one_expression([pattern for pattern in patterns if pattern.of_names])
        self._paths = _one_expression([pattern for pattern in patterns if not pattern.of_names])

    def decision(self, prefix: str, name: str, *, is_directory: bool) -> Pattern | None:
        """The pattern that decides on an entry; None: none of them matches.

        Args:
            prefix: The path from the layer's folder to the entry's, with a slash at its end; empty: the same folder.
            name: The entry's name.
            is_directory: Whether it is a folder.
        """
        named = self._names is not None and self._names.match(name)
        path = prefix + name
        if not named and (self._paths is None or not self._paths.match(path)):
            return None
        for pattern in self._patterns:
            if (is_directory or not pattern.folders_only) and pattern.expression.match(
                name if pattern.of_names else path
            ):
                return pattern
        return None


def _one_expression(patterns: Sequence[Pattern]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{pattern.expression.pattern})" for pattern in patterns), re.DOTALL)
