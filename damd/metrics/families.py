"""Every metric by its name; ``docs/metrics.md`` tells what each is good for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily

from damd.metrics.numbers import EndpointNumbers, Histogram, Numbers, Outbox, RootNumbers

_OF_A_ROOT: tuple[tuple[str, str, Callable[[RootNumbers], float]], ...] = (
    ("damd_files_waiting", "Files seen and not dealt with.", lambda root: root.waiting),
    ("damd_root_watched", "Whether the watches are armed.", lambda root: root.watched),
    ("damd_root_held", "Whether nothing in it is taken for deleted, or not all.", lambda root: root.held),
    ("damd_root_watches", "Folders that the system watches.", lambda root: root.watches),
    (
        "damd_root_polled_folders",
        "Folders that are polled, since they cannot be watched.",
        lambda root: root.unwatched,
    ),
)
_OF_AN_ENDPOINT: tuple[tuple[str, str, Callable[[EndpointNumbers], float]], ...] = (
    (
        "damd_deliveries_owed",
        "Events that an endpoint has not taken yet; those of a disabled one wait.",
        lambda endpoint: endpoint.owed,
    ),
    (
        "damd_oldest_owed_seconds",
        "For how long it has been owed what it has been owed longest.",
        lambda endpoint: endpoint.oldest_owed_s,
    ),
    ("damd_endpoint_disabled", "Whether it is offered nothing.", lambda endpoint: endpoint.disabled),
    (
        "damd_endpoint_failing_seconds",
        "For how long it has done nothing but fail.",
        lambda endpoint: endpoint.failing_s,
    ),
)


def families(numbers: Numbers) -> Iterable[Metric]:
    """Every metric with what there is to tell of it."""
    yield InfoMetricFamily("damd_build", "The running damd.", {"version": numbers.version})
    yield from _of_the_daemon(numbers)
    yield from _of_files(numbers)
    for name, what, value in _OF_A_ROOT:
        yield _by("root", name, what, {root: value(of_root) for root, of_root in numbers.roots.items()})
    yield from _of_watches(numbers.roots)
    yield _of_stages(numbers.stages)
    yield _counted(
        ("endpoint", "outcome"),
        "damd_deliveries",
        "Attempts at delivering an event, by how they ended.",
        numbers.deliveries,
    )
    if numbers.outbox is not None:
        yield from _of_outbox(numbers.outbox)


def _of_the_daemon(numbers: Numbers) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "damd_config_last_reload_successful",
        "Whether the configuration in use is the one that was last asked for.",
        numbers.reload_successful,
    )
    if numbers.reload_succeeded_at is not None:
        yield GaugeMetricFamily(
            "damd_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was taken.",
            numbers.reload_succeeded_at.timestamp(),
        )
    yield GaugeMetricFamily("damd_paused", "Whether nothing new is begun.", numbers.paused)
    yield GaugeMetricFamily("damd_files_in_work", "Files that are being ingested.", numbers.files_in_work)
    yield GaugeMetricFamily(
        "damd_files_retrying", "Files that failed, and wait for another attempt.", numbers.files_retrying
    )


def _of_files(numbers: Numbers) -> Iterable[Metric]:
    roots = numbers.roots
    yield _counted(
        ("root", "outcome"),
        "damd_files",
        "Files that ended, by outcome.",
        {root: of_root.outcomes for root, of_root in roots.items()},
    )
    size = CounterMetricFamily("damd_bytes", "The size of the files that ended as imported.", labels=["root"])
    for root, of_root in roots.items():
        size.add_metric([root], of_root.imported_bytes)
    yield size
    yield _by(
        "root",
        "damd_oldest_waiting_seconds",
        "How long the file that waits longest has been waiting.",
        {root: of_root.oldest_s for root, of_root in roots.items()},
    )
    yield _at(
        "damd_last_import_timestamp_seconds",
        "When a file last ended as imported.",
        {root: of_root.last_imported_at for root, of_root in roots.items()},
    )


def _of_watches(roots: Mapping[str, RootNumbers]) -> Iterable[Metric]:
    yield _counted(
        ("root", "kind"),
        "damd_root_sightings",
        "What the watches told, by kind.",
        {root: of_root.sightings for root, of_root in roots.items()},
    )
    renewals = CounterMetricFamily(
        "damd_root_watch_renewals", "How often the watches were armed anew, after a doubt.", labels=["root"]
    )
    overflows = CounterMetricFamily(
        "damd_root_watch_overflows", "How often the system's queue of events overflowed.", labels=["root"]
    )
    for root, of_root in roots.items():
        renewals.add_metric([root], of_root.renewals)
        overflows.add_metric([root], of_root.overflows)
    yield from (renewals, overflows)


def _of_stages(stages: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily("damd_stage_seconds", "How long a stage of ingesting a file took.", labels=["stage"])
    for stage, durations in stages.items():
        bounded = [(str(float(bound)), float(count)) for bound, count in durations.buckets]
        family.add_metric([stage], [*bounded, ("+Inf", float(durations.count))], durations.total_s)
    return family


def _of_outbox(outbox: Outbox) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "damd_events_waiting", "Events of which no endpoint has been told yet.", outbox.events_waiting
    )
    for name, what, value in _OF_AN_ENDPOINT:
        yield _by("endpoint", name, what, {each: value(of_it) for each, of_it in outbox.endpoints.items()})


def _by(label: str, name: str, what: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for each, value in values.items():
        family.add_metric([each], float(value))
    return family


def _at(name: str, what: str, moments: Mapping[str, datetime | None]) -> Metric:
    """Of each root that has such a moment: 0 would be read as half a century ago, and alarm."""
    return _by("root", name, what, {root: at.timestamp() for root, at in moments.items() if at is not None})


def _counted(labels: tuple[str, str], name: str, what: str, counts: Mapping[str, Mapping[str, int]]) -> Metric:
    family = CounterMetricFamily(name, what, labels=labels)
    for each, by_second in counts.items():
        for second, count in by_second.items():
            family.add_metric([each, second], count)
    return family
