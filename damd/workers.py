"""One worker process, as the daemon sees it: what is asked of it, what it sends, and how it ends.

The protocol is told in `damd.readers.__main__`. What a worker sends is believed to be well-formed only after a look.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import anyio
from anyio.abc import ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

MAX_ANSWER_BYTES = 2**20
EXIT_TIMEOUT_S = 1.0
"""From the end of a pipe to the end of its process."""
_KILLED = "killed by SIGKILL"
_KEPT = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ"})  # of the environment


@dataclass(frozen=True)
class Request:
    """What a worker is asked, as the bytes that go to it."""

    id: int
    path: str
    frame: bytes

    @classmethod
    def make(cls, number: int, module: str, path: str, options: Mapping[str, JSON]) -> Self:
        """The request to run ``read(path, **options)`` of a module."""
        body = json.dumps({"id": number, "module": module, "path": path, "options": options}).encode("ascii")
        return cls(number, path, len(body).to_bytes(4, "big") + body)


@dataclass(eq=False)
class Worker:
    """One process, seen from here; what it sends is believed to be well-formed only after a look."""

    process: Process
    requests: ByteSendStream
    answers: BufferedByteReceiveStream
    calls: int = field(default=0, init=False)

    @classmethod
    def of(cls, process: Process) -> Self:
        """The worker behind a process with two pipes."""
        if process.stdin is None or process.stdout is None:
            raise ValueError("a worker needs both of its pipes")
        return cls(process, process.stdin, BufferedByteReceiveStream(process.stdout))

    async def send(self, request: Request) -> None:
        """Give it a request.

        Raises:
            WorkerLostError: It does not take any more.
        """
        try:
            await self.requests.send(request.frame)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            raise WorkerLostError(await self._learn_end()) from None

    async def receive(self, number: int) -> dict[str, Any]:
        """The next message, which must belong to this request.

        Raises:
            WorkerLostError: It died, or says what it must not.
        """
        try:
            length = int.from_bytes(await self.answers.receive_exactly(4), "big")
            if length > MAX_ANSWER_BYTES:
                raise WorkerLostError(f"stopped: its answer of {length} bytes is too long")
            message = checked_object(json.loads(await self.answers.receive_exactly(length)))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError, OSError):
            raise WorkerLostError(await self._learn_end()) from None
        except (ValueError, RecursionError):
            raise WorkerLostError("stopped: its answer was no JSON") from None
        if message.get("id") != number:
            raise WorkerLostError("stopped: its answer was to another question")
        return message

    async def _learn_end(self) -> str:
        if self.process.returncode is None:  # else its number may be another's by now
            with anyio.move_on_after(EXIT_TIMEOUT_S):
                await self.process.wait()
                self.kill()  # its offspring
        if (status := self.process.returncode) is None:
            return "stopped: it had closed its pipe"
        if status >= 0:
            return f"gone, with exit status {status}"
        names = {number.value: number.name for number in signal.Signals}
        return f"killed by {names.get(-status, -status)}"

    def kill(self) -> None:
        """End it at once, and whatever it has started."""
        # Not Popen.kill(): it polls, and so could reap the process before asyncio's own watcher does.
        # A worker's number is that of its group, which lives on as long as anything that it started.
        with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted on a zombie
            os.killpg(self.process.pid, signal.SIGKILL)


class WorkerLostError(Exception):
    """A worker died or broke the protocol; ``str()`` of it says how, to complete a sentence."""

    @property
    def was_killed(self) -> bool:
        """Whether somebody else sent it SIGKILL."""
        return str(self) == _KILLED


def environment() -> dict[str, str]:
    """What a decoder needs of this process's environment, which may hold secrets; one thread for each worker."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(("LC_", "PYTHON"))}
    return kept | {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if os.path.isabs(entry)),  # noqa: PTH117 - these are strings
        "PYTHONUTF8": str(sys.flags.utf8_mode),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def checked_object(value: Any) -> dict[str, Any]:
    """The value, if it is an object.

    Raises:
        WorkerLostError: It is not.
    """
    if not isinstance(value, dict):
        raise WorkerLostError("stopped: its answer was no object")
    return value
