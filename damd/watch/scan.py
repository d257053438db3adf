"""One scan of a root: sight every difference, then conclude what is missing.

Only a scan concludes that a file is missing, and only in a second pass: the paths that wait are dealt with
first, since a file that is not where it was may have moved to one of them. Then each candidate is looked for
once more, the root is looked for once more, and a row is marked only if it still is what the scan saw: its
number, path, inode and ctime stand for the scan's own mark on it, and cost no write for what turns out to be
there.

More than a share of a root that goes missing at once is more likely a disk's fault than a person's wish: then
the root is held, and nothing is marked until somebody says so. What lies on a volume that is not there is out
of reach; that holds the root too, but what lies elsewhere in it is judged as ever.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import structlog

from damd.catalogue import absence, volumes
from damd.catalogue.absence import Candidate
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import now
from damd.errors import CatalogueUnavailableError
from damd.events import Event, readable
from damd.mounts import Mounts
from damd.settings import format_share
from damd.watch.absences import Absences
from damd.watch.base import RootSettings, Sink
from damd.watch.presence import Presence, Volumes, recognise
from damd.watch.reconcile import differences, those_gone
from damd.watch.tree import Tree, Walk

_log = structlog.get_logger(__name__)

LEAST_ALLOWED = 100
"""So many files may always go missing at once."""
_MOST_KEPT = 50_000
"""Paths that one scan keeps which it did not find; where more are accepted, the next scan goes on."""
_REPETITIONS = 3
"""Scans that follow one another where more was moved than can be told from what went missing."""
_DEFERRED_S = 10.0
"""For how long what went missing is looked for again, while more marks arrive: it may have moved to one of them."""
_SPARED_S = 30.0
"""Before a file is looked for again that may have moved to one that waits; waiting for those takes its time."""
_DEFERRED_FOR_S = 1.0
_WHOLE: Mapping[bytes, float] = {b"": 0.0}
_MOST_UNREADABLE = 1000
"""Folders of which it is remembered that the log has told of them."""
_LOOKED_UP_TOGETHER = 500
_MARKED_TOGETHER = 200


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a root works with.

    Attributes:
        catalogue: What it is compared with.
        roots: To tell paths.
        mounts: What is mounted where.
        announce: Takes the events of what was found missing.
        canary: A file outside every root that tells whether events arrive.
        are_others_busy: Whether files may have moved to another root that has not been compared since.
    """

    catalogue: Catalogue
    roots: Roots
    mounts: Mounts
    announce: Callable[[Event], Awaitable[None]]
    canary: Path | None = None
    are_others_busy: Callable[[], bool] = lambda: False


