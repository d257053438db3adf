"""The metrics, as Prometheus reads them."""

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from damd.metrics import EndpointNumbers, Numbers, Outbox, RootNumbers, exposition


def samples(numbers: Numbers) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(exposition(numbers))
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_what_waits_and_what_is_held_is_read_by_root() -> None:
    roots = {
        "inbox": RootNumbers(watched=True, held=False, waiting=7, polled_folders=0, renewals=1),
        "nas": RootNumbers(watched=False, held=True, waiting=0, polled_folders=3, renewals=0),
    }
    files = {"imported": 5, "failed": 2}
    read = samples(Numbers(version="1.2", files_in_work=4, oldest_waiting_s=12.5, files=files, roots=roots))
    assert read == {
        ("damd_build_info", "1.2"): 1,
        ("damd_files_in_work",): 4,
        ("damd_oldest_waiting_seconds",): 12.5,
        ("damd_files_total", "imported"): 5,
        ("damd_files_total", "failed"): 2,
        ("damd_files_waiting", "inbox"): 7,
        ("damd_files_waiting", "nas"): 0,
        ("damd_root_watched", "inbox"): 1,
        ("damd_root_watched", "nas"): 0,
        ("damd_root_held", "inbox"): 0,
        ("damd_root_held", "nas"): 1,
        ("damd_root_polled_folders", "inbox"): 0,
        ("damd_root_polled_folders", "nas"): 3,
        ("damd_root_watch_renewals_total", "inbox"): 1,
        ("damd_root_watch_renewals_total", "nas"): 0,
    }


def test_what_is_owed_and_what_fails_is_read_by_endpoint() -> None:
    endpoints = {
        "gallery": EndpointNumbers(owed=3, disabled=False, failing_s=12.5),
        "sorter": EndpointNumbers(owed=0, disabled=True, failing_s=0),
    }
    numbers = Numbers(version="1.2", files_in_work=0, oldest_waiting_s=0, files={})
    read = samples(replace(numbers, outbox=Outbox(events_waiting=2, endpoints=endpoints)))
    assert {key: read[key] for key in read.keys() - samples(numbers).keys()} == {
        ("damd_events_waiting",): 2,
        ("damd_deliveries_owed", "gallery"): 3,
        ("damd_deliveries_owed", "sorter"): 0,
        ("damd_endpoint_disabled", "gallery"): 0,
        ("damd_endpoint_disabled", "sorter"): 1,
        ("damd_endpoint_failing_seconds", "gallery"): 12.5,
        ("damd_endpoint_failing_seconds", "sorter"): 0,
    }
