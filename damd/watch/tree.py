"""A root's tree as it lies on the disk: which of its paths are damd's business, and what they look like now.

The walk yields paths in the order of their bytes, which is also the order of the catalogue's index, so that
each stretch of the tree is compared with one stretch of it. It takes one system call for a file and holds
one listing for each level: its memory grows with neither.
"""

# ruff: noqa: PTH110, PTH112, PTH114, PTH116, PTH118 - pathlib has no paths of bytes

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import structlog

from damd.events import readable
from damd.fingerprint import Signature
from damd.watch.ignore import IgnoreRules
from damd.watch.ignore_file import NAME

_log = structlog.get_logger(__name__)

_FILE, _FOLDER = False, True
_TOGETHER = 4000
"""Files of one folder that are handed on at a time: a folder may be wide."""

Numbers = tuple[int, int, int, int]
"""A `Signature` before it is wrapped into signed numbers, which is a tenth of a walk's time."""

_GONE = (FileNotFoundError, NotADirectoryError)

_Listing = list[tuple[bytes, os.DirEntry[bytes] | None]]
"""What counts of a folder, sorted; None stands for a folder, whose path ends with a slash."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A root's files, but for those that are none of damd's business.

    Attributes:
        root: The root's name.
        folder: The root's folder.
        recursive: Whether its folders belong to it.
        rules: Which paths are ignored.
        excluded: A folder that is left out whatever the rules say: damd's own state.
        follow_symlinks: Whether what links lead to belongs to it.
    """

    root: str
    folder: bytes
    recursive: bool
    rules: IgnoreRules
    excluded: bytes
    follow_symlinks: bool = False

    def relative(self, path: bytes) -> bytes:
        """An absolute path as seen from the root's folder; empty for the folder itself."""
        return path[len(self.folder.rstrip(b"/")) + 1 :]

    def absolute(self, below: bytes) -> bytes:
        """The opposite."""
        return os.path.join(self.folder, below) if below else self.folder

    def concerns(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether a file or folder at this absolute path is the tree's, or is the root itself; may block."""
        below = self.relative(path)
        if not below:
            return is_directory
        if (not self.recursive and (is_directory or b"/" in below)) or self.excludes(path):
            return False
        return not self.rules.ignores(below, is_directory=is_directory)

    def walk(self, below: bytes = b"") -> Walk:
        """A walk through what lies at and below a path of the root."""
        return Walk(self, below)

    def excludes(self, path: bytes) -> bool:
        """Whether this is damd's own state, or a link into it that would be followed; may block."""
        leads_there = self.follow_symlinks and os.path.islink(path)
        return _lies_in(os.path.realpath(path) if leads_there else path, self.excluded)


@dataclass
class Walk:
    """One walk. A folder that cannot be read hides only itself.

    Links are followed only where the tree says so, and not to where the root has a path of its own. What they lead
    to is told apart by device and inode: each is walked once, below the first link to it, however they are looped.

    Attributes:
        blind: Folders that could not be read, below the root, and why: nothing is known of what lies below them.
        linked: Absolute paths of linked folders that were followed, whose changes no watch tells.
    """

    tree: Tree
    below: bytes
    blind: dict[bytes, str] = field(default_factory=dict)
    linked: list[bytes] = field(default_factory=list)
    _followed: set[tuple[int, int]] = field(default_factory=set)

    def __iter__(self) -> Iterator[list[tuple[bytes, Numbers]]]:
        """Neighbouring files, a list at a time, each with its path from the root and how it looks; blocks."""
        folder = self.below and self.below + b"/"
        if self.below and not self._is_folder(self.below):
            yield from self._alone()
            return
        # Not recursive: a tree may be deeper than Python's stack.
        pending = [_Level(folder, iter(self._list(folder)), self._identity(self.tree.absolute(self.below)))]
        # The root's own folder, too: a link may lead to one that is around it.
        barred = self._identity(self.tree.excluded), self._identity(self.tree.folder)
        while pending:
            files: list[tuple[bytes, Numbers]] = []
            for path, entry in pending[-1].listing:
                if entry is None:
                    identity = self._identity(self.tree.absolute(path))
                    if identity is None or identity not in (*barred, *(level.identity for level in pending)):
                        pending.append(_Level(path, iter(self._list(path)), identity))
                        break
                elif (numbers := self._look(entry)) is not None:
                    files.append((path, numbers))
                    if len(files) >= _TOGETHER:
                        break
            else:
                pending.pop()
            if files:
                yield files

    def _alone(self) -> Iterator[list[tuple[bytes, Numbers]]]:
        path = self.tree.absolute(self.below)
        if not self.tree.concerns(path, is_directory=False):
            return
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                if self.tree.follow_symlinks and os.path.exists(path):
                    status = os.stat(path)
                elif os.path.exists(path):
                    return
        except OSError as error:
            if not isinstance(error, _GONE):
                self.blind[self.below] = error.strerror or str(error)
            return
        if not stat.S_ISDIR(status.st_mode):  # one that is ignored, or of a root that is not recursive
            yield [(self.below, _numbers(status))]

    def _is_folder(self, below: bytes) -> bool:
        path = self.tree.absolute(below)
        if not self.tree.concerns(path, is_directory=True):
            return False
        if os.path.islink(path):
            return self.tree.follow_symlinks and os.path.isdir(path) and self._follow(path)
        return os.path.isdir(path)

    def _list(self, folder: bytes) -> _Listing:
        path = self.tree.absolute(folder.removesuffix(b"/"))
        try:
            with os.scandir(path) as scan:
                entries = list(scan)
        except OSError as error:
            if not isinstance(error, _GONE):
                self.blind[folder.removesuffix(b"/")] = error.strerror or str(error)
            return []
        return self._sort(folder, entries)

    def _sort(self, folder: bytes, entries: list[os.DirEntry[bytes]]) -> _Listing:
        is_ignored = self.tree.rules.in_folder(folder.removesuffix(b"/"), _rules_among(entries))
        if self.tree.follow_symlinks:
            entries.sort(key=_name)  # of several links to one folder every walk has to follow the same
        listing: _Listing = []
        for entry in entries:
            name = entry.name
            try:
                if entry.is_file(follow_symlinks=False):
                    if not is_ignored(name, _FILE):
                        listing.append((folder + name, entry))
                    continue
                is_directory = entry.is_dir(follow_symlinks=False)
                if not is_directory and entry.is_symlink() and os.path.exists(entry.path):
                    # One that leads nowhere is told of, as a failure.
                    if not self.tree.follow_symlinks:
                        continue
                    is_directory = entry.is_dir()
                    if is_directory and (is_ignored(name, _FOLDER) or not self._follow(entry.path)):
                        continue
                    if self.tree.excludes(entry.path):
                        continue
            except OSError as error:
                _log.warning(
                    "entry cannot be looked at", root=self.tree.root, path=readable(entry.path), error=error.strerror
                )
                continue
            if is_ignored(name, is_directory):
                continue
            if not is_directory:
                listing.append((folder + name, entry))
            elif self.tree.recursive and entry.path != self.tree.excluded:
                listing.append((folder + name + b"/", None))
        # A folder sorts by the slash behind its name, since what is in it does.
        listing.sort(key=_path)
        return listing

    def _follow(self, link: bytes) -> bool:
        """Whether to walk what a link to a folder leads to."""
        target = os.path.realpath(link)
        if not self.tree.recursive or _lies_in(target, self.tree.folder) or _lies_in(target, self.tree.excluded):
            return False
        identity = self._identity(target)
        if identity is None or identity in self._followed:
            return False
        self._followed.add(identity)
        self.linked.append(link)
        return True

    def _look(self, entry: os.DirEntry[bytes]) -> Numbers | None:
        try:
            status = entry.stat(follow_symlinks=False)
            if self.tree.follow_symlinks and stat.S_ISLNK(status.st_mode) and os.path.exists(entry.path):
                status = entry.stat()
        except OSError:
            return None  # gone meanwhile, or not to be looked at: whoever misses it looks for itself
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino

    def _identity(self, folder: bytes) -> tuple[int, int] | None:
        """What tells a loop of followed links, and damd's own state behind one."""
        if not self.tree.follow_symlinks:
            return None
        try:
            status = os.stat(folder)
        except OSError:
            return None
        return status.st_dev, status.st_ino


@dataclass(slots=True)
class _Level:
    folder: bytes
    listing: Iterator[tuple[bytes, os.DirEntry[bytes] | None]]
    identity: tuple[int, int] | None


def _lies_in(path: bytes, folder: bytes) -> bool:
    return (path + b"/").startswith(folder.rstrip(b"/") + b"/")


def _path(listed: tuple[bytes, object]) -> bytes:
    return listed[0]


def _name(entry: os.DirEntry[bytes]) -> bytes:
    return entry.name


def _numbers(status: os.stat_result) -> Numbers:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _rules_among(entries: Iterable[os.DirEntry[bytes]]) -> Signature | None:
    for entry in entries:
        if entry.name == NAME:
            try:
                return Signature.of(entry.stat(follow_symlinks=False))
            except OSError:
                return None
    return None
