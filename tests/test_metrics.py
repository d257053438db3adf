"""The metrics, as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

from damd.metrics import Numbers, RootNumbers, exposition


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
