"""The folder that a daemon has to itself: made, locked, and minded while it runs."""

from __future__ import annotations

import fcntl
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from damd.catalogue.engine import STATE_MODE
from damd.catalogue.sole import Hold
from damd.config import Config
from damd.errors import CatalogueError, CatalogueInUseError, ConfigurationError

_log = structlog.get_logger(__name__)

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
    try:
        file = (state / LOCK).open("a+")
    except OSError as error:
        advice = "give the folder and all in it to the user that damd runs as (chown -R)"
        raise ConfigurationError([f"The lock {state / LOCK} cannot be opened ({error.strerror}): {advice}"]) from error
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CatalogueInUseError(str(state), lock.read().strip() or "of unknown number") from None
        lock.seek(0)
        if before := lock.read().strip():
            _log.warning("the daemon before this one did not end in order: what it left is found again", was=before)
        lock.truncate(0)
        lock.write(f"{holder}\n")
        lock.flush()
        yield
        lock.truncate(0)  # whoever finds it empty knows that all ended in order


async def mind_state(config: Config, hold: Hold) -> None:
    """Run for as long as the locks and the catalogue are there: what is written to others, nobody will ever read.

    Args:
        config: Where they are.
        hold: The catalogue's lock.

    Raises:
        CatalogueError: One of them was removed or replaced, or another daemon runs on the catalogue now.
    """
    thread = anyio.CapacityLimiter(1)
    files = [file for file in (config.state / LOCK, config.catalogue.file_in(config.state)) if file is not None]
    look = functools.partial(anyio.to_thread.run_sync, _identities, files, limiter=thread, abandon_on_cancel=True)
    kept = await look()
    while True:
        await anyio.sleep(_MIND_STATE_S)
        found = await look()
        for file in files:
            if found[file] != kept[file]:
                raise CatalogueError(f"{file} was removed or replaced while damd ran: start damd again")
        await hold.still_holds()


def _identities(files: Sequence[Path]) -> dict[Path, tuple[int, int] | None]:
    return {file: _identity(file) for file in files}


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
