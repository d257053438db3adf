"""Reconciling: a root's tree against the catalogue, in pieces, so that memory does not grow with the root.

Both sides are taken in the order of the paths' bytes, so each piece of the tree is compared with one stretch
of the catalogue's index, and what the catalogue knows between two neighbours of the tree was not found.
"""

# ruff: noqa: PTH120 - pathlib has no paths of bytes

from __future__ import annotations

import functools
import itertools
import os
import stat
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from damd.catalogue.absence import Bounds, Comparison, compare
from damd.catalogue.store import Catalogue
from damd.watch.presence import Volumes
from damd.watch.tree import Numbers, Tree, Walk

_PIECE = 4000
"""Files compared at a time: some 20 ms of work, and a few MB."""


@dataclass
class _Piece:
    bounds: Bounds
    found: dict[bytes, Numbers] = field(default_factory=dict)

    def go_on(self, start: bytes | None) -> Bounds | None:
        """What is left of it from this path on."""
        if start is None:
            return None
        self.found = {path: numbers for path, numbers in self.found.items() if path >= start}
        return self.bounds._replace(low=start)


async def differences(
    catalogue: Catalogue, walk: Walk, volumes: Volumes, *, limiter: anyio.CapacityLimiter | None = None
) -> AsyncGenerator[Comparison, None]:
    """Compare what a walk finds with what the catalogue knows there, piece by piece.

    What was not found is looked for by itself before it is called unseen: a rule may ignore it now, and a folder
    that cannot be read hides what is in it.

    Args:
        catalogue: What is compared.
        walk: With this: what lies at and below a path of the tree.
        volumes: Those that carry the root now.
        limiter: Of the threads in which the tree is walked.

    Raises:
        CatalogueUnavailableError: The catalogue cannot be asked now.
    """
    tree = walk.tree
    pieces = _pieces(walk, walk.below)
    while piece := await anyio.to_thread.run_sync(next, pieces, None, limiter=limiter, abandon_on_cancel=True):
        bounds: Bounds | None = piece.bounds
        while bounds is not None:
            query = functools.partial(compare, root=tree.root, bounds=bounds, found=piece.found, volume_at=volumes.at)
            comparison = await catalogue.read(query)
            bounds = piece.go_on(comparison.rest)
            for unseen in (comparison.unseen, comparison.unseen_failures):
                if unseen:
                    gone = functools.partial(those_gone, tree, unseen)
                    unseen[:] = await anyio.to_thread.run_sync(gone, limiter=limiter, abandon_on_cancel=True)
            yield comparison


def _pieces(walk: Walk, below: bytes) -> Iterator[_Piece]:
    """The whole of the walk; their bounds leave no gap between them."""
    if not below:
        yield from _stretches(walk, Bounds(None, None))
        return
    # What is named so itself, and what is below it, are no neighbours: a-b stands between a and a/c.
    alone, inside = Bounds(below, _next(below)), Bounds(below + b"/", below + b"0")
    lists = iter(walk)
    stretches = list(itertools.islice(lists, 1))
    if stretches and stretches[0][0][0] == below:
        yield from _stretches(stretches, alone)
        yield _Piece(inside)
    else:
        yield _Piece(alone)
        yield from _stretches(itertools.chain(stretches, lists), inside)


def _stretches(walk: Iterable[list[tuple[bytes, Numbers]]], within: Bounds) -> Iterator[_Piece]:
    low = within.low
    found: dict[bytes, Numbers] = {}
    for files in walk:
        for start in range(0, len(files), _PIECE):  # a folder may be wide
            found.update(files[start : start + _PIECE])
            if len(found) >= _PIECE:
                high = _next(files[min(start + _PIECE, len(files)) - 1][0])
                yield _Piece(Bounds(low, high), found)
                low, found = high, {}
    yield _Piece(Bounds(low, within.high), found)


def _next(path: bytes) -> bytes:
    """The first path after this one in the order of bytes."""
    return path + b"\0"


def those_gone(tree: Tree, paths: Iterable[bytes]) -> list[bytes]:
    """Of these paths of the tree, those where nothing is: the system says so, and of nothing else; blocks.

    ENOENT, or ENOTDIR where a file took a folder's place, or something that is no file took its own. Behind a link
    nothing is known to be gone, since nobody knows what it would lead to, unless that is elsewhere in the root.
    """
    return [path for path in paths if _is_gone(tree, path)]


def _is_gone(tree: Tree, below: bytes) -> bool:
    path = tree.absolute(below)
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        gone = True
    except OSError:
        return False
    else:
        gone = not (stat.S_ISREG(status.st_mode) or (tree.follow_symlinks and stat.S_ISLNK(status.st_mode)))
    folder = os.path.dirname(path)
    real = os.path.realpath(folder)
    if real == folder:
        return gone
    return not tree.follow_symlinks and (real + b"/").startswith(tree.folder.rstrip(b"/") + b"/")
