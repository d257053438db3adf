"""From sightings to commands: what waits, what is in work, and what is due again.

The folder is the queue: nothing here is written down, and all of it is found again by reconciling. So
memory is bounded by turning sightings away when there is no room; whoever sights marks the folder
instead, or awaits room.

A path waits until it has settled, is ready until a command is free, and is then in work. It is never
twice in any of them: sighted while it is in work, it is sighted again afterwards.

A root on a dead mount hangs: its looks, and the commands of its files. The others are never without room or a
command: each root looks in a thread of its own, always has room for one path, and leaves others some of the room
that there is beyond; and each has one command of its own, beside those that all share.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from damd.events import readable
from damd.ingest.ingest_file import IngestFileCommand
from damd.intake.lane import Lane
from damd.intake.lanes import Lanes
from damd.intake.outage import Outage
from damd.intake.queued import Queued, State
from damd.intake.retries import Retries, Retry
from damd.intake.tally import Tally
from damd.intake.told import tell_of_end
from damd.results import IngestResult
from damd.stages import Durations, journey
from damd.world import World

_log = structlog.get_logger(__name__)

COMMANDS_PER_WORKER = 4
"""While one file is decoded, another is hashed, one commits and one is looked up."""

_TIMES_WHAT_IS_FREE = 9
"""A root may have so many times the room queued that is left: alone nine tenths, while there is some for others."""

_PATIENCE_S = 30.0
"""Enough for what has just been dropped in to settle; whoever catches up holds up all else of its root meanwhile."""
_FOR_ENDS = 0.9
"""Of the patience of whoever catches up; the rest is for a last look at what has not come to its end."""


class Intake:
    """Takes sightings, and dispatches an `IngestFileCommand` for each file that has settled.

    Args:
        world: Whose commands.
        concurrency: Commands at a time; more by one for each root that would otherwise have none.
        capacity: Paths queued at a time, whatever their state; more by one for each root that would have none.
    """

    def __init__(self, world: World, *, concurrency: int, capacity: int = 10_000) -> None:
        self._world = world
        self._concurrency = concurrency
        self._capacity = capacity
        self.lanes = Lanes(self._wake_up)
        """What is queued."""
        self._retries = Retries(capacity)
        self._outage = Outage()
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._stopping = False
        self.paused_since: datetime | None = None
        """Since when no command is started, since somebody asked for it; None while that is not so."""
        self._paused = anyio.Event()
        self.tally = Tally()
        """What became of the files."""
        self.durations = Durations()
        """How long each stage of their way took."""
        self._progressed_at = time.monotonic()

    @property
    def outcomes(self) -> Counter[str]:
        """How many files ended in each way, since the start."""
        return self.tally.outcomes

    @property
    def retrying(self) -> int:
        """Paths that failed for a passing reason and wait for another attempt; they are not `waiting`."""
        return len(self._retries)

    def sight(
        self, path: bytes, *, root: str, settle_s: float, closed: bool = False, moved_from: bytes | None = None
    ) -> bool:
        """A path may have changed; False when there is no room for it.

        Args:
            path: Absolute.
            root: The name of the root it lies in.
            settle_s: The root's ``settle``, in seconds.
            closed: A writer has just closed it, or it was renamed into place.
            moved_from: Where the system says that it was renamed from.
        """
        _, origin = self.lanes.find(moved_from) if moved_from is not None else (None, None)
        if origin is not None and origin.state is not State.IN_WORK:
            moved_from = origin.moved_from or moved_from  # moved on before anybody came to look
        lane, _ = self.lanes.find(path)
        if lane is None:
            lane = self.lanes.of(root)
            if not self._has_room(lane):
                return False
        lane.sight(path, settle_s=settle_s, closed=closed, moved_from=moved_from)
        return True

    async def offer(self, path: bytes, *, root: str, settle_s: float, moved_from: bytes | None = None) -> None:
        """The same, awaiting room."""
        while not self.sight(path, root=root, settle_s=settle_s, moved_from=moved_from):
            await self._room.wait()

    def is_stuck(self, roots: Collection[str], *, for_s: float) -> bool:
        """Whether files of these roots are being worked on, and nothing has come of anything for so long.

        Reading a file's bytes for its hash takes as long as its disk does, and so is left out; all else has its limits.
        """
        ways = [
            queued.way for _, root, queued in self.lanes.files_in_work() if root in roots and queued.way is not None
        ]
        at_work = [way.since for way in ways if way.stage not in {None, "hash"}]
        return bool(at_work) and time.monotonic() - max(self._progressed_at, *at_work) > for_s

    async def caught_up(self, root: str, *, patience_s: float = _PATIENCE_S) -> frozenset[int]:
        """Wait until every path of a root that is queued now has come to its end, with all that was known of it now.

        Not for those that do not come to rest: somebody is seen to write them, or they have not settled 5 s and
        two settle times after they were sighted. Nor, whatever the reason, longer than `patience_s`: many files
        take hours, and while the catalogue takes nothing no path comes to its end.

        What is then left in this root, and was not looked at since it was sighted, is looked at first. The time
        for that is in the patience: a tenth of it, or what the wait has left over. Only where looks hang, or take
        longer than that, is the inode of such a path missing from the answer, or an older one there in its stead.

        Returns:
            The inodes of all that is waiting, ready or in work in any root: a file that is missing in one root may
            have been moved to another. Those of the other roots as far as they were looked at.
        """
        lane = self.lanes.of(root)
        with anyio.move_on_after(patience_s):
            with anyio.move_on_after(_FOR_ENDS * patience_s):
                await lane.until_ended()
            await lane.until_seen()
        return frozenset[int]().union(*(each.inodes() for each in self.lanes))

    async def until_ended(self, root: str) -> None:
        """Wait until every path of a root that is queued now has come to its end, however long that takes."""
        await self.lanes.of(root).until_ended(drop_restless=False)

    def pause(self) -> datetime:
        """Start no command until `resume`; what is in work goes on, and what is sighted waits. Returns since when."""
        self.paused_since = self.paused_since or datetime.now(UTC)
        self._paused.set()
        return self.paused_since

    async def until_paused(self) -> None:
        """Wait until it is paused; at once, if it is."""
        await self._paused.wait()

    def resume(self) -> None:
        """Start commands again."""
        self.paused_since = None
        if self._paused.is_set():
            self._paused = anyio.Event()
        self._progressed_at = time.monotonic()
        self._wake_up()

    def forget(self, root: str) -> None:
        """Drop what waits in a root that is left, or about to be scanned anew; what is in work comes to its end."""
        self.lanes.of(root).forget()
        self._retries.forget(root)
        self._make_room()

    def explain(self, path: bytes) -> dict[str, Any] | None:
        """Where a path is, and why, for a person: ``state``, ``for`` what it waits, ``since_s``; None if unknown.

        More where it applies: ``moved_from``, ``sighted_again``, and ``retry_in_s`` for what is tried again.
        """
        now = time.monotonic()
        (lane, queued), retry = self.lanes.find(path), self._retries.of(path)
        told: dict[str, Any]
        if lane is not None and queued is not None:
            told = {"state": queued.state.value, "for": self._awaited(path, queued, lane)}
            told["since_s"] = now - queued.since
            told |= {"sighted_again": True} if queued.sighted_again else {}
            moved_from = queued.moved_from
        elif retry is not None:
            told = {"state": "tried again", "for": "its next attempt", "since_s": now - retry.since}
            told["retry_in_s"] = max(0.0, retry.due - now)
            moved_from = retry.moved_from
        else:
            return None
        return told | ({"moved_from": readable(moved_from)} if moved_from is not None else {})

    def stop(self) -> None:
        """Start no further command; `run` returns when those in work have ended."""
        self._stopping = True
        self._wake_up()

    async def run(self) -> None:
        """Work until `stop`."""
        async with anyio.create_task_group() as working, anyio.create_task_group() as looking:
            while not self._stopping:
                self._wake = anyio.Event()
                self._sight_what_is_due_again()
                self._start_looks(looking)
                self._start_commands(working)
                with anyio.move_on_after(self._next_step_s()):
                    await self._wake.wait()
            looking.cancel_scope.cancel()

    def _wake_up(self) -> None:
        self._wake.set()

    def _has_room(self, lane: Lane) -> bool:
        return not lane or len(lane) < _TIMES_WHAT_IS_FREE * (self._capacity - len(self.lanes))

    def _make_room(self) -> None:
        self._room.set()
        self._room = anyio.Event()

    def _next_step_s(self) -> float | None:
        if self._stopping:
            return 0
        times = [self._retries.next_due()]
        for lane in self.lanes:
            times.append(lane.waiting.next_look_at())
            if self.paused_since is None and self._outage.is_on and lane.has_ready and not lane.in_work:
                times.append(self._outage.resume_at)
        due = [at for at in times if at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _sight_what_is_due_again(self) -> None:
        for retry in self._retries.take_due(time.monotonic()):
            # Without room it is left to the next reconciliation, which knows it too.
            self.sight(retry.path, root=retry.root, settle_s=retry.settle_s, moved_from=retry.moved_from)

    def _start_looks(self, looking: TaskGroup) -> None:
        for lane in self.lanes:
            if due := lane.waiting.take_due():
                looking.start_soon(self._look, lane, due)

    async def _look(self, lane: Lane, due: list[bytes]) -> None:
        await lane.look(due)
        self._make_room()
        self._wake_up()

    def _start_commands(self, working: TaskGroup) -> None:
        if self.paused_since is not None or time.monotonic() < self._outage.resume_at:
            return
        # While the catalogue takes nothing, one file at a time finds out whether it does again.
        concurrency = 1 if self._outage.is_on else self._concurrency
        in_work = self.lanes.in_work
        while not self._stopping and (ready := [lane for lane in self.lanes if lane.has_ready]):
            lane = min(ready, key=lambda lane: lane.in_work)
            if lane.in_work and in_work >= concurrency:
                return
            path, queued = lane.take_ready()
            in_work += 1
            working.start_soon(self._ingest, path, queued, lane)

    async def _ingest(self, path: bytes, queued: Queued, lane: Lane) -> None:
        moved_from, queued.moved_from = queued.moved_from, None
        with journey(self.durations, root=lane.root) as way:
            queued.way = way
            way.note("settle", queued.settled_s)
            way.note("queue", queued.queued_s)
            await self._ingest_on_its_way(path, queued, lane, moved_from)
        queued.way = None
        self._progressed_at = time.monotonic()
        self._make_room()
        self._wake_up()

    async def _ingest_on_its_way(self, path: bytes, queued: Queued, lane: Lane, moved_from: bytes | None) -> None:
        results: Sequence[object] = ()
        try:
            origin = Path(os.fsdecode(moved_from)) if moved_from is not None else None
            command = IngestFileCommand(file_path=Path(os.fsdecode(path)), moved_from=origin)
            results = (await self._world.dispatch_command(command)).results
        except Exception:  # noqa: BLE001 - damd's own handler raises nothing; one that a plugin added beside it may
            _log.exception("ingest failed unexpectedly", path=readable(path))
        own = [result for result in results if isinstance(result, IngestResult)]
        for result in own:
            self._note(path, result, queued, lane, moved_from)
        if any(result.catalogue_failed for result in own):
            lane.return_work(path, moved_from=moved_from)
        else:
            lane.end_work(path)

    def _note(self, path: bytes, result: IngestResult, queued: Queued, lane: Lane, moved_from: bytes | None) -> None:
        self._outage.note(result, now=time.monotonic())
        if result.catalogue_failed:
            return
        if result.is_news:
            self.tally.note(lane.root, result, now_s=time.monotonic(), at=datetime.now(UTC))
        tell_of_end(path, result)
        if result.retry_at is not None and not queued.is_forgotten:
            now = time.monotonic()
            due = now + max(0.0, (result.retry_at - datetime.now(UTC)).total_seconds())
            self._retries.add(Retry(due, path, lane.root, queued.settle_s, moved_from, now))

    def _awaited(self, path: bytes, queued: Queued, lane: Lane) -> str | None:
        if queued.state is State.WAITING:
            return lane.waiting.waiting_for(path)
        if queued.state is State.IN_WORK:
            return "its command to end"
        if self.paused_since is not None:
            return "damd resume, since damd is paused"
        return "the catalogue to take writes again" if self._outage.is_on else "a free command"
