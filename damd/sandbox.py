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
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from subprocess import DEVNULL, PIPE
from typing import Annotated, Any, Literal, Self

import anyio
from pydantic import Field, PositiveInt

from damd.errors import (
    FileError,
    LimitExceededError,
    ReaderCrashedError,
    ReaderKilledError,
    ReaderUnavailableError,
)
from damd.readers import READERS, Reader
from damd.readers.failures import IMPORT_FAILED, OUT_OF_MEMORY, revive
from damd.readers.plain import plain
from damd.settings import Count, Duration, Settings, Size, format_duration, format_size
from damd.workers import (
    EXIT_TIMEOUT_S,
    JSON,
    MAX_ANSWER_BYTES,
    Request,
    Worker,
    WorkerLostError,
    checked_object,
    environment,
)

_TAKE_TIMEOUT_S = 30.0  # to start and to take a request: 0.1 s on an idle machine
_REAP_TIMEOUT_S = 5.0  # after SIGKILL; a process that hangs in the kernel, on a dead mount, is left behind
_MAX_STARTS = 3


class SandboxSettings(Settings):
    """The configuration's ``ingest:`` section."""

    workers: Literal["auto"] | PositiveInt = "auto"
    """How many at most; auto: as many as there are processors that damd may use."""
    timeout: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=60)
    """For one file, counted from when a worker takes it."""
    memory: Annotated[Size, Field(ge=256 * 2**20)] = 2 * 2**30
    """For each worker; at least 256MiB, without which none can load its decoders."""
    max_pixels: Annotated[Count, Field(ge=1)] = 500_000_000
    """Width times height of an image."""


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
        self._workers: set[Worker] = set()  # all that live
        self._idle: list[Worker] = []
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
            with anyio.move_on_after(EXIT_TIMEOUT_S):
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
            ReaderKilledError: It was killed by somebody else, twice.
            ReaderUnavailableError: No worker can be started, or the reader's module cannot be imported.
            KeyError: There is no such reader.
            RuntimeError: The sandbox is not open.
        """
        request = Request.make(next(self._ids), self._readers[reader].module, path, options)
        try:
            return await self._attempt_twice(request)
        except FileError as error:
            error.reader = (reader, self._readers[reader].version)
            raise

    async def _attempt_twice(self, request: Request) -> dict[str, Any]:
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

    async def _attempt(self, request: Request, *, alone: bool) -> dict[str, Any]:
        worker = await self._give(request, fresh=alone)
        report: Mapping[str, Any] = {}
        keep = False
        try:
            with anyio.move_on_after(self.settings.timeout.total_seconds()) as deadline:
                answer = await worker.receive(request.id)
            if deadline.cancelled_caught:
                raise _AttemptLostError(self._too_long())
            if "error" not in answer:
                result: dict[str, Any] = plain(checked_object(answer.get("result")))
                keep = True
                return result
            report = checked_object(answer["error"])
            # After a shortage or half an import, nobody knows what a library looks like inside.
            keep = report.get("kind") not in (OUT_OF_MEMORY, IMPORT_FAILED)
        except WorkerLostError as lost:
            # What is killed here is never waited for: whoever did it had other reasons than this file, perhaps.
            verdict = ReaderKilledError() if lost.was_killed else ReaderCrashedError(str(lost))
            raise _AttemptLostError(verdict) from None
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

    async def _give(self, request: Request, *, fresh: bool) -> Worker:
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
            except WorkerLostError as lost:
                why = f"its process was {lost} before it began"
            finally:
                if not taken:
                    await self._end(worker)
            if taken:
                return worker
        raise ReaderUnavailableError(why)

    async def _start(self, *, fresh: bool) -> Worker:
        """Start a worker; for a fresh one, an idle one makes room."""
        self._require_open()
        if fresh and len(self._idle) == self.worker_count:
            await self._end(self._idle[0])
        limits = map(str, (os.getpid(), self.settings.memory, MAX_ANSWER_BYTES))
        try:
            with anyio.CancelScope(shield=True):  # a process that nobody knows of could not be ended
                process = await anyio.open_process(
                    [sys.executable, "-P", "-m", "damd.readers", *limits],
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=DEVNULL,
                    env=environment(),
                    start_new_session=True,
                )
        except OSError as error:
            raise ReaderUnavailableError(f"no process for it: {error.strerror}") from error
        worker = Worker.of(process)
        self._workers.add(worker)
        if not self._open:  # left while the process started
            await self._end(worker)
        self._require_open()
        return worker

    def _require_open(self) -> None:
        if not self._open:
            raise RuntimeError("A sandbox works only inside of its `async with`")

    async def _end(self, worker: Worker) -> None:
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


class _AttemptLostError(Exception):
    """An attempt that deserves another; ``verdict`` is what a second loss means."""

    def __init__(self, verdict: FileError) -> None:
        super().__init__()
        self.verdict = verdict


def _count_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none
