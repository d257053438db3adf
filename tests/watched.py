"""What the tests of watchers ask of a folder and of the watcher on it."""

import os
from pathlib import Path

import anyio

from damd.watch.base import Sighting, Watcher


async def until_sighted(watcher: Watcher, path: Path) -> list[Sighting]:
    """All that is sighted until a file at the root is: what was done before it has been reported by then."""
    await anyio.Path(path).write_bytes(b"the end")
    seen: list[Sighting] = []
    with anyio.fail_after(20):
        while not any(sighting.path == os.fsencode(path) for sighting in seen):
            seen += await watcher.next_batch()
    return seen


async def until_marked(watcher: Watcher, path: Path) -> list[Sighting]:
    """All that is sighted until a folder is marked: from then on it is watched."""
    seen: list[Sighting] = []
    with anyio.fail_after(20):
        while not any(sighting.is_mark and sighting.path == os.fsencode(path) for sighting in seen):
            seen += await watcher.next_batch()
    return seen


def files_below(folder: bytes) -> set[bytes]:
    """Its files; those of a folder that is gone, or of a file, are none."""
    return {where + b"/" + name for where, _, names in os.walk(folder) for name in names}
