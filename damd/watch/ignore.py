"""Which paths below a root are none of damd's business.

Layers, each above the one before: the defaults (see `damd.watch.default_names`), the root's own patterns in
gitignore syntax, and the ``.damdignore`` of the root's folder and of each folder on the way down. The last
pattern that matches decides, and a ``!pattern`` brings back what an earlier one, or a layer below, ignores. As in
git, nothing comes back from below an ignored folder. Only ``!*/`` and its like, which name everything, leave the
defaults alone: in ``*``, ``!*/``, ``!*.jpg`` ("nothing but photographs") nobody means to ask for the recycle bin.

Where there are patterns to include, a file that matches none of them, and is in no folder that does, is ignored
too. They never ignore a folder: what they name may be anywhere below it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from damd.fingerprint import Signature
from damd.watch.default_names import default_rule, is_ignored_by_default
from damd.watch.ignore_file import IgnoreFiles
from damd.watch.patterns import CONFIGURATION, Layer, Pattern, Rule, as_text, parse_pattern

NOT_INCLUDED = Rule("no pattern of include matches", CONFIGURATION)

Judge = Callable[[bytes, bool], bool]
"""Whether an entry of a certain folder is ignored, by its name and whether it is a folder."""

_REMEMBERED_FOLDERS = 8192


class _Chain(NamedTuple):
    """The layers that count in a folder, the nearest first; folders share what is above them."""

    start: int  # in a path below the root, where the part begins that the layer's patterns are relative to
    layer: Layer
    above: _Chain | None


@dataclass(frozen=True, slots=True)
class _Scope:
    """What holds in one folder: what ignores the folder itself, whether it is included, and its layers."""

    ignored: Rule | None
    included: bool
    chain: _Chain | None


class IgnoreRules:
    """What is ignored in one root; safe to ask from several threads.

    What it has read of ``.damdignore`` files it remembers until `forget`, or until a listing shows another one.

    Args:
        patterns: What is ignored, in gitignore syntax, relative to the root.
        include: The only files that are not, in gitignore syntax, relative to the root; empty: all of them.
        folder: The root's absolute folder, in which ``.damdignore`` files are looked for; None: there are none.

    Raises:
        ValueError: A pattern is malformed or would match nothing.
    """

    def __init__(
        self, patterns: Sequence[str] = (), *, include: Sequence[str] = (), folder: bytes | None = None
    ) -> None:
        own = _Chain(0, Layer([parse_pattern(text) for text in patterns]), None) if patterns else None
        self._include = Layer([parse_pattern(text) for text in include]) if include else None
        self._top = _Scope(None, self._include is None, own)
        self._files = None if folder is None else IgnoreFiles(folder, self._start_anew)
        # Changed under the lock, read without. A scope is kept only if nothing changed while it was made.
        self._lock = threading.Lock()
        self._scopes: dict[bytes, _Scope] = {}
        self._changes = 0

    def ignores(self, relative: bytes, *, is_directory: bool) -> bool:
        """Whether this path, or a folder above it, is ignored; reads ``.damdignore`` files: blocks.

        Args:
            relative: The path below the root, as the system spells it; empty is the root itself.
            is_directory: Whether it is a folder; a symbolic link to one is not.
        """
        if is_directory:
            return self._scope(relative).ignored is not None
        folder, _, name = relative.rpartition(b"/")
        return self._judge(folder, self._scope(folder))(name, False) if name else False  # noqa: FBT003 - a `Judge`

    def verdict(self, relative: bytes, *, is_directory: bool) -> Rule | None:
        """The rule that ignores this path, or a folder above it; None: it is not ignored. Blocks, as `ignores`."""
        folder, _, name = relative.rpartition(b"/")
        if is_directory or not name:
            return self._scope(relative).ignored
        scope = self._scope(folder)
        if scope.ignored is not None:
            return scope.ignored
        rule = _rule(_prefixed(folder, scope.chain), name, is_directory=False)
        if rule is None and not scope.included and not self._includes(folder, name, is_directory=False):
            return NOT_INCLUDED
        return rule

    def in_folder(self, folder: bytes, own: Signature | None) -> Judge:
        """A quick judge of what is in a folder that is not ignored, for a walk; blocks while it is made.

        Args:
            folder: The folder's path below the root; empty is the root itself.
            own: The signature of the ``.damdignore`` that its listing showed; None: it has none. It is read if
                another one, or none, is remembered.
        """
        if self._files is not None:
            self._files.compare(folder, own)
        return self._judge(folder, self._scope(folder, look=False))

    def forget(self, folder: bytes) -> None:
        """The ``.damdignore`` of this folder has changed, or is gone; to be called before the folder is walked."""
        if self._files is not None:
            self._files.forget(folder)

    def _judge(self, folder: bytes, scope: _Scope) -> Judge:
        if scope.ignored is not None:
            return _ignores_all
        if scope.chain is None and scope.included:
            return is_ignored_by_default
        layers = _prefixed(folder, scope.chain)
        include, prefix = (None, "") if scope.included else (self._include, _prefix(folder))

        def judge(name: bytes, is_directory: bool) -> bool:  # noqa: FBT001 - keywords cost, a million times
            text = as_text(name)
            pattern = _decision(layers, text, is_directory=is_directory)
            if is_ignored_by_default(name, is_directory) if pattern is None else pattern.ignores:
                return True
            if include is None or is_directory:
                return False
            found = include.decision(prefix, text, is_directory=False)
            return found is None or not found.ignores

        return judge

    def _includes(self, folder: bytes, name: bytes, *, is_directory: bool) -> bool:
        if self._include is None:
            return True
        pattern = self._include.decision(_prefix(folder), as_text(name), is_directory=is_directory)
        return pattern is not None and pattern.ignores

    def _scope(self, folder: bytes, *, look: bool = True) -> _Scope:
        """What holds in a folder; a listing has shown whether it has a file of its own, or that is looked for."""
        scope = self._scopes.get(folder)
        if scope is not None:
            return scope
        changes = self._changes
        scope, end, parent = self._top, 0, b""
        # From the top down, and not recursive: a path may be deeper than Python's stack.
        while True:
            below = folder[:end]
            known = self._scopes.get(below)
            if known is None:
                known = self._scope_below(scope, parent, below) if below else scope
                known = self._with_file(below, known, look=look or below != folder)
                self._keep(below, known, changes)
            if below == folder:
                return known
            scope, parent = known, below
            end = folder.find(b"/", end + 1)
            end = len(folder) if end == -1 else end

    def _scope_below(self, above: _Scope, parent: bytes, folder: bytes) -> _Scope:
        if above.ignored is not None:
            return above
        name = folder[len(parent) + 1 :] if parent else folder
        ignored = _rule(_prefixed(parent, above.chain), name, is_directory=True)
        if ignored is not None:
            return _Scope(ignored, included=False, chain=None)
        included = above.included or self._includes(parent, name, is_directory=True)
        return above if included == above.included else _Scope(None, included, above.chain)

    def _with_file(self, folder: bytes, scope: _Scope, *, look: bool) -> _Scope:
        if self._files is None or scope.ignored is not None:
            return scope
        layer = self._files.layer(folder, look=look)
        if layer is None:
            return scope
        return _Scope(None, scope.included, _Chain(len(folder) + 1 if folder else 0, layer, scope.chain))

    def _keep(self, folder: bytes, scope: _Scope, changes: int) -> None:
        with self._lock:
            if changes == self._changes:
                if len(self._scopes) >= _REMEMBERED_FOLDERS:
                    self._scopes.clear()
                self._scopes[folder] = scope

    def _start_anew(self) -> None:
        with self._lock:
            self._changes += 1
            self._scopes.clear()


def _ignores_all(name: bytes, is_directory: bool) -> bool:  # noqa: ARG001, FBT001 - a `Judge` of an ignored folder
    return True


def _prefix(folder: bytes) -> str:
    return as_text(folder) + "/" if folder else ""


def _prefixed(folder: bytes, chain: _Chain | None) -> list[tuple[str, Layer]]:
    """The layers, the nearest first, each with the way from its own folder to this one."""

    def layers() -> Iterator[tuple[str, Layer]]:
        link = chain
        while link is not None:
            yield _prefix(folder[link.start :]), link.layer
            link = link.above

    return list(layers())


def _decision(layers: Sequence[tuple[str, Layer]], name: str, *, is_directory: bool) -> Pattern | None:
    """The pattern that decides on an entry; None: the defaults do."""
    for prefix, layer in layers:
        pattern = layer.decision(prefix, name, is_directory=is_directory)
        if pattern is not None:
            return None if pattern.names_everything and not pattern.ignores else pattern
    return None


def _rule(layers: Sequence[tuple[str, Layer]], name: bytes, *, is_directory: bool) -> Rule | None:
    pattern = _decision(layers, as_text(name), is_directory=is_directory)
    if pattern is None:
        return default_rule(name, is_directory=is_directory)
    return pattern.rule if pattern.ignores else None
