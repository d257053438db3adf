"""The folder that a daemon has to itself: made, locked, and minded while it runs."""

from __future__ import annotations

import fcntl
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from damd.catalogue.engine import STATE_MODE
from damd.config import Config
from damd.errors import CatalogueError, CatalogueInUseError, ConfigurationError

LOCK = "daemon.lock"
_MIND_STATE_S = 5.0


def make_state_folder(state: Path) -> None:
    """Make it where it is missing; blocking.

    Raises:
        ConfigurationError: It cannot be made.
    """
    try:
        state.mkdir(STATE_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError([f"The state folder {state} cannot be made: {error.strerror}"]) from error


@contextmanager
def locked(state: Path, holder: str) -> Iterator[None]:
    """Hold the state folder's lock, which the system takes back however the process ends.

    Args:
        state: The folder.
        holder: What another daemon is told of this one.

    Raises:
        CatalogueInUseError: Another daemon holds it.
    """
    with (state / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CatalogueInUseError(str(state), lock.read().strip() or "of unknown number") from None
        lock.truncate(0)
        lock.write(f"{holder}\n")
        lock.flush()
        yield


async def mind_state(config: Config) -> None:
    """Run for as long as the lock and the catalogue are there: what is written to others, nobody will ever read.

    Raises:
        CatalogueError: One of them was removed or replaced.
    """
    thread = anyio.CapacityLimiter(1)
    files = [config.state / LOCK, config.catalogue.file_in(config.state)]
    look = functools.partial(anyio.to_thread.run_sync, limiter=thread, abandon_on_cancel=True)
    kept = {file: await look(_identity, file) for file in files if file is not None}
    while True:
        await anyio.sleep(_MIND_STATE_S)
        for file, identity in kept.items():
            if await look(_identity, file) != identity:
                raise CatalogueError(f"{file} was removed or replaced while damd ran: start damd again")


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
