"""Reconciling: a root's tree against the catalogue, in pieces, so that memory does not grow with the root.

The walk yields paths in the order of their bytes, which is also the order of the catalogue's index: each
piece of the tree is compared with one stretch of it.
"""

# ruff: noqa: PTH110, PTH118 - pathlib has no paths of bytes

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

import anyio.to_thread
import structlog

from damd.catalogue.queries import without_the_known
from damd.catalogue.store import Catalogue
from damd.events import readable
from damd.fingerprint import Signature
from damd.watch.ignore import IgnoreRules

_log = structlog.get_logger(__name__)

_PIECE = 2000


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A root's files, but for those that are none of damd's business.

    Attributes:
        root: The root's name.
        folder: The root's folder.
        recursive: Whether its folders belong to it.
        rules: Which paths are ignored.
        excluded: A folder that is left out whatever the rules say: damd's own state.
    """

    root: str
    folder: bytes
    recursive: bool
    rules: IgnoreRules
    excluded: bytes

    def relative(self, path: bytes) -> bytes:
        """An absolute path as seen from the root's folder; empty for the folder itself."""
        return path[len(self.folder.rstrip(b"/")) + 1 :]

    def concerns(self, path: bytes, *, is_directory: bool) -> bool:
        """Whether a file or folder at this absolute path is the tree's, or is the root itself."""
        below = self.relative(path)
        if not below:
            return is_directory
        if (not self.recursive and (is_directory or b"/" in below)) or (path + b"/").startswith(self.excluded + b"/"):
            return False
        return not self.rules.ignores(below, is_directory=is_directory)

    def walk(self, below: bytes = b"") -> Iterator[tuple[bytes, Signature]]:
        """What lies below a folder of the root, each with its path from the root, in the order of the bytes.

        Blocks. Links are not followed. A folder that cannot be read hides only itself.
        """
        # Not recursive: a tree may be deeper than Python's stack.
        pending = [iter(self._children(below))]
        while pending:
            for path, entry in pending[-1]:
                if path.endswith(b"/"):
                    pending.append(iter(self._children(path[:-1])))
                    break
                try:
                    yield path, Signature.of(entry.stat(follow_symlinks=False))
                except OSError:
                    continue  # gone meanwhile
            else:
                pending.pop()

    def _children(self, below: bytes) -> list[tuple[bytes, os.DirEntry[bytes]]]:
        """What counts of a folder, sorted; a folder's path ends with a slash, since what is in it sorts so."""
        try:
            with os.scandir(os.path.join(self.folder, below) if below else self.folder) as entries:
                return sorted((path, entry) for entry in entries if (path := self._counts(below, entry)) is not None)
        except OSError as error:
            if not below or not isinstance(error, (FileNotFoundError, NotADirectoryError)):
                _log.warning("folder cannot be read", root=self.root, folder=readable(below), error=error.strerror)
            return []

    def _counts(self, below: bytes, entry: os.DirEntry[bytes]) -> bytes | None:
        path = os.path.join(below, entry.name)
        try:
            is_directory = entry.is_dir(follow_symlinks=False)
            if entry.is_symlink() and os.path.exists(entry.path):
                return None  # not followed; one that leads nowhere is told of, as a failure
        except OSError as error:
            _log.warning("entry cannot be looked at", root=self.root, path=readable(path), error=error.strerror)
            return None
        if is_directory and (not self.recursive or entry.path == self.excluded):
            return None
        if self.rules.ignores(path, is_directory=is_directory):
            return None
        return path + b"/" if is_directory else path


async def differences(catalogue: Catalogue, tree: Tree, folder: bytes) -> AsyncGenerator[list[bytes], None]:
    """The absolute paths below a folder of the tree whose signature the catalogue does not know, piece by piece."""
    walk = tree.walk(tree.relative(folder))
    while found := await anyio.to_thread.run_sync(lambda: dict(itertools.islice(walk, _PIECE))):
        unknown = await catalogue.read(functools.partial(without_the_known, root=tree.root, found=found))
        if unknown:
            yield [os.path.join(tree.folder, path) for path in unknown]
