"""A daemon that is given another configuration while it runs."""

import json
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run_damd
from daemon.reloaded import SLOW, Place, Served, served
from daemons import Daemon, assert_is_whole, make_png, make_pngs, query, running, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by way of /proc")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("reloaded")
    with served(folder, Path(shutil.copytree(migrated, folder / "state"))) as shared:
        yield shared


@pytest.fixture
def place(shared: Served) -> Place:
    return shared.move_on()


@pytest.fixture
def daemon(shared: Served, place: Place) -> Daemon:
    return shared.daemon


def test_roots_come_and_go_and_nothing_is_lost_between_them(place: Place, daemon: Daemon) -> None:
    first, waiting = make_png(place.inbox / "first.png"), make_png(place.other / "waiting.png")
    daemon.wait_for_import(first)
    place.write(watch=[place.root(place.inbox), place.root(place.other)])
    told = place.reload()
    assert (told["ok"], told["changed"], told["problems"], told["restart"]) == (True, ["watch"], [], [])
    daemon.wait_for_import(waiting)

    place.write(watch=[place.root(place.other)])
    assert place.reload()["ok"]
    left = make_png(place.inbox / "left alone.png")
    daemon.wait_for_import(make_png(place.other / "still.png"))
    assert place.roots() == [place.other.name]

    place.write(watch=[place.root(place.inbox), place.root(place.other)])
    assert place.reload()["ok"]
    daemon.wait_for_import(left)
    assert place.locations() == [
        (place.inbox.name, "first.png"),
        (place.inbox.name, "left alone.png"),
        (place.other.name, "still.png"),
        (place.other.name, "waiting.png"),
    ]
    assert query(place.state, "SELECT count(*) FROM location WHERE missing_since IS NOT NULL") == [(0,)]


def test_other_rules_for_what_is_ignored_count_at_once_for_all_that_is_there(place: Place, daemon: Daemon) -> None:
    place.write(watch=[place.root(place.inbox, ignore=["drafts/"])])
    assert place.reload()["changed"] == ["watch"]
    (place.inbox / "drafts").mkdir()
    draft, picture = make_png(place.inbox / "drafts" / "a.png"), make_png(place.inbox / "b.png")
    daemon.wait_for_import(picture)
    assert str(draft) not in daemon.imported()
    place.write()
    assert place.reload()["ok"]
    daemon.wait_for_import(draft)


def test_subscribers_come_and_go_and_one_that_stays_is_not_disturbed(place: Place, daemon: Daemon) -> None:
    stays, comes = place.folder / "stays.jsonl", place.folder / "comes.jsonl"
    staying = {"kind": "log", "file": str(stays)}
    place.write(subscribers=[staying])
    assert place.reload()["changed"] == ["subscribers"]
    place.write(subscribers=[staying, {"kind": "log", "file": str(comes)}])
    assert place.reload()["ok"]
    make_png(place.inbox / "a.png")
    until(lambda: "a.png" in comes.read_text(), "the new one's line")
    place.write(subscribers=[staying])
    assert place.reload()["ok"]
    make_png(place.inbox / "b.png")
    until(lambda: "b.png" in stays.read_text(), "the old one's line")
    assert "a.png" in stays.read_text()
    assert "a.png" in comes.read_text()
    assert "b.png" not in comes.read_text()


def test_a_command_hears_from_its_reload_on_and_what_it_is_owed_waits_while_it_is_gone(
    place: Place, daemon: Daemon
) -> None:
    heard = place.folder / "heard"
    command = {"kind": "command", "name": "note", "command": ["/bin/sh", "-c", f'echo "$DAMD_PATH" >> {heard}']}
    daemon.wait_for_import(make_png(place.inbox / "before.png"))
    place.write(subscribers=[command])
    assert place.reload()["ok"]
    after = make_png(place.inbox / "after.png")
    until(lambda: heard.exists() and str(after) in heard.read_text(), "what the command was told")
    assert heard.read_text().splitlines() == [str(after)]
    (endpoint,) = place.ask("status")["endpoints"]
    assert (endpoint["name"], endpoint["state"]) == ("note", "active")
    place.write(subscribers=[])
    assert place.reload()["ok"]
    assert place.ask("status")["endpoints"] == []
    assert query(place.state, "SELECT removed_at IS NOT NULL FROM endpoint WHERE name = 'note'") == [(1,)]


def test_the_log_says_more_or_less_from_the_reload_on(place: Place, daemon: Daemon) -> None:
    place.write(logging={"level": "error"})
    assert place.reload()["changed"] == ["logging"]
    make_png(place.inbox / "unsaid.png")
    assert place.ask("wait") == {"roots": [place.inbox.name]}
    assert daemon.imported() == {}
    place.write()
    assert place.reload()["ok"]
    daemon.wait_for_import(make_png(place.inbox / "said.png"))