class Scanner:
    """Scans a root, and remembers from one scan to the next what bears on what is missing.

    Args:
        settings: The root's.
        tree: Its files.
        around: What it works with.
        threads: The limiter of the threads that look at its files.

    Attributes:
        held: Why nothing in it is taken for deleted, or not all; None if it is not held.
        polled: Folders whose changes no watch tells: linked ones, and network mounts within the root.
    """

    def __init__(
        self, settings: RootSettings, tree: Tree, around: Surroundings, threads: anyio.CapacityLimiter
    ) -> None:
        self.held: str | None = None
        self.polled: frozenset[bytes] = frozenset()
        self._settings = settings
        self._tree = tree
        self._around = around
        self._threads = threads
        self._volumes: Volumes | None = None
        self._known = 0
        self._missing_since_whole = 0
        self._repetitions = 0
        self._gone_since: dict[bytes, float] = {}
        self._unreadable: dict[bytes, str] = {}
        self._withheld = False
        self._noted: str | None = None

    async def scan(
        self,
        paths: Mapping[bytes, bytes | None],
        *,
        whole: bool,
        presence: Presence,
        demand: Callable[[], Awaitable[None]],
        sink: Sink,
        is_disturbed: Callable[[], bool] = lambda: False,
    ) -> Mapping[bytes, float]:
        """Sight every difference at and below these paths, and conclude what is missing there.

        Args:
            paths: From the root's folder, each with the absolute path from which the system says that it was
                renamed, if it does; just the empty one for the whole root.
            whole: Whether it is the whole root.
            presence: The root as it was when its watches were armed.
            demand: Raises where the root is not the one that it was.
            sink: Takes what may have changed.
            is_disturbed: Whether more is marked already.

        Returns:
            The paths that need to be scanned again, since this scan could not conclude, and in how many seconds.

        Raises:
            CatalogueUnavailableError: The catalogue cannot be used now; nothing is lost if it is called again.
            WatchLostError: Of `demand`.
            WatchError: Of `demand`.
        """
        version = self._around.mounts.version
        await demand()
        accepted = await self._accepted(presence) if whole else None
        if self._volumes is None or self._volumes.keys != presence.volumes or accepted is not None:
            self._volumes = await recognise(self._around.catalogue, self._tree.root, self._tree.folder, presence)
        most = self._allowed + (accepted or 0) + 1 if self._known else _MOST_KEPT
        absences = Absences(min(most, max(_MOST_KEPT, self._allowed + 1)))
        compare = functools.partial(self._compare, absences=absences, sink=sink, version=version)
        linked = [link for path, origin in paths.items() for link in await compare(path, origin)]
        if whole:
            self._known = absences.known
            remote = (mount.path for mount in self._around.mounts.below(self._tree.folder) if mount.is_remote)
            self.polled = frozenset([*linked, *remote])
        conclude = functools.partial(self._conclude, whole=whole, accepted=accepted, demand=demand, sink=sink)
        return await conclude(absences, is_disturbed=is_disturbed)

    async def hold(self, because: str | None, *, missing: int | None = None) -> None:
        """Hold the root for this reason, or release it; logged when it changes, noted where the catalogue takes it.

        Args:
            because: Why; None to release it.
            missing: How many files that is about; None where the root is not there.
        """
        before, self.held = self.held, because
        root = self._tree.root
        is_announced = False
        try:
            if because is None:
                await self._around.catalogue.write(functools.partial(absence.release, root=root))
            elif because != self._noted:
                note = functools.partial(absence.hold, root=root, because=because, missing=missing, at=now())
                event = await self._around.catalogue.write(note)
                if event is not None:
                    await self._around.announce(event)
                    is_announced = True
            self._noted = because
        except CatalogueUnavailableError as error:
            if because != before:  # it is tried again, of a root that is not there every two seconds
                _log.warning("a root's state could not be noted", root=root, error=str(error))
        # Last, so that who reads it can accept it at once.
        if because is not None and because != before:
            (_log.debug if is_announced else _log.warning)("root held", root=root, reason=because)
        elif because is None and before is not None:
            _log.info("root released", root=root)

    @property
    def _allowed(self) -> int:
        return max(LEAST_ALLOWED, int(self._known * self._settings.max_missing))

    async def _accepted(self, presence: Presence) -> int | None:
        """How many files a person let pass that have not passed yet."""
        root = self._tree.root
        accepted = await self._around.catalogue.read(functools.partial(absence.accepted_missing, root=root))
        if accepted is not None:
            forget = functools.partial(volumes.accept, root=root, keys=presence.volumes)
            await self._around.catalogue.write(forget)
        return accepted

    async def _compare(
        self, below: bytes, moved_from: bytes | None, *, absences: Absences, sink: Sink, version: int
    ) -> list[bytes]:
        assert self._volumes is not None  # noqa: S101 - `scan` has seen to it
        walk = self._tree.walk(below)
        pieces = differences(self._around.catalogue, walk, self._volumes, limiter=self._threads)
        async with aclosing(pieces) as comparisons:
            async for comparison in comparisons:
                absences.add(comparison)
                # Seen while something was mounted or unmounted, a file may have lain on either disk.
                if comparison.elsewhere and self._around.mounts.version == version:
                    note = functools.partial(absence.note_volumes, elsewhere=comparison.elsewhere)
                    await self._around.catalogue.write(note)
                for path in comparison.unknown:
                    await sink.offer(
                        self._tree.absolute(path),
                        root=self._tree.root,
                        settle_s=self._settings.settle.total_seconds(),
                        moved_from=moved_from + path[len(below) :] if moved_from is not None else None,
                    )
        self._tell_of_the_unreadable(walk)
        return walk.linked

    def _tell_of_the_unreadable(self, walk: Walk) -> None:
        """Once each, while it lasts."""
        for folder, why in itertools.islice(walk.blind.items(), _MOST_UNREADABLE):
            if self._unreadable.get(folder) != why:
                path = readable(self._tree.absolute(folder))
                _log.warning("folder cannot be read", root=self._tree.root, folder=path, error=why)
        inside = walk.below and walk.below + b"/"
        others = {folder: why for folder, why in self._unreadable.items() if not (folder + b"/").startswith(inside)}
        self._unreadable = dict(itertools.islice((others | walk.blind).items(), _MOST_UNREADABLE))

    async def _conclude(
        self,
        absences: Absences,
        *,
        whole: bool,
        accepted: int | None,
        demand: Callable[[], Awaitable[None]],
        sink: Sink,
        is_disturbed: Callable[[], bool],
    ) -> Mapping[bytes, float]:
        if self._withheld and not whole:
            return {}  # the whole of it decides
        waiting: Collection[int] = frozenset()
        if absences.unseen or absences.unseen_failures:
            waiting = await sink.caught_up(self._tree.root)
        # A disk that was away for the look alone would be there before it, and after it.
        version = self._around.mounts.version
        await demand()
        gone, spared = await self._still_gone(absences.unseen, waiting)
        failures = await self._those_gone(absences.unseen_failures)
        await demand()
        if self._around.mounts.version != version:
            return _WHOLE if self._is_repeated() else {}
        missing = len(gone) + (0 if whole else self._missing_since_whole)
        excessive = missing > self._allowed + (accepted or 0)
        if excessive and not whole:
            return _WHOLE
        if absences.overflowed and accepted is None and not excessive:
            # Most of what was not found has moved; what remains is told apart by another scan.
            return _WHOLE if self._is_repeated() else {}
        self._repetitions = 0
        self._withheld = excessive
        disturbed = is_disturbed() or self._around.are_others_busy()
        deferred: Collection[bytes] = ()
        if not excessive:
            deferred = self._defer(gone, is_disturbed=disturbed and accepted is None)
            await self._mark([candidate for candidate in gone if candidate.path not in deferred])
            forget = functools.partial(absence.forget_failures_at, root=self._tree.root, paths=failures)
            if failures:
                await self._around.catalogue.write(forget)
        self._missing_since_whole = 0 if whole else missing - len(deferred)
        if accepted is not None and absences.overflowed and not excessive:
            passed = functools.partial(absence.note_passed, root=self._tree.root, count=len(gone))
            await self._around.catalogue.write(passed)
            return _WHOLE
        if whole:
            # Those that were not kept are counted as they were not found.
            lost = len(gone) + absences.unseen_count - len(absences.unseen) if excessive else 0
            await self.hold(self._reason(absences, lost), missing=lost + absences.out_of_reach)
        return dict.fromkeys(spared, _SPARED_S) | dict.fromkeys(deferred, _DEFERRED_FOR_S)

    def _defer(self, gone: Sequence[Candidate], *, is_disturbed: bool) -> Collection[bytes]:
        """Those paths that have not been gone for long, while more is marked already."""
        if not is_disturbed:
            self._gone_since = {}
            return ()
        present_s = anyio.current_time()
        since = {candidate.path: self._gone_since.get(candidate.path, present_s) for candidate in gone}
        self._gone_since = {path: at for path, at in since.items() if present_s - at < _DEFERRED_S}
        return self._gone_since.keys()

    def _is_repeated(self) -> bool:
        """Whether to scan once more, after a scan that could not conclude; not without end."""
        self._repetitions += 1
        return self._repetitions % _REPETITIONS != 0

    def _reason(self, absences: Absences, missing: int) -> str | None:
        """Why the root is held: so many files too many are missing, or some are out of reach."""
        if missing:
            return (
                f"{missing} of {self._known} known files are not there, "
                f"more than max_missing ({format_share(self._settings.max_missing)}) lets pass"
            )
        if absences.out_of_reach:
            return f"known files on a file system that is not mounted now, or is covered: {absences.out_of_reach}"
        return None

    async def _still_gone(
        self, unseen: Sequence[bytes], waiting: Collection[int]
    ) -> tuple[list[Candidate], list[bytes]]:
        """Of what was not found, what is known to lie there still, and is not there; and what may have moved.

        Args:
            unseen: Paths below the root.
            waiting: Inodes of files that wait: each may be one of these, moved.
        """
        gone: list[Candidate] = []
        spared: list[bytes] = []
        for start in range(0, len(unseen), _LOOKED_UP_TOGETHER):
            paths = unseen[start : start + _LOOKED_UP_TOGETHER]
            query = functools.partial(absence.candidates, root=self._tree.root, paths=paths)
            known = await self._around.catalogue.read(query)
            absent = set(await self._those_gone([each.path for each in known]))
            spared += [each.path for each in known if each.path in absent and each.inode in waiting]
            gone += [each for each in known if each.path in absent and each.inode not in waiting]
        return gone, spared

    async def _those_gone(self, paths: Sequence[bytes]) -> list[bytes]:
        look = functools.partial(those_gone, self._tree, paths)
        return await anyio.to_thread.run_sync(look, limiter=self._threads, abandon_on_cancel=True)

    async def _mark(self, gone: Sequence[Candidate]) -> None:
        for start in range(0, len(gone), _MARKED_TOGETHER):
            mark = functools.partial(
                absence.mark_missing,
                roots=self._around.roots,
                root=self._tree.root,
                gone=gone[start : start + _MARKED_TOGETHER],
                at=now(),
            )
            for event in await self._around.catalogue.write(mark):
                await self._around.announce(event)
