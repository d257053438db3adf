"""What there is to say of a root at work, and how to wait for its comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import anyio

from damd.events import readable
from damd.patience import why_unlistable

NO_WATCHES_LEFT = "no watches are left, so it is polled"
_MOST_REASONS = 8


@dataclass
class RootState:
    """What there is to say of a root at work.

    Attributes:
        backend: How it is watched; None while it is not.
        scanning: Whether the whole of it is being compared.
        renewals: How often its watches were armed anew, since something may have been missed.
        overflows: How often that was because the kernel's queue had overflowed.
        unwatched: How many folders are polled, since they cannot be watched.
        unwatched_because: Of some of these, why: ``PATH: reason``.
        watches: How many of the kernel's watches it holds.
        sightings: What the watchers have told: ``file`` and ``folder``, which is to be compared.
    """

    backend: str | None = None
    scanning: bool = True
    renewals: int = 0
    overflows: int = 0
    unwatched: int = 0
    unwatched_because: list[str] = field(default_factory=list)
    watches: int = 0
    sightings: Counter[str] = field(default_factory=lambda: Counter(file=0, folder=0))

    @property
    def unreadable(self) -> list[str]:
        """Of the folders in `unwatched_because` those that cannot be looked into."""
        return [each for each in self.unwatched_because if not each.endswith(NO_WATCHES_LEFT)]


def reasons(folders: Iterable[bytes]) -> list[str]:
    """Why each of some folders is polled, ``PATH: reason``; blocking."""
    some = islice(sorted(folders), _MOST_REASONS)
    return [f"{readable(folder)}: {why_unlistable(folder) or NO_WATCHES_LEFT}" for folder in some]


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