def test_what_is_wrong_is_refused_and_the_old_configuration_stays(place: Place, daemon: Daemon) -> None:
    secret = {"kind": "webhook", "name": "a", "url": "http://127.0.0.1:1/", "secret": {"file": "/nowhere/secret"}}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"watch": [place.root(place.folder), place.root(place.inbox)]}, "lies in"),
        ({"thumbnail": {}}, "thumbnail: is not a known key"),
        ({"watch": []}, "no folder is named"),
        ({"subscribers": [secret]}, "/nowhere/secret"),
        ({"watch": [place.root(place.other, name=place.inbox.name)]}, "which is still there"),
        ({"plugins": ["json"]}, "restart"),
    ]
    for keys, problem in wrong:
        place.write(**keys)
        told = place.reload()
        assert not told["ok"], keys
        assert problem in " ".join(told["problems"])
        assert told["changed"] == []
    assert place.ask("status")["reload"] == told
    metrics = run_damd("status", "--metrics", "--config", place.folder / "none.yaml", "--state", place.state)
    assert "damd_config_last_reload_successful 0.0" in metrics.out, "the state folder is enough to ask"
    assert "damd_config_last_reload_successful 0.0" in place.ask("metrics")["text"]
    daemon.wait_for_import(make_png(place.inbox / "a.png"))
    place.config.unlink()
    assert "cannot be read" in place.reload()["problems"][0]
    place.write()
    assert place.reload()["ok"]
    assert "damd_config_last_reload_successful 1.0" in place.ask("metrics")["text"]


@pytest.mark.parametrize("wrong", ["watch: [{path: 7}]\nstate: STATE\n", "watch: [\nstate: STATE\n"])
def test_who_asks_with_a_wrong_file_is_told_why_it_is_refused(place: Place, daemon: Daemon, wrong: str) -> None:
    place.config.write_text(wrong.replace("STATE", str(place.state)))
    asked = {"XDG_DATA_HOME": "/nowhere", "STATE_DIRECTORY": str(place.state)}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in asked.items():
            patched.setenv(name, value)
        told = run_damd("reload", "--config", place.config)
        assert told.code == 78
        assert f"{place.config}:" in told.err
        assert "is refused" in told.err
        shown = run_damd("status", "--config", place.config)
    assert shown.code == 0
    assert "refused" in shown.out.lower()
    daemon.wait_for("the new configuration is refused, the old one stays")


def test_what_needs_a_restart_is_named_and_the_rest_counts(place: Place, daemon: Daemon) -> None:
    keys = {"thumbnails": {"quality": 70}, "ingest": {"workers": 1}, "http": {"listen": "127.0.0.1:0"}}
    place.write(watch=[place.root(place.inbox), place.root(place.other)], **keys)
    told = place.reload()
    assert (told["ok"], told["changed"], told["restart"]) == (True, ["watch"], ["ingest", "thumbnails", "http"])
    daemon.wait_for_import(make_png(place.other / "a.png"))
    assert place.reload()["restart"] == ["ingest", "thumbnails", "http"], "it is said until it is done"


def test_a_file_in_flight_ends_though_its_root_is_left(tmp_path: Path, state: Path) -> None:
    place = Place(tmp_path, state, plugins=["slow_plugin"])
    (tmp_path / "slow_plugin.py").write_text(SLOW)
    go = tmp_path / "go"
    with running("--config", place.config, PYTHONPATH=tmp_path, GO=go) as daemon:
        daemon.wait_for("ready")
        picture = make_png(place.inbox / "a.png")
        until(lambda: place.ask("status")["in_work"] == 1, "the file is in work")
        place.write(watch=[place.root(place.other)])
        reloads: list[dict[str, Any]] = []
        reloading = threading.Thread(target=lambda: reloads.append(place.reload()))
        reloading.start()
        until(lambda: place.roots() == [], "the root is left")
        go.touch()
        daemon.wait_for_import(picture)
        reloading.join()
        assert reloads[0]["ok"]
        assert daemon.stop() == 0
    assert place.locations() == [(place.inbox.name, "a.png")]


def test_a_storm_of_signals_while_files_arrive_loses_nothing_and_doubles_nothing(place: Place, daemon: Daemon) -> None:
    heard = place.folder / "heard.jsonl"
    log = {"kind": "log", "file": str(heard)}
    for index in range(12):
        make_pngs(place.inbox / f"batch{index}", 10)
        rules = [f"*.never{index}"] if index % 3 else []
        roots = [place.root(place.inbox, ignore=rules)]
        place.write(watch=roots if index % 2 else [*roots, place.root(place.other)], subscribers=[log])
        daemon.process.send_signal(signal.SIGHUP)
    place.write(subscribers=[log])
    assert place.reload()["ok"]
    assert place.ask("wait") == {"roots": [place.inbox.name]}
    assert len(place.locations()) == 120
    assert_is_whole(place.state)
    events = [json.loads(line) for line in heard.read_text().splitlines()]
    ids = [event["id"] for event in events]
    assert len(set(ids)) == len(ids)
    stored = query(place.state, "SELECT data FROM event WHERE event_type = 'file.imported'")
    assert len([data for (data,) in stored if f"{place.inbox}/" in data]) == 120
