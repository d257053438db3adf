"""From sightings to commands: what waits, what is in work, and what is due again.

The folder is the queue: nothing here is written down, and all of it is found again by reconciling. So
memory is bounded by turning sightings away when there is no room; whoever sights marks the folder
instead, or awaits room.

A path waits until it has settled, is ready until a command is free, and is then in work. It is never
twice in any of them: sighted while it is in work, it is sighted again afterwards.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup

from damd.events import readable
from damd.fingerprint import Signature
from damd.ingest.ingest_file import IngestFileCommand
from damd.results import DUPLICATE_HASH, IngestResult, IngestStatus
from damd.watch.settle import Settling
from damd.world import World

_log = structlog.get_logger(__name__)

COMMANDS_PER_WORKER = 4
"""While one file is decoded, another is hashed, one commits and one is looked up."""

_LOOKS = 500
"""Signatures taken in one hop to a thread."""


_FIRST_OUTAGE_WAIT_S = 1.0
_LONGEST_OUTAGE_WAIT_S = 60.0

_OUTCOMES = {IngestStatus.SUCCESS: "imported", IngestStatus.SKIPPED: "skipped", IngestStatus.FAILED: "failed"}


@dataclass(slots=True)
class _Work:
    settle_s: float
    sighted_again: bool = False


class Intake:
    """Takes sightings, and dispatches an `IngestFileCommand` for each file that has settled.

    Args:
        world: Whose commands.
        concurrency: Commands at a time.
        capacity: Paths held at a time, whatever their state.
    """

    def __init__(self, world: World, *, concurrency: int, capacity: int = 10_000) -> None:
        self._world = world
        self._concurrency = concurrency
        self._capacity = capacity
        self._settling: Settling[bytes] = Settling()
        self._settle_s: dict[bytes, float] = {}
        self._ready: dict[bytes, float] = {}
        self._in_work: dict[bytes, _Work] = {}
        self._again: list[tuple[float, bytes, float]] = []
        self._due_again: set[bytes] = set()
        self._outage_wait_s = 0.0
        self._resume_at = 0.0
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._stopping = False
        self.outcomes: Counter[str] = Counter(dict.fromkeys(_OUTCOMES.values(), 0))

    @property
    def waiting(self) -> int:
        """Paths that have not settled, or have, and wait for a free command."""
        return len(self._settling) + len(self._ready)

    @property
    def in_work(self) -> int:
        """Paths whose command runs."""
        return len(self._in_work)

    def sight(self, path: bytes, *, settle_s: float, closed: bool) -> bool:
        """A path may have changed; False when there is no room for it."""
        if path in self._in_work:
            self._in_work[path].sighted_again = True
            return True
        if self._ready.pop(path, None) is None and path not in self._settling and not self._has_room():
            return False
        self._settle_s[path] = settle_s
        self._settling.sight(path, settle_s=settle_s, closed=closed, now=time.monotonic())
        self._wake.set()
        return True

    async def offer(self, path: bytes, *, settle_s: float) -> None:
        """The same, awaiting room."""
        while not self.sight(path, settle_s=settle_s, closed=False):
            await self._room.wait()

    def stop(self) -> None:
        """Start no further command; `run` returns when those in work have ended."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`."""
        async with anyio.create_task_group() as tasks:
            while not self._stopping:
                self._wake = anyio.Event()
                self._sight_what_is_due_again()
                await self._look()
                self._start(tasks)
                with anyio.move_on_after(self._next_look_s()):
                    await self._wake.wait()

    def _has_room(self) -> bool:
        return len(self._settling) + len(self._ready) + len(self._in_work) < self._capacity

    def _next_look_s(self) -> float | None:
        if self._stopping:
            return 0
        times = [due for due, _, _ in self._again[:1]]
        if (due := self._settling.next_due()) is not None:
            times.append(due)
        if self._outage_wait_s and self._ready and not self._in_work:
            times.append(self._resume_at)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _sight_what_is_due_again(self) -> None:
        while self._again and self._again[0][0] <= time.monotonic():
            _, path, settle_s = heapq.heappop(self._again)
            self._due_again.discard(path)
            # Without room it is left to the next reconciliation, which knows it too.
            self.sight(path, settle_s=settle_s, closed=False)

    async def _look(self) -> None:
        """Take the signatures that are due, and move what has settled."""
        due = self._settling.due(time.monotonic(), _LOOKS)
        if not due:
            return
        wall_ns = time.time_ns()
        looks = await anyio.to_thread.run_sync(_take_signatures, due)
        now = time.monotonic()
        for path, signature in zip(due, looks, strict=True):
            # One that is gone settles like any other: it may have been sighted anew since it was looked for.
            newest_ns = max(signature.mtime_ns, signature.ctime_ns) if signature is not None else 0
            if self._settling.observe(path, signature, newest_ns, now=now, wall_ns=wall_ns):
                settle_s = self._settle_s.pop(path)
                if signature is not None:
                    self._ready[path] = settle_s
        self._make_room()

    def _make_room(self) -> None:
        if self._has_room():
            self._room.set()
            self._room = anyio.Event()

    def _start(self, tasks: TaskGroup) -> None:
        if self._outage_wait_s and time.monotonic() < self._resume_at:
            return
        # While the catalogue takes nothing, one file at a time finds out whether it does again.
        concurrency = 1 if self._outage_wait_s else self._concurrency
        while self._ready and len(self._in_work) < concurrency and not self._stopping:
            path = next(iter(self._ready))
            self._in_work[path] = _Work(self._ready.pop(path))
            tasks.start_soon(self._ingest, path)

    async def _ingest(self, path: bytes) -> None:
        results: Sequence[object] = ()
        try:
            command = IngestFileCommand(file_path=Path(os.fsdecode(path)))
            results = (await self._world.dispatch_command(command)).results
        except Exception:  # noqa: BLE001 - damd's own handler raises nothing; one that a plugin added beside it may
            _log.exception("ingest failed unexpectedly", path=readable(path))
        work = self._in_work.pop(path)
        for result in results:
            if isinstance(result, IngestResult):
                self._note(path, result, work.settle_s)
        if work.sighted_again:
            self.sight(path, settle_s=work.settle_s, closed=False)
        self._make_room()
        self._wake.set()

    def _note(self, path: bytes, result: IngestResult, settle_s: float) -> None:
        self._note_outage(result)
        if result.catalogue_failed:
            self._ready[path] = settle_s
            return
        if result.is_news:
            self.outcomes[_OUTCOMES[result.status]] += 1
        if result.status is IngestStatus.FAILED and result.is_news:
            fields = {"reason": result.reason, "mime_type": result.mime_type, "retry_at": result.retry_at}
            known = {name: value for name, value in fields.items() if value is not None}
            _log.warning("file.failed", path=readable(path), **known)
        elif result.reason == DUPLICATE_HASH:
            _log.info("file.skipped", path=readable(path), reason=result.reason, asset_id=result.asset_id)
        if result.retry_at is not None and path not in self._due_again and len(self._again) < self._capacity:
            wait_s = (result.retry_at - datetime.now(UTC)).total_seconds()
            heapq.heappush(self._again, (time.monotonic() + max(0.0, wait_s), path, settle_s))
            self._due_again.add(path)

    def _note_outage(self, result: IngestResult) -> None:
        """A catalogue that takes nothing, on a full disk, fails every file: wait for it instead of reading them all."""
        if result.catalogue_failed:
            if not self._outage_wait_s:
                _log.error("the catalogue takes nothing: waiting for it", reason=result.reason)
            self._outage_wait_s = min(max(_FIRST_OUTAGE_WAIT_S, 2 * self._outage_wait_s), _LONGEST_OUTAGE_WAIT_S)
            self._resume_at = time.monotonic() + self._outage_wait_s
        elif self._outage_wait_s and result.is_news and result.status is not IngestStatus.SKIPPED:
            _log.info("the catalogue takes writes again")
            self._outage_wait_s = 0.0


def _take_signatures(paths: Sequence[bytes]) -> list[Signature | None]:
    """Each path's signature; None for one that is gone. What cannot be looked at for another reason is a failure."""
    signatures: list[Signature | None] = []
    for path in paths:
        try:
            signatures.append(Signature.of(os.lstat(path)))
        except (FileNotFoundError, NotADirectoryError):
            signatures.append(None)
        except OSError:
            signatures.append(Signature(0, 0, 0, 0))
    return signatures
