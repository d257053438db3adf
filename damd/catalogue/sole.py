"""One daemon to a catalogue, wherever its state folder is: two would take each other's endpoints for removed.

Of a SQLite file, the daemon holds a lock on another file beside it, ``NAME.lock``, which the system takes back however
the process ends. It is left there: a lock on a file that is removed keeps nobody out. Of a schema at a server, it holds
the lock of a session, `damd.catalogue.session_lock`. Both tell who holds them: ``damd run, HOST, process N``.

``damd ingest`` and the questions take no such lock.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from damd.catalogue.engine import STATE_MODE, CatalogueSettings
from damd.catalogue.session_lock import LONGEST_NAME, SessionLock
from damd.errors import CatalogueError, CatalogueInUseError

Result = TypeVar("Result")

_FAREWELL_S = 5.0


class Lock(Protocol):
    """A lock as a thread sees it, only ever one at a time; everything blocks."""

    def take(self) -> None:
        """Take it.

        Raises:
            CatalogueInUseError: Another daemon has it.
            CatalogueError: It cannot be taken.
        """

    def still_holds(self) -> bool:
        """As `Hold.still_holds`."""

    def leave(self) -> None:
        """Give it back."""


class Hold:
    """What `sole_daemon` hands out."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._thread = anyio.CapacityLimiter(1)
        self._busy = threading.Lock()
        self._is_left = False

    async def still_holds(self) -> bool:
        """Whether this is still the only daemon, for who asks every few seconds; takes the lock again where it is lost.

        Returns:
            False while nobody can say, as the server cannot be reached.

        Raises:
            CatalogueInUseError: Another daemon has taken it meanwhile.
            CatalogueError: The server hands its sessions around.
        """
        return await self._in_thread(self._lock.still_holds)

    async def take(self) -> None:
        """As the lock's own."""
        await self._in_thread(self._lock.take)

    async def leave(self) -> None:
        """Give it back; a server that does not answer is not waited for."""
        self._is_left = True
        with anyio.move_on_after(_FAREWELL_S, shield=True):
            await anyio.to_thread.run_sync(self._leave_unless_busy, limiter=self._thread, abandon_on_cancel=True)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        # A server may take its time; whoever is cancelled does not wait for it, and the thread tidies up by itself.
        return await anyio.to_thread.run_sync(self._work, work, limiter=self._thread, abandon_on_cancel=True)

    def _work(self, work: Callable[[], Result]) -> Result:
        try:
            with self._busy:
                return work()
        finally:
            # Asked after the lock is free: whoever left before has set it, and whoever leaves now finds it free.
            if self._is_left:
                self._leave_unless_busy()

    def _leave_unless_busy(self) -> None:
        if self._busy.acquire(blocking=False):
            try:
                self._lock.leave()
            finally:
                self._busy.release()


@asynccontextmanager
async def sole_daemon(settings: CatalogueSettings, state: Path) -> AsyncIterator[Hold]:
    """Be the only daemon on a catalogue; entered before the catalogue is opened, which may change its schema.

    Args:
        settings: Which catalogue.
        state: The state folder.

    Raises:
        CatalogueInUseError: Another daemon runs on it; the message says which.
        CatalogueUnavailableError: The server cannot be reached.
        CatalogueError: The lock cannot be taken: its folder may not be written, the driver is not installed.
    """
    hold = Hold(await anyio.to_thread.run_sync(_lock_of, settings, state))
    try:
        await hold.take()
        yield hold
    finally:
        await hold.leave()


def _lock_of(settings: CatalogueSettings, state: Path) -> Lock:
    file = settings.file_in(state)
    return SessionLock(settings, this_daemon()) if file is None else _FileLock(file)


def this_daemon() -> str:
    """Who holds a lock, for whoever is refused; short enough for PostgreSQL, which would cut off the number."""
    before, after = "damd run, ", f", process {os.getpid()}"
    host = socket.gethostname().encode("ascii", "replace").decode()
    return before + host[: LONGEST_NAME - len(before) - len(after)] + after


class _FileLock:
    def __init__(self, database: Path) -> None:
        # One spelling, whatever links lead there.
        real = database.resolve()
        self._database = real
        self._path = real.with_name(f"{real.name}.lock")
        self._descriptor: int | None = None

    def take(self) -> None:
        try:
            self._path.parent.mkdir(STATE_MODE, parents=True, exist_ok=True)
            self._lock_what_is_there()
        except OSError as error:
            advice = "damd must be allowed to write there, and so must SQLite"
            raise CatalogueError(f"The lock {self._path} cannot be taken ({error.strerror}): {advice}") from error

    def still_holds(self) -> bool:
        """Where the file was removed or replaced, the next daemon would lock another one."""
        try:
            self._lock_what_is_there()
        except OSError:
            return False  # the catalogue itself is gone, too, or as good as gone
        return True

    def leave(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock_what_is_there(self) -> None:
        while not self._is_in_place():  # else it was removed before it was locked
            self.leave()
            self._lock()

    def _lock(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 200).decode("utf-8", "replace").strip()
            self.leave()
            raise CatalogueInUseError(
                str(self._database), holder or "of unknown number", instead="another database"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{this_daemon()}\n".encode(), 0)

    def _is_in_place(self) -> bool:
        if self._descriptor is None:
            return False
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat(follow_symlinks=False))
        return False
