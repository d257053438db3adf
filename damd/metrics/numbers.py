"""What there is to count of a daemon, as plain values; whoever knows them fills them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


class Histogram(Protocol):
    """How long something took, each time since the daemon's start."""

    @property
    def buckets(self) -> tuple[tuple[float, int], ...]:
        """How many took at most so many seconds, ascending and cumulative; the last, without a bound, is `count`."""
        ...

    @property
    def total_s(self) -> float:
        """All of them together."""
        ...

    @property
    def count(self) -> int:
        """How many there were."""
        ...


@dataclass(frozen=True, kw_only=True)
class RootNumbers:
    """What there is to count of a root; what only grows is counted since the daemon's start.

    Attributes:
        watched: Whether its watches are armed.
        held: Whether nothing in it is taken for deleted, or not all.
        waiting: Files that have been seen and not dealt with yet.
        unwatched: Folders that are polled, since they cannot be watched.
        renewals: How often its watches were armed anew.
        overflows: How often that was because the system's queue of events had overflowed.
        watches: Folders that the system watches.
        sightings: What the watches told, by kind.
        outcomes: How many files ended in each way.
        imported_bytes: The size of those that ended as imported, together.
        oldest_s: For how long the one that waits longest has been waiting.
        last_imported_at: When one ended as imported; None before any.
    """

    watched: bool
    held: bool
    waiting: int
    unwatched: int
    renewals: int
    overflows: int = 0
    watches: int = 0
    sightings: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    imported_bytes: int = 0
    oldest_s: float = 0.0
    last_imported_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class EndpointNumbers:
    """What the catalogue knows of an endpoint, which is a webhook or a command.

    Attributes:
        owed: Events that it has not taken yet.
        disabled: Whether it is offered nothing.
        failing_s: For how long it has done nothing but fail; 0 where it does not fail.
        oldest_owed_s: For how long it has been owed what it has been owed longest; 0 where it is owed nothing.
    """

    owed: int
    disabled: bool
    failing_s: float
    oldest_owed_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """What there is to count of the events that are kept for endpoints.

    Attributes:
        events_waiting: Those of which no endpoint has been told yet.
        endpoints: Of each endpoint.
    """

    events_waiting: int
    endpoints: Mapping[str, EndpointNumbers]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What there is to count of a daemon.

    Attributes:
        version: damd's.
        files_in_work: Those that are being ingested.
        files_retrying: Those that failed, and wait for another attempt.
        paused: Whether nothing new is begun.
        reload_successful: Whether the configuration in use is the one that was last asked for; true before any reload.
        reload_succeeded_at: When the configuration in use was taken; None: not told.
        roots: Of each root.
        stages: How long each stage of ingesting took.
        deliveries: How many attempts at delivering there were since the daemon's start, by endpoint and by outcome.
        outbox: Of the events that are kept; None where the catalogue cannot be asked at the moment.
    """

    version: str
    files_in_work: int
    files_retrying: int = 0
    paused: bool = False
    reload_successful: bool = True
    reload_succeeded_at: datetime | None = None
    roots: Mapping[str, RootNumbers] = field(default_factory=dict)
    stages: Mapping[str, Histogram] = field(default_factory=dict)
    deliveries: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    outbox: Outbox | None = None
