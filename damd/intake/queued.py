"""A path that has been sighted, until its command has ended."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from enum import StrEnum

from damd.stages import Journey


class State(StrEnum):
    """Where a path is on its way."""

    WAITING = "waiting"
    READY = "ready"
    IN_WORK = "in work"


@dataclass(slots=True)
class Queued:
    """What is known of it; times are monotonic seconds.

    Attributes:
        settle_s: Its root's ``settle``.
        moved_from: For its next command; the one that runs has taken its own.
        sighted_at: When it was sighted first.
        since: When it came into its state.
        sighted_again: While it was in work.
        is_forgotten: Its root was left while it was in work: it comes to its end, and is not tried again.
        inode: What the last look that could see it saw; None if none did, or if it was gone.
        way: That of the command that runs.
        settled_s: How long it took to settle.
        queued_s: How long it waited for a command then.
    """

    settle_s: float
    moved_from: bytes | None = None
    sighted_at: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.monotonic)
    state: State = State.WAITING
    sighted_again: bool = False
    is_forgotten: bool = False
    inode: int | None = None
    way: Journey | None = None
    settled_s: float = 0.0
    queued_s: float = 0.0
    _sighted_last_at: float = field(default=math.inf, init=False)
    _looked_at: float = field(default=-math.inf, init=False)

    @property
    def is_seen(self) -> bool:
        """Whether a look began after it was sighted last; else another file may lie there than that of `inode`."""
        return self.is_seen_since(self._sighted_last_at)

    def is_seen_since(self, moment: float) -> bool:
        """Whether a look began no earlier than that."""
        return self._looked_at >= moment

    def note_sighting(self) -> None:
        """It has been sighted, be it for the first time or again."""
        self.is_forgotten = False
        self._sighted_last_at = time.monotonic()

    def note_look(self, inode: int | None, *, began_at: float) -> None:
        """It has been looked at: the inode, None if it was gone, 0 if it was out of reach."""
        self._looked_at = began_at
        self.inode = self.inode if inode == 0 else inode

    def enter(self, state: State) -> None:
        """It is in this state from now on."""
        now = time.monotonic()
        if state is State.READY:
            self.settled_s = now - self.sighted_at
        elif state is State.IN_WORK:
            self.queued_s = now - self.since
        self.state, self.since = state, now
