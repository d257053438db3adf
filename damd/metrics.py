"""Every metric, named once, by Prometheus' rules for names: base units, ``_total`` for what only grows.

Labels are bounded: a root's name or an endpoint's, never a path. The numbers are asked for when somebody looks, so that
counting costs nothing while nobody does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True, kw_only=True)
class RootNumbers:
    """What there is to count of a root.

    Attributes:
        watched: Whether its watches are armed.
        held: Whether nothing in it is taken for deleted, or not all.
        waiting: Files that have been seen and not dealt with yet.
        polled_folders: Folders that are polled, since they cannot be watched.
        renewals: How often its watches were armed anew.
    """

    watched: bool
    held: bool
    waiting: int
    polled_folders: int
    renewals: int


@dataclass(frozen=True, kw_only=True)
class EndpointNumbers:
    """What there is to count of an endpoint, which is a webhook or a command.

    Attributes:
        owed: Events that it has not taken yet.
        disabled: Whether it is offered nothing.
        failing_s: For how long it has done nothing but fail; 0 where it does not fail.
    """

    owed: int
    disabled: bool
    failing_s: float


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
        oldest_waiting_s: For how long the one that waits longest has been waiting.
        files: How many ended, by outcome, since the daemon's start.
        roots: Of each root.
        outbox: Of the events that are kept; None where the catalogue cannot be asked at the moment.
    """

    version: str
    files_in_work: int
    oldest_waiting_s: float
    files: Mapping[str, int]
    roots: Mapping[str, RootNumbers] = field(default_factory=dict)
    outbox: Outbox | None = None


def exposition(numbers: Numbers) -> str:
    """The numbers in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(_families(numbers)))
    return generate_latest(registry).decode()


class _Once(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(numbers: Numbers) -> Iterable[Metric]:
    yield InfoMetricFamily("damd_build", "The running damd.", {"version": numbers.version})
    yield GaugeMetricFamily("damd_files_in_work", "Files that are being ingested.", numbers.files_in_work)
    yield GaugeMetricFamily(
        "damd_oldest_waiting_seconds",
        "How long the file that waits longest has been waiting.",
        numbers.oldest_waiting_s,
    )
    ended = CounterMetricFamily("damd_files", "Files that ended, by outcome.", labels=["outcome"])
    for outcome, count in numbers.files.items():
        ended.add_metric([outcome], count)
    yield ended
    roots = numbers.roots
    yield _by_root("damd_files_waiting", "Files seen and not dealt with.", {r: n.waiting for r, n in roots.items()})
    yield _by_root("damd_root_watched", "Whether the watches are armed.", {r: n.watched for r, n in roots.items()})
    yield _by_root(
        "damd_root_held",
        "Whether nothing in it is taken for deleted, or not all.",
        {r: n.held for r, n in roots.items()},
    )
    yield _by_root(
        "damd_root_polled_folders",
        "Folders that are polled, since they cannot be watched.",
        {r: n.polled_folders for r, n in roots.items()},
    )
    renewals = CounterMetricFamily(
        "damd_root_watch_renewals", "How often the watches were armed anew, after a doubt.", labels=["root"]
    )
    for root, of_root in roots.items():
        renewals.add_metric([root], of_root.renewals)
    yield renewals
    if numbers.outbox is not None:
        yield from _of_outbox(numbers.outbox)


def _of_outbox(outbox: Outbox) -> Iterable[Metric]:
    endpoints = outbox.endpoints
    yield GaugeMetricFamily(
        "damd_events_waiting", "Events of which no endpoint has been told yet.", outbox.events_waiting
    )
    yield _by_endpoint(
        "damd_deliveries_owed",
        "Events that an endpoint has not taken yet; those of a disabled one wait.",
        {name: n.owed for name, n in endpoints.items()},
    )
    yield _by_endpoint(
        "damd_endpoint_disabled", "Whether it is offered nothing.", {name: n.disabled for name, n in endpoints.items()}
    )
    yield _by_endpoint(
        "damd_endpoint_failing_seconds",
        "For how long it has done nothing but fail.",
        {name: n.failing_s for name, n in endpoints.items()},
    )


def _by_root(name: str, what: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    return _labelled("root", name, what, values)


def _by_endpoint(name: str, what: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    return _labelled("endpoint", name, what, values)


def _labelled(label: str, name: str, what: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=[label])
    for each, value in values.items():
        family.add_metric([each], float(value))
    return family
