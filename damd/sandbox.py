"""Worker processes: decoders meet hostile bytes in them, within limits, and crash without company.

A worker is held by one call at a time, so an answer cannot reach another question; a call that ends in
any other way than by its own answer costs the worker its life. The protocol is told in
`damd.readers.__main__`. Before a worker opens the file it says that it has taken the request: until then
its death is its own affair, from then on it is an attempt on the file. A crash or a timeout is tried once
more, alone and on a fresh worker, because a neighbour may have used up the memory or the processor.

Workers find modules where this process does: its absolute ``sys.path`` is handed over as PYTHONPATH, and
``-P`` keeps the current directory out. A request names its reader's module, so workers need no table.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from subprocess import DEVNULL, PIPE
from typing import Annotated, Any, Literal, Self, TypeAlias

import anyio
from anyio.abc import ByteSendStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import Field, PositiveInt

from damd.errors import FileError, LimitExceededError, ReaderCrashedError, ReaderUnavailableError
from damd.readers import READERS, Reader
from damd.readers.failures import IMPORT_FAILED, OUT_OF_MEMORY, revive
from damd.readers.plain import plain
from damd.settings import Count, Duration, Settings, Size, format_duration, format_size

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

_MAX_ANSWER_BYTES = 2**20
_TAKE_TIMEOUT_S = 30.0  # to start and to take a request: 0.1 s on an idle machine
_EXIT_TIMEOUT_S = 1.0  # from the end of a pipe to the end of its process
_REAP_TIMEOUT_S = 5.0  # after SIGKILL; a process that hangs in the kernel, on a dead mount, is left behind
_MAX_STARTS = 3
_KEPT = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ"})  # of the environment


class SandboxSettings(Settings):
    """The configuration's ``ingest:`` section."""

    workers: Literal["auto"] | PositiveInt = "auto"
    """Processes at most; ``auto``: as many as this process may use processors."""
    timeout: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=60)
    """For one file, counted from when a worker takes it."""
    memory: Annotated[Size, Field(ge=256 * 2**20)] = 2 * 2**30
    """Address space of each worker, in bytes; with less than 256 MiB none can load its decoders."""
    max_pixels: Annotated[Count, Field(ge=1)] = 500_000_000
    """Width times height; a reader's option, enforced by the readers that know pixels."""


