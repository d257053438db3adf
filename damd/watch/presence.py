"""Whether a root is there, and which volumes carry it.

Asked before a tree is compared and again before anything in it is taken for deleted: an empty mount point
looks like a folder from which everything was deleted, and so does a disk that is not the one it was.
"""

# ruff: noqa: PTH116 - pathlib has no paths of bytes

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import anyio
import anyio.to_thread

from damd.catalogue.store import Catalogue
from damd.catalogue.volumes import VolumeKey, is_the_same, present_volumes, recognise_as, sample
from damd.errors import WatchError
from damd.mounts import Mounts

_ATTEMPTS = 10


class Presence(NamedTuple):
    """A root that is there: what identifies its folder while this system runs, and the volumes that carry it."""

    identity: tuple[int, int]
    volumes: tuple[VolumeKey, ...]


def look_for(folder: bytes, mounts: Mounts) -> Presence:
    """Look whether a root is there; blocks, and may hang where the network does.

    Raises:
        WatchError: It is not, or cannot be listed.
    """
    try:
        for _ in range(_ATTEMPTS):
            version = mounts.version
            presence = _look_once(folder, mounts)
            if mounts.version == version:
                return presence
        raise OSError(errno.EAGAIN, "what is mounted there changes all the time")
    except OSError as error:
        raise WatchError(os.fsdecode(folder), error) from error


def _look_once(folder: bytes, mounts: Mounts) -> Presence:
    os.scandir(folder).close()
    status = os.stat(folder)
    own = VolumeKey(b"", mounts.carrier_of(folder))
    nested = []
    for mount in mounts.below(folder):
        with suppress(OSError):  # it does not answer: what lies on it is out of reach
            number = mounts.filesystem_of(mount.path)
            nested.append(VolumeKey(mount.path[len(folder.rstrip(b"/")) + 1 :], number))
    return Presence((status.st_dev, status.st_ino), (own, *nested))


class Volumes:
    """The numbers of the volumes that carry a root now."""

    def __init__(self, numbers: Mapping[VolumeKey, int]) -> None:
        self.keys = tuple(numbers)
        self._own = numbers.get(next((key for key in numbers if not key.path), VolumeKey(b"", 0)))
        nested = ((key.path + b"/", number) for key, number in numbers.items() if key.path)
        # The innermost of nested mounts comes first.
        self._nested = sorted(nested, key=lambda each: len(each[0]), reverse=True)

    def at(self, below: bytes) -> int | None:
        """The number of the volume on which a path of the root lies, or would."""
        for prefix, number in self._nested:
            # With the slash: a single file can be mounted, too.
            if (below + b"/").startswith(prefix):
                return number
        return self._own


async def recognise(catalogue: Catalogue, root: str, folder: bytes, presence: Presence) -> Volumes:
    """The numbers of the volumes that carry a root; one that only got another number is the one that it was.

    Raises:
        CatalogueUnavailableError: The catalogue cannot be asked now.
    """
    for key in presence.volumes:
        for number, files in await catalogue.read(functools.partial(sample, root=root, key=key)):
            looks = functools.partial(is_the_same, files, functools.partial(_size_and_mtime, folder))
            if await anyio.to_thread.run_sync(looks, abandon_on_cancel=True):
                await catalogue.write(functools.partial(recognise_as, volume=number, root=root, key=key))
    return Volumes(await catalogue.write(functools.partial(present_volumes, root=root, keys=presence.volumes)))


def _size_and_mtime(folder: bytes, below: bytes) -> tuple[int, int] | None:
    try:
        status = os.lstat(os.path.join(folder, below))  # noqa: PTH118
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
