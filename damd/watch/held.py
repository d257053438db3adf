"""A path that has been sighted, until its command has ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """Where a path is on its way."""

    WAITING = "waiting"
    READY = "ready"
    IN_WORK = "in work"


@dataclass(slots=True)
class Held:
    """What is known of it; times are monotonic seconds.

    Attributes:
        root: The name of the root it lies in.
        settle_s: The root's ``settle``.
        moved_from: For its next command; the one that runs has taken its own.
        sighted_at: When it was sighted first.
        since: When it came into its state.
        sighted_again: While it was in work.
    """

    root: str
    settle_s: float
    moved_from: bytes | None = None
    sighted_at: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.monotonic)
    state: State = State.WAITING
    sighted_again: bool = False

    def enter(self, state: State) -> None:
        """It is in this state from now on."""
        self.state, self.since = state, time.monotonic()
