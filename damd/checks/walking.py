"""A walk through the folders of a root, for checks: cheaper than the scan's, and in no order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from damd.watch.base import RootSettings
from damd.watch.ignore import IgnoreRules


class Listed(NamedTuple):
    """One folder.

    Attributes:
        folder: Its path.
        files: The paths of what it holds of damd's business, but for folders.
        is_readable: Whether it could be listed.
    """

    folder: bytes
    files: list[bytes]
    is_readable: bool


def folders_of(root: RootSettings, state: Path) -> Iterator[Listed]:
    """The root's folder, and each below it that is there and not ignored; no link is followed. Blocks.

    Args:
        root: The root.
        state: damd's own folder, which is left out.
    """
    top = os.fsencode(root.path)
    rules = IgnoreRules(root.ignore, include=root.include, folder=top)
    excluded = os.path.realpath(os.fsencode(state))
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        files: list[bytes] = []
        try:
            entries = _entries(folder)
        except FileNotFoundError:
            continue
        except OSError:
            yield Listed(folder, files, is_readable=False)
            continue
        for entry in entries:
            below = entry.path[len(top.rstrip(b"/")) + 1 :]
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.path == excluded or (is_folder and not root.recursive):
                continue
            if not rules.ignores(below, is_directory=is_folder):
                (waiting if is_folder else files).append(entry.path)
        yield Listed(folder, files, is_readable=True)


def _entries(folder: bytes) -> list[os.DirEntry[bytes]]:
    with os.scandir(folder) as entries:
        return list(entries)
