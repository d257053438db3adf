"""The files of one root that wait to settle, and the looks at them.

Each root has its own, and one look at a time in a thread of its own: on a mount that is dead an lstat hangs, and
what hangs then is that root and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import anyio.to_thread
from anyio import CapacityLimiter

from damd.intake.look import look_at
from damd.intake.settle import Settling

_LOOKS = 500
"""Files looked at in one hop to a thread, some 5 ms."""

_RESTLESS_AFTER_S = 5.0
_RESTLESS_AFTER_SETTLES = 2


class Looked(NamedTuple):
    """What one look made of a path.

    Attributes:
        inode: None if it is gone, 0 if it is out of reach.
        has_rested: It has come to rest, there or gone, and waits no longer.
    """

    path: bytes
    inode: int | None
    has_rested: bool


class Waiting:
    """The waiting files of one root; as many as the caller puts in."""

    def __init__(self) -> None:
        self._settling: Settling[bytes] = Settling()
        self._limiter = CapacityLimiter(1)
        self._is_looking = False
        self._asked: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._settling)

    def sight(self, path: bytes, *, settle_s: float, closed: bool) -> None:
        """A path may have changed."""
        self._settling.sight(path, settle_s=settle_s, closed=closed, now=time.monotonic())

    def ask(self, paths: Iterable[bytes]) -> None:
        """Have these looked at as soon as may be, whether they wait or not; it settles none of them any sooner."""
        self._asked |= dict.fromkeys(paths)

    def next_look_at(self) -> float | None:
        """When, in monotonic seconds, a look is due; None while one is under way, or there is nothing to look at."""
        if self._is_looking:
            return None
        return 0.0 if self._asked else self._settling.next_due()

    def take_due(self) -> list[bytes]:
        """What to `look` at now; while there is some, and until it has been looked at, no more is due."""
        if self._is_looking:
            return []
        asked = list(islice(self._asked, _LOOKS))
        for path in asked:
            del self._asked[path]
        due = self._settling.due(time.monotonic(), _LOOKS - len(asked))
        self._is_looking = bool(asked or due)
        return list(dict.fromkeys(asked + due))

    async def look(self, due: list[bytes]) -> list[Looked]:
        """Look once at what was due.

        Cancelled, it leaves behind the thread, which may hang for as long as it likes, and those files.
        """
        wall_ns = time.time_ns()
        try:
            looks = await anyio.to_thread.run_sync(look_at, due, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            self._is_looking = False
        now = time.monotonic()
        looked = []
        for path, look in zip(due, looks, strict=True):
            # One that is gone settles like any other: it may have been sighted anew since it was looked for.
            has_rested = self._settling.observe(
                path, look.signature, look.newest_ns, now=now, wall_ns=wall_ns, is_written=look.is_written
            )
            looked.append(Looked(path, look.signature.inode if look.signature is not None else None, has_rested))
        return looked

    def is_restless(self, path: bytes, *, settle_s: float, waited_s: float) -> bool:
        """Whether there is no telling when a waiting path settles: it is being written, or does not come to rest."""
        too_long = waited_s >= _RESTLESS_AFTER_S + _RESTLESS_AFTER_SETTLES * settle_s
        return path in self._settling and (too_long or self._settling.is_written(path))

    def waiting_for(self, path: bytes) -> str | None:
        """What a path waits for, in words that go on from "waiting for"; None for one that does not wait."""
        return self._settling.waiting_for(path)