class Sandbox:
    """A pool of workers, started as they are needed: ``async with Sandbox(settings) as sandbox``.

    Args:
        settings: The limits.
        readers: Further readers by their names, beside `damd.readers.READERS`.
        recycle_after: Calls after which a worker is replaced, so that what libraries leak stays small.
    """

    def __init__(
        self, settings: SandboxSettings, *, readers: Mapping[str, Reader] | None = None, recycle_after: int = 1000
    ) -> None:
        self.settings = settings
        self.worker_count = _count_processors() if settings.workers == "auto" else settings.workers
        self._readers = READERS | dict(readers or {})
        self._recycle_after = recycle_after
        self._ids = itertools.count(1)
        self._open = False
        self._workers: set[_Worker] = set()  # all that live
        self._idle: list[_Worker] = []
        self._slots = anyio.Semaphore(self.worker_count, max_value=self.worker_count, fast_acquire=True)
        self._turnstile = anyio.Lock(fast_acquire=True)  # passed on the way to a slot

    def add_reader(self, name: str, module: str, version: int = 1) -> None:
        """Let workers use a further reader, such as a plugin's, by its module's name."""
        self._readers[name] = Reader(module, version)

    @property
    def versions(self) -> dict[str, int]:
        """Every reader's version."""
        return {name: reader.version for name, reader in self._readers.items()}

    def version_of(self, reader: str) -> int:
        """The version of what this reader reads now."""
        return self._readers[reader].version

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all workers, busy ones too, and wait until the system has forgotten them."""
        self._open = False
        with anyio.CancelScope(shield=True):
            leaving = tuple(self._idle)
            for worker in leaving:
                await worker.requests.aclose()
            with anyio.move_on_after(_EXIT_TIMEOUT_S):
                for worker in leaving:
                    await worker.process.wait()
            while self._workers:
                await self._end(next(iter(self._workers)))

    async def call(self, reader: str, path: str, **options: JSON) -> dict[str, Any]:
        """Let a worker run ``read(path, **options)`` of a reader's module, and return what it returned.

        Waits for a free worker; the deadline starts when one has taken it. Cancellation kills the worker.

        Args:
            reader: Its name.
            path: As `os.fsdecode` gives it; lone surrogates survive.
            options: What JSON can say.

        Raises:
            FileError: What the reader raised. An OSError about the file comes as UnreadableFileError, one
                about another file as TransientFileError, and what damd has no name for as BrokenFileError.
            LimitExceededError: It took too long, twice, or too much memory.
            ReaderCrashedError: The worker died, twice.
            ReaderUnavailableError: No worker can be started, or the reader's module cannot be imported.
            KeyError: There is no such reader.
            RuntimeError: The sandbox is not open.
        """
        request = _Request.make(next(self._ids), self._readers[reader].module, path, options)
        try:
            return await self._attempt_twice(request)
        except FileError as error:
            error.reader = (reader, self._readers[reader].version)
            raise

    async def _attempt_twice(self, request: _Request) -> dict[str, Any]:
        try:
            async with self._hold(1):
                return await self._attempt(request, alone=False)
        except _AttemptLostError:
            pass  # outside of the handler the next error has no context to confuse its reader
        try:
            async with self._hold(self.worker_count):
                return await self._attempt(request, alone=True)
        except _AttemptLostError as lost:
            verdict = lost.verdict
        raise verdict

    @asynccontextmanager
    async def _hold(self, slots: int) -> AsyncIterator[None]:
        """Hold one slot, or all of them to be alone: who waits for the last keeps everybody else waiting."""
        held = 0
        try:
            async with self._turnstile:
                while held < slots:
                    await self._slots.acquire()
                    held += 1
            yield
        finally:
            for _ in range(held):
                self._slots.release()

    async def _attempt(self, request: _Request, *, alone: bool) -> dict[str, Any]:
        worker = await self._give(request, fresh=alone)
        report: Mapping[str, Any] = {}
        keep = False
        try:
            with anyio.move_on_after(self.settings.timeout.total_seconds()) as deadline:
                answer = await worker.receive(request.id)
            if deadline.cancelled_caught:
                raise _AttemptLostError(self._too_long())
            if "error" not in answer:
                result: dict[str, Any] = plain(_checked_dict(answer.get("result")))
                keep = True
                return result
            report = _checked_dict(answer["error"])
            # After a shortage or half an import, nobody knows what a library looks like inside.
            keep = report.get("kind") not in (OUT_OF_MEMORY, IMPORT_FAILED)
        except _WorkerLostError as lost:
            raise _AttemptLostError(ReaderCrashedError(str(lost))) from None
        finally:
            worker.calls += 1
            if keep and self._open and worker.calls < self._recycle_after:
                self._idle.append(worker)
            else:
                await self._end(worker)
        if report.get("kind") != OUT_OF_MEMORY:
            raise revive(report, request.path)
        if worker.calls > 1:  # what earlier files left behind may have used it up
            raise _AttemptLostError(self._too_large())
        raise self._too_large()

    async def _give(self, request: _Request, *, fresh: bool) -> _Worker:
        """Find a worker that takes the request; those that turn out to be dead cost nothing."""
        starts = 0
        why = "its process did not begin in time"
        while starts < _MAX_STARTS:
            if fresh or not self._idle:
                starts += 1
                worker = await self._start(fresh=fresh)
            else:
                worker = self._idle.pop()
            taken = False
            try:
                with anyio.move_on_after(_TAKE_TIMEOUT_S):
                    await worker.send(request)
                    taken = (await worker.receive(request.id)).get("taken") is True
            except _WorkerLostError as lost:
                why = f"its process was {lost} before it began"
            finally:
                if not taken:
                    await self._end(worker)
            if taken:
                return worker
        raise ReaderUnavailableError(why)

    async def _start(self, *, fresh: bool) -> _Worker:
        """Start a worker; for a fresh one, an idle one makes room."""
        self._require_open()
        if fresh and len(self._idle) == self.worker_count:
            await self._end(self._idle[0])
        limits = map(str, (os.getpid(), self.settings.memory, _MAX_ANSWER_BYTES))
        try:
            with anyio.CancelScope(shield=True):  # a process that nobody knows of could not be ended
                process = await anyio.open_process(
                    [sys.executable, "-P", "-m", "damd.readers", *limits],
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
        except OSError as error:
            raise ReaderUnavailableError(f"no process for it: {error.strerror}") from error
        worker = _Worker.of(process)
        self._workers.add(worker)
        if not self._open:  # left while the process started
            await self._end(worker)
        self._require_open()
        return worker

    def _require_open(self) -> None:
        if not self._open:
            raise RuntimeError("A sandbox works only inside of its `async with`")

    async def _end(self, worker: _Worker) -> None:
        """Kill a worker and whatever it has started, and reap it."""
        if worker in self._idle:
            self._idle.remove(worker)
        self._workers.discard(worker)
        with anyio.move_on_after(_REAP_TIMEOUT_S, shield=True):
            if worker.process.returncode is None:
                worker.kill()
            await worker.process.wait()
            await worker.process.aclose()

    def _too_long(self) -> LimitExceededError:
        limit = format_duration(self.settings.timeout)
        return LimitExceededError(f"Reading it took longer than {limit} (ingest.timeout)")

    def _too_large(self) -> LimitExceededError:
        limit = format_size(self.settings.memory)
        return LimitExceededError(f"Reading it needs more than {limit} of memory (ingest.memory)")


@dataclass(frozen=True)
class _Request:
    id: int
    path: str
    frame: bytes

    @classmethod
    def make(cls, number: int, module: str, path: str, options: Mapping[str, JSON]) -> Self:
        body = json.dumps({"id": number, "module": module, "path": path, "options": options}).encode("ascii")
        return cls(number, path, len(body).to_bytes(4, "big") + body)


@dataclass(eq=False)
class _Worker:
    """One process, seen from here; what it sends is believed to be well-formed only after a look."""

    process: Process
    requests: ByteSendStream
    answers: BufferedByteReceiveStream
    calls: int = field(default=0, init=False)

    @classmethod
    def of(cls, process: Process) -> Self:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a worker needs both of its pipes")
        return cls(process, process.stdin, BufferedByteReceiveStream(process.stdout))

    async def send(self, request: _Request) -> None:
        try:
            await self.requests.send(request.frame)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            raise _WorkerLostError(await self._learn_end()) from None

    async def receive(self, number: int) -> dict[str, Any]:
        """The next message, which must belong to this request."""
        try:
            length = int.from_bytes(await self.answers.receive_exactly(4), "big")
            if length > _MAX_ANSWER_BYTES:
                raise _WorkerLostError(f"stopped: its answer of {length} bytes is too long")
            message = _checked_dict(json.loads(await self.answers.receive_exactly(length)))
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.ClosedResourceError, OSError):
            raise _WorkerLostError(await self._learn_end()) from None
        except (ValueError, RecursionError):
            raise _WorkerLostError("stopped: its answer was no JSON") from None
        if message.get("id") != number:
            raise _WorkerLostError("stopped: its answer was to another question")
        return message

    async def _learn_end(self) -> str:
        if self.process.returncode is None:  # else its number may be another's by now
            with anyio.move_on_after(_EXIT_TIMEOUT_S):
                await self.process.wait()
                self.kill()  # its offspring
        if (status := self.process.returncode) is None:
            return "stopped: it had closed its pipe"
        if status >= 0:
            return f"gone, with exit status {status}"
        names = {number.value: number.name for number in signal.Signals}
        return f"killed by {names.get(-status, -status)}"

    def kill(self) -> None:
        # Not Popen.kill(): it polls, and so could reap the process before asyncio's own watcher does.
        # A worker's number is that of its group, which lives on as long as anything that it started.
        with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted on a zombie
            os.killpg(self.process.pid, signal.SIGKILL)


class _WorkerLostError(Exception):
    """A worker died or broke the protocol; ``str()`` of it says how, to complete a sentence."""


class _AttemptLostError(Exception):
    """An attempt that deserves another; ``verdict`` is what a second loss means."""

    def __init__(self, verdict: FileError) -> None:
        super().__init__()
        self.verdict = verdict


def _count_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none


def _environment() -> dict[str, str]:
    """What a decoder needs of this process's environment, which may hold secrets; one thread for each worker."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(("LC_", "PYTHON"))}
    return kept | {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if os.path.isabs(entry)),  # noqa: PTH117 - these are strings
        "PYTHONUTF8": str(sys.flags.utf8_mode),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _checked_dict(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WorkerLostError("stopped: its answer was no object")
    return value
