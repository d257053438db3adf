"""What there is to say of a root at work, and how to wait for its comparison."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import anyio


@dataclass
class RootState:
    """What there is to say of a root at work.

    Attributes:
        backend: How it is watched; None while it is not.
        scanning: Whether the whole of it is being compared.
        renewals: How often its watches were armed anew, since something may have been missed.
        overflows: How often that was because the kernel's queue had overflowed.
        unwatched: How many folders are polled, since they cannot be watched.
        watches: How many of the kernel's watches it holds.
        sightings: What the watchers have told: ``file`` and ``folder``, which is to be compared.
    """

    backend: str | None = None
    scanning: bool = True
    renewals: int = 0
    overflows: int = 0
    unwatched: int = 0
    watches: int = 0
    sightings: Counter[str] = field(default_factory=lambda: Counter(file=0, folder=0))


class Comparisons:
    """How often the whole of a root was compared; pure but for its event."""

    def __init__(self) -> None:
        self._begun = self._done = 0
        self._changed = anyio.Event()

    def begin(self) -> int:
        """One begins; returns its number."""
        self._begun += 1
        return self._begun

    def end(self, number: int) -> None:
        """It has seen everything."""
        self._done = max(self._done, number)
        self.wake()

    def wake(self) -> None:
        """Have whoever waits look again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def next_change(self) -> None:
        """Until one has ended, or there is something else to look at."""
        await self._changed.wait()

    @property
    def begun(self) -> int:
        """How many have begun."""
        return self._begun

    @property
    def done(self) -> int:
        """The number of the last that has ended."""
        return self._done
