"""The metrics, as Prometheus reads them."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from damd.metrics import EndpointNumbers, Numbers, Outbox, RootNumbers
from damd.metrics.exposition import exposition, exposition_for
from damd.stages import StageNumbers

PROJECT = Path(__file__).parent.parent
AT = datetime(2026, 11, 22, 21, 34, 18, tzinfo=UTC)


NOTHING = Numbers(version="1.2", files_in_work=0)
ENDPOINTS = {
    "gallery": EndpointNumbers(owed=3, disabled=False, failing_s=12.5, oldest_owed_s=60),
    "sorter": EndpointNumbers(owed=0, disabled=True, failing_s=0),
}
INBOX = RootNumbers(
    watched=True,
    held=False,
    waiting=7,
    unwatched=0,
    renewals=1,
    overflows=1,
    watches=12,
    sightings={"closed": 9, "moved": 2},
    outcomes={"imported": 5, "failed": 2},
    imported_bytes=2**40,
    oldest_s=12.5,
    last_imported_at=AT,
)
NAS = RootNumbers(watched=False, held=True, waiting=0, unwatched=3, renewals=0)
ALL = Numbers(
    version="1.2",
    files_in_work=4,
    files_retrying=2,
    reload_succeeded_at=AT,
    roots={"inbox": INBOX, "nas": NAS},
    stages={"hash": StageNumbers(buckets=((0.1, 1), (1, 3)), total_s=7.5, count=4)},
    deliveries={"gallery": {"delivered": 8, "failed": 1}},
    outbox=Outbox(events_waiting=2, endpoints=ENDPOINTS),
)


def samples(numbers: Numbers) -> dict[tuple[str, ...], float]:
    """damd's own, by name and the values of the labels."""
    families = text_string_to_metric_families(exposition(numbers))
    found = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    return {key: value for key, value in found.items() if key[0].startswith("damd_")}


def added(numbers: Numbers) -> dict[tuple[str, ...], float]:
    """What there is beyond what a daemon without roots and endpoints tells."""
    read = samples(numbers)
    return {key: read[key] for key in read.keys() - samples(NOTHING).keys()}


def test_what_waits_what_was_seen_and_what_is_held_is_read_by_root() -> None:
    assert added(replace(NOTHING, roots={"inbox": INBOX, "nas": NAS})) == {
        ("damd_files_total", "failed", "inbox"): 2,
        ("damd_files_total", "imported", "inbox"): 5,
        ("damd_bytes_total", "inbox"): 2**40,
        ("damd_bytes_total", "nas"): 0,
        ("damd_files_waiting", "inbox"): 7,
        ("damd_files_waiting", "nas"): 0,
        ("damd_oldest_waiting_seconds", "inbox"): 12.5,
        ("damd_oldest_waiting_seconds", "nas"): 0,
        ("damd_last_import_timestamp_seconds", "inbox"): AT.timestamp(),
        ("damd_root_watched", "inbox"): 1,
        ("damd_root_watched", "nas"): 0,
        ("damd_root_watches", "inbox"): 12,
        ("damd_root_watches", "nas"): 0,
        ("damd_root_held", "inbox"): 0,
        ("damd_root_held", "nas"): 1,
        ("damd_root_polled_folders", "inbox"): 0,
        ("damd_root_polled_folders", "nas"): 3,
        ("damd_root_sightings_total", "closed", "inbox"): 9,
        ("damd_root_sightings_total", "moved", "inbox"): 2,
        ("damd_root_watch_renewals_total", "inbox"): 1,
        ("damd_root_watch_renewals_total", "nas"): 0,
        ("damd_root_watch_overflows_total", "inbox"): 1,
        ("damd_root_watch_overflows_total", "nas"): 0,
    }


