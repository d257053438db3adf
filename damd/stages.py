"""How long each stage of a file's way takes: for the line that tells of its end, the metrics, and `damd status`.

The intake opens a `journey` for each command. Whoever does the work beneath names its stages, and need not know who
opened it, nor whether anybody did: outside a journey a stage is nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal

from structlog.contextvars import bound_contextvars

Stage = Literal["settle", "queue", "look_up", "hash", "read", "record"]
"""What a file goes through, in this order.

`settle` and `queue` pass before its command, and are noted by the intake. `look_up` finds out what is known of it;
`read` is its type, its reader in the worker, and the previews; `record` the catalogue's transaction, and what that
waits for.
"""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds in seconds: from a picture's hash to the default of ``ingest.timeout``."""

_current: ContextVar[Journey | None] = ContextVar("damd journey", default=None)


@dataclass(frozen=True, kw_only=True)
class StageNumbers:
    """A stage as a histogram.

    Attributes:
        buckets: Each of `BUCKETS`, and how many took at most so long.
        total_s: Of all together.
        count: Of all; what lies beyond the last bucket is only counted here.
    """

    buckets: tuple[tuple[float, int], ...]
    total_s: float
    count: int


class Durations:
    """What the stages of all journeys took; only the event loop touches it, so it needs no lock."""

    def __init__(self) -> None:
        self._within: dict[str, list[int]] = {}
        self._total_s: dict[str, float] = {}
        self._count: dict[str, int] = {}

    def add(self, seconds: Mapping[str, float]) -> None:
        """One journey has ended, whose stages took so long."""
        for name, took_s in seconds.items():
            within = self._within.setdefault(name, [0] * len(BUCKETS))
            for index, bound_s in enumerate(BUCKETS):
                within[index] += took_s <= bound_s
            self._total_s[name] = self._total_s.get(name, 0.0) + took_s
            self._count[name] = self._count.get(name, 0) + 1

    def numbers(self) -> Mapping[str, StageNumbers]:
        """Of every stage that any journey came through, by its name."""
        return {
            name: StageNumbers(
                buckets=tuple(zip(BUCKETS, within, strict=True)),
                total_s=self._total_s[name],
                count=self._count[name],
            )
            for name, within in self._within.items()
        }


class Journey:
    """One file's way through its command.

    Attributes:
        stage: The present one, None between two of them.
        since: When it was entered, or the last one left, by the journey's clock.
        seconds: What each stage took until now, without the one that runs; one that is gone through again adds to it.
        is_told: Whether an event has told of its end, so that nobody else needs to.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self.since = clock()
        self._noted_s = 0.0
        self.stage: Stage | None = None
        self.seconds: dict[str, float] = {}
        self.is_told = False

    def note(self, stage: Stage, seconds: float) -> None:
        """A stage that passed before the journey began took so long."""
        self._noted_s += seconds
        self._add(stage, seconds)

    def enter(self, stage: Stage | None) -> Stage | None:
        """Leave the present stage for this one, or for none; returns the one that was left."""
        left, now = self.stage, self._clock()
        if left is not None:
            self._add(left, now - self.since)
        self.stage, self.since = stage, now
        return left

    def summary(self) -> dict[str, float]:
        """What the line of its end says: ``…_s`` of each stage that it has left, and of all, to the millisecond.

        ``total_s`` counts from when the first stage that was noted began, so it holds what lies between stages too.
        """
        total_s = self._noted_s + self._clock() - self._began
        return {f"{name}_s": round(took_s, 3) for name, took_s in self.seconds.items()} | {"total_s": round(total_s, 3)}

    def _add(self, stage: Stage, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


@contextmanager
def journey(durations: Durations, *, clock: Callable[[], float] = time.monotonic, **known: object) -> Iterator[Journey]:
    """One file's way, for all that runs in this context: its stages are measured, and added to `durations` at its end.

    Args:
        durations: Those of all journeys.
        clock: The present moment, in seconds since any.
        known: What each line of the log says meanwhile, such as ``root``.
    """
    way = Journey(clock)
    token = _current.set(way)
    try:
        with bound_contextvars(**known):
            yield way
    finally:
        _current.reset(token)
        durations.add(way.seconds)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """The way goes through this stage; one within another takes its time out of that one's."""
    way = _current.get()
    if way is None:
        yield
        return
    outer = way.enter(name)
    try:
        yield
    finally:
        way.enter(outer)


def told() -> dict[str, float]:
    """The way's `Journey.summary`, for the event that is about to tell of its end; empty outside a journey."""
    way = _current.get()
    if way is None:
        return {}
    way.is_told = True
    return way.summary()


def untold() -> dict[str, float] | None:
    """The same for whoever tells of what no event has told of; None where one has."""
    way = _current.get()
    if way is None:
        return {}
    return None if way.is_told else way.summary()
