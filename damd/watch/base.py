"""What every source of sightings keeps to: `Sighting`, `Watcher`, and the settings of a root."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Protocol, Self

from pydantic import AfterValidator

from damd.errors import WatchError
from damd.settings import AbsolutePath, Duration, Settings, Share
from damd.watch.ignore import IgnoreRules

_NAME = re.compile(r"(?!\.+$)[\w.-]{1,64}")


def _valid_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a root's name is 1 to 64 letters, digits, '-', '_' or '.', and not dots alone")
    return value


def _valid_patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    IgnoreRules(value)
    return value


def _at_least_a_second(value: timedelta) -> timedelta:
    if value < timedelta(seconds=1):
        raise ValueError("a root cannot be scanned more often than every 1s")
    return value


class RootSettings(Settings, json_schema_extra={"examples": [{"path": "~/Pictures/inbox", "name": "inbox"}]}):
    """One entry of the configuration's ``watch:`` list."""

    path: AbsolutePath
    """The folder. Where it is a symbolic link, what it leads to is watched under the link's name."""
    name: Annotated[str, AfterValidator(_valid_name)] | None = None
    """What the catalogue, logs and metrics call it: letters, digits, '-', '_' and '.'. By default the folder's name.
    The catalogue knows its files by this name, so choose it once."""
    recursive: bool = True
    """Whether the folders below it belong to it."""
    ignore: Annotated[tuple[str, ...], AfterValidator(_valid_patterns)] = ()
    """What is none of damd's business, in gitignore syntax, such as ["*.tmp", "drafts/"]. Temporary files of browsers,
    editors and file servers are ignored anyway; "!pattern" brings something back. A file .damdignore in any folder
    says the same of what lies in that folder."""
    include: Annotated[tuple[str, ...], AfterValidator(_valid_patterns)] = ()
    """If not empty, only files that match one of these belong to it, such as ["*.[jJ][pP][gG]", "scans/"]."""
    follow_symlinks: bool = False
    """Whether what symbolic links lead to belongs to it. Files behind a link are never called missing."""
    settle: Duration = timedelta(milliseconds=500)
    """How long a file must be quiet before it is read."""
    rescan: Annotated[Duration, AfterValidator(_at_least_a_second)] = timedelta(minutes=15)
    """How often the whole folder is compared with the catalogue, whatever was seen in between; at least 1s."""
    backend: Literal["auto", "native", "polling"] = "auto"
    """auto: polling on network mounts, whose changes the kernel does not report; else native. Or native, or
    polling."""
    max_missing: Share = 0.1
    """How much of what is known in it may go missing at once, and be marked so; at least 100 files may. If more is not
    there, it is held until you say `damd roots accept`: it is more likely a disk's fault than your wish."""
    unsupported: Literal["fail", "catalogue"] = "fail"
    """A type that damd cannot read: fail, or catalogue its hash and its properties only."""
    announce: Literal["all", "new"] = "all"
    """Tell the subscribers of all files, or only of new ones: then what the first scan finds is not announced."""


OVERFLOWED = "the kernel's queue overflowed"
"""The reason of a `damd.errors.WatchLostError` that is worth counting by itself."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A path that may have changed: a hint, never a fact; it may be gone, or ignored.

    Attributes:
        path: Absolute, below the root as the root is spelt, in the system's bytes (``os.fsencode``).
        is_mark: "Reconcile this path, whatever it is or was, and everything below it", as far as the root is
            recursive; for folders that are new, and for whatever went away.
        closed: A writer has just closed it, or it was renamed into place; shortens the wait.
        moved_from: Where the system says that it was renamed from, in this root.
    """

    path: bytes
    is_mark: bool = False
    closed: bool = False
    moved_from: bytes | None = None


class Watcher(Protocol):
    """Watches one root while it is entered; made from the root's settings, for one consumer.

    Entering returns when every watch is armed, so that a scan that begins afterwards, together with the
    sightings, misses nothing. What waits to be taken is bounded, however much happens: single files collapse
    into marks on their folders, and those into a mark on the root.
    """

    async def __aenter__(self) -> Self:
        """Arm the watches.

        Raises:
            WatchError: The root is not there, may not be read, or the system's limits are reached.
        """
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def watches(self) -> int:
        """How many of the kernel's watches it holds."""
        ...

    @property
    def unwatched(self) -> frozenset[bytes]:
        """Folders of which, and of all below which, nothing is heard: they are polled. It may grow."""
        ...

    async def next_batch(self) -> list[Sighting]:
        """Wait until there is something, and take all of it, each path once; cancelled, it takes nothing.

        Raises:
            anyio.ClosedResourceError: The watcher has been left.
            WatchLostError: Something was missed, or may have been: leave it, enter a new one, and reconcile.
        """
        ...


class Sink(Protocol):
    """Where sightings go."""

    def sight(
        self, path: bytes, *, root: str, settle_s: float, closed: bool = False, moved_from: bytes | None = None
    ) -> bool:
        """A path may have changed; False when there is no room for it."""
        ...

    async def offer(self, path: bytes, *, root: str, settle_s: float, moved_from: bytes | None = None) -> None:
        """The same, awaiting room."""
        ...

    async def caught_up(self, root: str) -> frozenset[int]:
        """Wait, for a bounded time, until what waits now has been dealt with.

        Returns:
            The inodes of all that still waits, in any root: a file that is missing here may have moved there.
        """
        ...


def require_folder(root: Path) -> None:
    """Make sure that a root is a folder whose entries can be listed; blocks.

    Raises:
        WatchError: It is not.
    """
    try:
        os.scandir(root).close()
    except OSError as error:
        raise WatchError(str(root), error) from error