def test_what_is_owed_and_what_fails_is_read_by_endpoint() -> None:
    assert added(replace(NOTHING, outbox=Outbox(events_waiting=2, endpoints=ENDPOINTS))) == {
        ("damd_events_waiting",): 2,
        ("damd_deliveries_owed", "gallery"): 3,
        ("damd_deliveries_owed", "sorter"): 0,
        ("damd_oldest_owed_seconds", "gallery"): 60,
        ("damd_oldest_owed_seconds", "sorter"): 0,
        ("damd_endpoint_disabled", "gallery"): 0,
        ("damd_endpoint_disabled", "sorter"): 1,
        ("damd_endpoint_failing_seconds", "gallery"): 12.5,
        ("damd_endpoint_failing_seconds", "sorter"): 0,
    }


def test_attempts_at_delivering_are_told_while_the_catalogue_cannot_be_asked() -> None:
    assert added(replace(NOTHING, deliveries={"gallery": {"delivered": 8, "failed": 1}}, outbox=None)) == {
        ("damd_deliveries_total", "gallery", "delivered"): 8,
        ("damd_deliveries_total", "gallery", "failed"): 1,
    }


def test_how_long_a_stage_took_is_a_histogram_whose_last_bucket_holds_them_all() -> None:
    text = exposition(replace(NOTHING, stages={"hash": StageNumbers(buckets=((0.1, 1), (1, 3)), total_s=7.5, count=4)}))
    assert [line for line in text.splitlines() if line.startswith("damd_stage_seconds")] == [
        'damd_stage_seconds_bucket{le="0.1",stage="hash"} 1.0',
        'damd_stage_seconds_bucket{le="1.0",stage="hash"} 3.0',
        'damd_stage_seconds_bucket{le="+Inf",stage="hash"} 4.0',
        'damd_stage_seconds_count{stage="hash"} 4.0',
        'damd_stage_seconds_sum{stage="hash"} 7.5',
    ]


def test_a_reload_that_was_refused_is_seen_beside_when_the_last_good_one_was() -> None:
    assert samples(NOTHING)["damd_config_last_reload_successful",] == 1
    refused = samples(replace(NOTHING, reload_successful=False, reload_succeeded_at=AT, paused=True))
    assert refused["damd_config_last_reload_successful",] == 0
    assert refused["damd_config_last_reload_success_timestamp_seconds",] == AT.timestamp()
    assert refused["damd_paused",] == 1


def test_a_root_that_never_imported_has_no_last_import_rather_than_one_in_1970() -> None:
    assert not [key for key in samples(replace(NOTHING, roots={"nas": NAS})) if "last_import" in key[0]]


def test_the_process_itself_is_measured() -> None:
    families = {family.name for family in text_string_to_metric_families(exposition(NOTHING))}
    assert {"process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds"} <= families


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=latest", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain; version=new.new", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
    ],
)
def test_the_format_is_the_one_that_is_asked_for_and_else_the_one_that_all_read(accept: str, media_type: str) -> None:
    text, given = exposition_for(accept, ALL)
    assert given == media_type
    assert text.endswith(b"# EOF\n") == given.startswith("application/openmetrics-text")


def test_a_name_that_holds_quotes_and_line_ends_stays_one_label() -> None:
    name = 'a "b"\\\nc{d="e"} 1'
    assert samples(replace(NOTHING, roots={name: INBOX}))["damd_files_waiting", name] == 7


DOCUMENT = (PROJECT / "docs" / "metrics.md").read_text()
DOCUMENTED = re.findall(r"^\| `(\w+)` \|([^|]*)\|", DOCUMENT, re.MULTILINE)
"""Each metric, and its labels as they are written."""


def test_the_document_names_every_metric_with_its_labels_and_no_other() -> None:
    written = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in DOCUMENTED}
    assert len(written) == len(DOCUMENTED)
    assert written == {
        f"{family.name}_total" if family.type == "counter" else family.name: {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in text_string_to_metric_families(exposition(ALL))
    }


def test_the_alerts_of_the_document_ask_for_what_there_is() -> None:
    blocks = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL))
    [rules] = [block for block in blocks if "groups" in block]
    expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    asked = set(re.findall(r"\b(?:damd|process)_\w+", expressions))
    assert asked
    assert asked <= {name for name, _ in DOCUMENTED}
