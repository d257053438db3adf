"""Looks at a disk that may not answer, for who asks once and goes home; the daemon has `damd.fingerprint.look_in`."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

_ANSWER_S = 5.0  # for one look at the disk

_AT_ONCE_S = 2.0
_SILENT_FOR_S = 30.0
_silent: dict[str, float] = {}
"""Paths that did not answer, and until when, in monotonic seconds, nobody asks for them again."""

Result = TypeVar("Result")


async def in_time(call: Callable[[], Result], *, within_s: float | None = None) -> Result:
    """What a call that looks at the disk returns or raises; if it hangs, nobody waits for it, now or at the end.

    Raises:
        TimeoutError: It has not come back within this time, or 5 s.
    """
    done, token = anyio.Event(), anyio.lowlevel.current_token()
    results: list[Result] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            errors.append(error)
        with suppress(RuntimeError, anyio.RunFinishedError):  # nobody waits any more
            anyio.from_thread.run_sync(done.set, token=token)

    with anyio.fail_after(_ANSWER_S if within_s is None else within_s):
        # Not anyio's own: the interpreter waits for those before it ends.
        threading.Thread(target=run, daemon=True).start()
        await done.wait()
    for error in errors:
        raise error
    return results[0]


def why_unlistable(folder: bytes) -> str | None:
    """Why a folder cannot be listed, as the system says it; None if it can. Blocks, perhaps for ever."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        return error.strerror
    return None


def real_path(path: str | os.PathLike[str]) -> str:
    """The path with no links in it; as it is spelt where a mount that is dead does not answer. Blocks 2 s at most."""
    spelt = os.path.abspath(path)  # noqa: PTH100 - as a string, and with its `..` resolved
    return _at_once(spelt, os.path.realpath, spelt)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is there, and can be seen to be one; False where it does not answer. Blocks 2 s at most."""
    return _at_once(os.fspath(path), os.path.isdir, instead=False)


def _at_once(path: str, look: Callable[[str], Result], instead: Result) -> Result:
    """What a look returns; something instead of it where it hangs, and at once where that path did so lately."""
    if _silent.get(path, 0.0) > time.monotonic():
        return instead
    found: list[Result] = []
    looking = threading.Thread(target=lambda: found.append(look(path)), daemon=True)
    looking.start()
    looking.join(_AT_ONCE_S)
    if not found:
        _silent[path] = time.monotonic() + _SILENT_FOR_S
        return instead
    return found[0]
