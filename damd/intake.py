"""From sightings to commands: what waits, what is in work, and what is due again.

The folder is the queue: nothing here is written down, and all of it is found again by reconciling. So
memory is bounded by turning sightings away when there is no room; whoever sights marks the folder
instead, or awaits room.

A path waits until it has settled, is ready until a command is free, and is then in work. It is never
twice in any of them: sighted while it is in work, it is sighted again afterwards.

A root on a dead mount hangs: its looks, and the commands of its files. It costs the others neither room nor
commands: each root looks in a thread of its own, leaves some of the room that there is to the others, and has
one command of its own beside those that all share.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.abc import TaskGroup

from damd.events import readable
from damd.ingest.ingest_file import IngestFileCommand
from damd.ingest.outage import Outage
from damd.ingest.retries import Retries, Retry
from damd.results import DUPLICATE_HASH, IngestResult, IngestStatus
from damd.watch.catching_up import CatchUp
from damd.watch.held import Held, State
from damd.watch.waiting import Waiting
from damd.world import World

_log = structlog.get_logger(__name__)

COMMANDS_PER_WORKER = 4
"""While one file is decoded, another is hashed, one commits and one is looked up."""

_TIMES_WHAT_IS_FREE = 9
"""A root may hold so many times the room that is left: alone nine tenths, while there is always some for others."""

_GLANCE_S = 0.25
"""How often whoever catches up asks what will not come to rest."""

_OUTCOMES = {IngestStatus.SUCCESS: "imported", IngestStatus.SKIPPED: "skipped", IngestStatus.FAILED: "failed"}


@dataclass(slots=True)
class _Root:
    waiting: Waiting = field(default_factory=Waiting)
    ready: dict[bytes, None] = field(default_factory=dict)
    in_work: set[bytes] = field(default_factory=set)
    catch_ups: list[CatchUp] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.ready) + len(self.in_work)


class Intake:
    """Takes sightings, and dispatches an `IngestFileCommand` for each file that has settled.

    Args:
        world: Whose commands.
        concurrency: Commands at a time; more by one for each root that would otherwise have none.
        capacity: Paths held at a time, whatever their state.
    """

    def __init__(self, world: World, *, concurrency: int, capacity: int = 10_000) -> None:
        self._world = world
        self._concurrency = concurrency
        self._capacity = capacity
        self._held: dict[bytes, Held] = {}
        self._roots: defaultdict[str, _Root] = defaultdict(_Root)
        self._retries = Retries(capacity)
        self._outage = Outage()
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._stopping = False
        self.outcomes: Counter[str] = Counter(dict.fromkeys(_OUTCOMES.values(), 0))

    @property
    def waiting(self) -> int:
        """Paths that have not settled, or have, and wait for a free command."""
        return len(self._held) - self.in_work

    @property
    def in_work(self) -> int:
        """Paths whose command runs."""
        return sum(len(root.in_work) for root in self._roots.values())

    @property
    def oldest_s(self) -> float:
        """Since when, in seconds, the path has been waiting that has waited longest; 0.0 while none waits."""
        # In the order of their first sighting.
        oldest = next((held for held in self._held.values() if held.state is not State.IN_WORK), None)
        return time.monotonic() - oldest.sighted_at if oldest is not None else 0.0

    def waiting_in(self, root: str) -> int:
        """Those paths of one root that are `waiting`."""
        known = self._roots.get(root)
        return len(known) - len(known.in_work) if known is not None else 0

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
        origin = self._held.get(moved_from) if moved_from is not None else None
        if origin is not None and origin.state is not State.IN_WORK:
            moved_from = origin.moved_from or moved_from  # moved on before anybody came to look
        held = self._held.get(path)
        if held is None:
            if not self._has_room(root):
                return False
            held = self._held[path] = Held(root, settle_s)
        held.settle_s = settle_s
        held.moved_from = moved_from or held.moved_from
        if held.state is State.IN_WORK:
            held.sighted_again = True
            return True
        if held.state is State.READY:
            del self._roots[held.root].ready[path]
            held.enter(State.WAITING)
        self._roots[held.root].waiting.sight(path, settle_s=settle_s, closed=closed)
        self._wake.set()
        return True

    async def offer(self, path: bytes, *, root: str, settle_s: float) -> None:
        """The same, awaiting room."""
        while not self.sight(path, root=root, settle_s=settle_s):
            await self._room.wait()

    async def caught_up(self, root: str) -> frozenset[int]:
        """Wait until every path of a root that is held now has come to its end, with all that was known of it now.

        Not for those that do not come to rest: somebody is seen to write them, or they have not settled 5 s and
        two settle times after they were sighted. While the catalogue takes nothing, no path comes to its end.

        Returns:
            The inodes of all that is still settling, as far as it was looked at: a file that is missing in one root
            may have been moved to another.
        """
        known = self._roots[root]
        sighted_again = [path for path in known.in_work if self._held[path].sighted_again]
        catch_up = CatchUp([*known.waiting, *known.ready, *known.in_work], twice=sighted_again)
        known.catch_ups.append(catch_up)
        try:
            while paths := catch_up.paths:
                for path in filter(self._is_restless, paths):
                    catch_up.drop(path)
                await catch_up.wait(_GLANCE_S)
        finally:
            known.catch_ups.remove(catch_up)
        return frozenset[int]().union(*(each.waiting.inodes() for each in self._roots.values()))

    def explain(self, path: bytes) -> dict[str, Any] | None:
        """Where a path is, and why, for a person: ``state``, ``for`` what it waits, ``since_s``; None if unknown.

        More where it applies: ``moved_from``, ``sighted_again``, and ``retry_in_s`` for what is tried again.
        """
        now = time.monotonic()
        held, retry = self._held.get(path), self._retries.of(path)
        told: dict[str, Any]
        if held is not None:
            told = {"state": held.state.value, "for": self._awaited(path, held), "since_s": now - held.since}
            told |= {"sighted_again": True} if held.sighted_again else {}
            moved_from = held.moved_from
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
        self._wake.set()

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

    def _has_room(self, root: str) -> bool:
        return len(self._roots[root]) < _TIMES_WHAT_IS_FREE * (self._capacity - len(self._held))

    def _make_room(self) -> None:
        self._room.set()
        self._room = anyio.Event()

    def _next_step_s(self) -> float | None:
        if self._stopping:
            return 0
        times = [self._retries.next_due()]
        for root in self._roots.values():
            times.append(root.waiting.next_look_at())
            if self._outage.is_on and root.ready and not root.in_work:
                times.append(self._outage.resume_at)
        due = [at for at in times if at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _sight_what_is_due_again(self) -> None:
        for retry in self._retries.take_due(time.monotonic()):
            # Without room it is left to the next reconciliation, which knows it too.
            self.sight(retry.path, root=retry.root, settle_s=retry.settle_s, moved_from=retry.moved_from)

    def _start_looks(self, looking: TaskGroup) -> None:
        for root in self._roots.values():
            if due := root.waiting.take_due():
                looking.start_soon(self._look, root, due)

    async def _look(self, root: _Root, due: list[bytes]) -> None:
        """Look at what is due, and move what has settled."""
        for path, is_there in await root.waiting.look(due):
            if is_there:
                self._held[path].enter(State.READY)
                root.ready[path] = None
            else:
                self._end(path, root)
        self._make_room()
        self._wake.set()

    def _start_commands(self, working: TaskGroup) -> None:
        if time.monotonic() < self._outage.resume_at:
            return
        # While the catalogue takes nothing, one file at a time finds out whether it does again.
        concurrency = 1 if self._outage.is_on else self._concurrency
        in_work = self.in_work
        while not self._stopping and (ready := [root for root in self._roots.values() if root.ready]):
            root = min(ready, key=lambda root: len(root.in_work))
            if root.in_work and in_work >= concurrency:
                return
            path = next(iter(root.ready))
            del root.ready[path]
            root.in_work.add(path)
            in_work += 1
            self._held[path].enter(State.IN_WORK)
            working.start_soon(self._ingest, path, root)

    async def _ingest(self, path: bytes, root: _Root) -> None:
        held = self._held[path]
        moved_from, held.moved_from = held.moved_from, None
        results: Sequence[object] = ()
        try:
            origin = Path(os.fsdecode(moved_from)) if moved_from is not None else None
            command = IngestFileCommand(file_path=Path(os.fsdecode(path)), moved_from=origin)
            results = (await self._world.dispatch_command(command)).results
        except Exception:  # noqa: BLE001 - damd's own handler raises nothing; one that a plugin added beside it may
            _log.exception("ingest failed unexpectedly", path=readable(path))
        root.in_work.discard(path)
        own = [result for result in results if isinstance(result, IngestResult)]
        for result in own:
            self._note(path, result, held, moved_from)
        if any(result.catalogue_failed for result in own):
            self._return(path, held, root, moved_from)
        else:
            self._end(path, root)
        self._make_room()
        self._wake.set()

    def _return(self, path: bytes, held: Held, root: _Root, moved_from: bytes | None) -> None:
        """Its command came to nothing: it is ready, or has to settle if it was sighted meanwhile."""
        held.moved_from = held.moved_from or moved_from
        for catch_up in root.catch_ups:
            catch_up.note_return(path)
        if held.sighted_again:
            self._wait(path, held, root)
        else:
            held.enter(State.READY)
            root.ready[path] = None

    def _end(self, path: bytes, root: _Root) -> None:
        """It is done with, unless it was sighted meanwhile; then it keeps its place, whatever room there is."""
        held = self._held.pop(path)
        for catch_up in root.catch_ups:
            catch_up.note_end(path)
        if held.sighted_again:
            held.sighted_at = time.monotonic()
            self._held[path] = held
            self._wait(path, held, root)

    def _wait(self, path: bytes, held: Held, root: _Root) -> None:
        held.sighted_again = False
        held.enter(State.WAITING)
        root.waiting.sight(path, settle_s=held.settle_s, closed=False)

    def _note(self, path: bytes, result: IngestResult, held: Held, moved_from: bytes | None) -> None:
        self._outage.note(result, now=time.monotonic())
        if result.catalogue_failed:
            return
        if result.is_news:
            self.outcomes[_OUTCOMES[result.status]] += 1
        if result.status is IngestStatus.FAILED and result.is_news:
            fields = {"reason": result.reason, "mime_type": result.mime_type, "retry_at": result.retry_at}
            known = {name: value for name, value in fields.items() if value is not None}
            _log.warning("file.failed", path=readable(path), **known)
        elif result.reason == DUPLICATE_HASH:
            _log.info("file.skipped", path=readable(path), reason=result.reason, asset_id=result.asset_id)
        if result.retry_at is not None:
            now = time.monotonic()
            due = now + max(0.0, (result.retry_at - datetime.now(UTC)).total_seconds())
            self._retries.add(Retry(due, path, held.root, held.settle_s, moved_from, now))

    def _is_restless(self, path: bytes) -> bool:
        held = self._held[path]
        waited_s = time.monotonic() - held.since
        return self._roots[held.root].waiting.is_restless(path, settle_s=held.settle_s, waited_s=waited_s)

    def _awaited(self, path: bytes, held: Held) -> str | None:
        if held.state is State.WAITING:
            return self._roots[held.root].waiting.waiting_for(path)
        if held.state is State.IN_WORK:
            return "its command to end"
        return "the catalogue to take writes again" if self._outage.is_on else "a free command"
