"""The daemon as its users meet it: real processes, real folders, and signals."""

import hashlib
import os
import re
import shutil
import signal
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from command_line import run_damd
from daemons import (
    DEADLINE_S,
    Daemon,
    assert_is_whole,
    locations,
    make_pngs,
    query,
    run_process,
    running,
    until,
)
from pictures import make_picture
from subscribers.receiver import Receiver, webhook_settings

from damd import control

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by way of /proc")

PLUGIN = """
import anyio
import anyio.to_thread
import functools
import os
import threading
import damd.daemon.state_folder
import damd.daemon.supervision
import damd.fingerprint
import damd.relay.relay
import damd.watch.root
from datetime import timedelta
from damd.events import FileImportedEvent
from damd.ingest.ingest_file import IngestFileCommand
from damd.world import handles_event

@handles_event(FileImportedEvent)
def note(event: FileImportedEvent) -> None:
    with open(os.environ["NOTES"], "a") as notes:
        notes.write(f"{event.path}\\n")

async def take_all_threads(event: FileImportedEvent) -> None:
    threads = anyio.to_thread.current_default_thread_limiter()
    while threads.available_tokens:
        threads.acquire_on_behalf_of_nowait(object())
    print("taken", flush=True)

async def hang(cmd: IngestFileCommand) -> None:
    print("hanging", flush=True)
    await anyio.sleep_forever()

def hash_unless_dead(hash_file, path, nofollow):
    if os.fspath(path).startswith(os.environ["DEAD"]):
        print("hanging", flush=True)
        threading.Event().wait()
    return hash_file(path, nofollow)

def setup(world):
    if "HURRY" in os.environ:
        damd.watch.root._ABSENT_S = damd.watch.root._PAUSE_S = damd.daemon.state_folder._MIND_STATE_S = 0.1
        often = {"poll_interval": timedelta(milliseconds=50), "min_interval": timedelta(milliseconds=50)}
        damd.relay.relay.Relay.__init__.__kwdefaults__.update(often)
    if "NOTIFY_SOCKET" in os.environ:
        damd.daemon.supervision._BUSY_STATUS_EVERY_S = damd.daemon.supervision._STATUS_EVERY_S = 0.1
    if "DEAD" in os.environ:
        damd.fingerprint._hash_file = functools.partial(hash_unless_dead, damd.fingerprint._hash_file)
    world.register_system(note)
    if "TAKE" in os.environ:
        world.register_system(take_all_threads, event_type=FileImportedEvent)
    if "HANG" in os.environ:
        world.register_system(hang, command_type=IngestFileCommand)
"""


class Running:
    """A daemon that several tests share: two roots, a plugin, a listener in systemd's place."""

    def __init__(self, folder: Path) -> None:
        self.inbox = folder / "inbox"
        self.flat = folder / "flat"
        self.outside = folder / "outside"
        # Within a root: its previews are pictures, and none of them may be ingested.
        self.state = self.inbox / "state"
        self.notes = folder / "notes"
        self.config = folder / "damd.yaml"
        for made in (self.inbox, self.flat, self.outside):
            made.mkdir(parents=True)
        (folder / "plugins").mkdir()
        (folder / "plugins" / "noting_plugin.py").write_text(PLUGIN)
        self.there = make_pngs(self.inbox / "there", 3)
        inbox = {"path": str(self.inbox), "ignore": ["drafts/", "*.raw.png"]}
        flat = {"path": str(self.flat), "name": "plain", "recursive": False}
        settings = {"state": str(self.state), "watch": [inbox, flat], "plugins": ["noting_plugin"]}
        self.config.write_text(yaml.safe_dump(settings))
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(os.fspath(folder / "notify"))
        self.manager.settimeout(DEADLINE_S)
        self.daemon = Daemon(
            *("--config", self.config), PYTHONPATH=folder / "plugins", NOTES=self.notes, NOTIFY_SOCKET=folder / "notify"
        )

    def location(self, path: Path) -> int | None:
        root, folder = ("plain", self.flat) if path.is_relative_to(self.flat) else ("inbox", self.inbox)
        return locations(self.state).get((root, str(path.relative_to(folder))))

    def status(self) -> dict[str, Any]:
        return anyio.run(control.ask, self.state, "status")

    def come_to_rest(self) -> None:
        until(lambda: (each := self.status())["waiting"] == each["in_work"] == 0, "nothing to do")


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    # Not pytest's own folder: a socket's path is short.
    with tempfile.TemporaryDirectory() as folder:
        shared = Running(Path(folder).resolve())
        try:
            shared.daemon.wait_for("ready")  # whichever test a process begins with
            yield shared
        finally:
            shared.manager.close()  # first: what nobody has read would be in the way of what is told at the end
            status = shared.daemon.stop()
        assert status == 0
        assert [line for line in shared.daemon.lines if line.get("level") not in ("info", "debug")] == []
        assert_is_whole(shared.state)


def test_systemd_hears_when_the_watches_are_armed_and_when_all_is_scanned(shared: Running) -> None:
    assert shared.manager.recv(4096) == b"READY=1"
    at_rest = b"STATUS=Watching 2 folders"
    while (told := shared.manager.recv(4096)) != at_rest:
        assert told.startswith(at_rest), "it watches, and compares or imports"


def test_what_was_there_before_is_imported(shared: Running) -> None:
    for path in shared.there:
        shared.daemon.wait_for_import(path)


def test_a_file_that_arrives_is_imported_and_told_in_one_line_of_json(shared: Running) -> None:
    path = make_picture(shared.inbox / "photo.jpg")
    line = shared.daemon.wait_for_import(path)
    assert line.items() >= {"level": "info", "root": "inbox", "mime_type": "image/jpeg", "family": "image"}.items()
    assert line["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert line["size_bytes"] == path.stat().st_size
    assert line["asset_id"] == shared.location(path)
    assert 0 < line["duration_s"] < DEADLINE_S
    assert line["event_id"].startswith("evt_")


def test_a_burst_in_new_folders_is_imported_completely(shared: Running) -> None:
    paths = make_pngs(shared.inbox / "burst" / "of" / "files", 100)
    for path in paths:
        shared.daemon.wait_for_import(path)
    assert len({shared.location(path) for path in (paths[0], paths[49], paths[99])}) == 3


def test_a_folder_that_is_moved_in_is_imported_with_all_that_is_in_it(shared: Running) -> None:
    made = make_pngs(shared.outside / "album", 10)
    (shared.outside / "album").rename(shared.inbox / "album")
    for path in made:
        shared.daemon.wait_for_import(shared.inbox / path.relative_to(shared.outside))


def test_a_hard_link_a_copy_and_a_new_name_are_locations_of_the_same_asset(shared: Running) -> None:
    original = make_picture(shared.inbox / "original.jpg", size=(100, 80))
    asset_id = shared.daemon.wait_for_import(original)["asset_id"]
    link, copy, renamed = (shared.inbox / f"{name}.jpg" for name in ("link", "copy", "renamed"))
    link.hardlink_to(original)
    shutil.copy2(original, copy)
    original.rename(renamed)
    for path in (link, copy, renamed):
        until(lambda path=path: shared.location(path) == asset_id, f"the location {path}")  # type: ignore[misc]  # mypy: no default's type


def test_a_file_that_is_written_slowly_is_imported_once_and_complete(shared: Running) -> None:
    source = make_picture(shared.outside / "slow.png", size=(300, 200))
    content = source.read_bytes()
    path = shared.inbox / "slow.png"
    with path.open("wb", buffering=0) as file:
        for part in range(8):
            file.write(content[part * len(content) // 8 : (part + 1) * len(content) // 8])
            time.sleep(0.05)  # the writer's own pauses, shorter than `settle`
    line = shared.daemon.wait_for_import(path)
    assert line["sha256"] == hashlib.sha256(content).hexdigest()
    shared.come_to_rest()
    assert len([each for each in shared.daemon.logged("file.imported") if each["path"] == str(path)]) == 1


def test_a_file_that_is_overwritten_moves_to_the_asset_of_its_new_content(shared: Running) -> None:
    path = make_picture(shared.inbox / "edited.png", size=(90, 60))
    before = shared.daemon.wait_for_import(path)["asset_id"]
    make_picture(path, size=(91, 60))
    until(lambda: shared.location(path) not in (before, None), "the new content")


def test_a_root_that_is_not_recursive_and_ignored_paths_are_left_alone(shared: Running) -> None:
    left = [shared.flat / "below", shared.inbox / "drafts"]
    for folder in left:
        folder.mkdir()
        make_picture(folder / "a.png", size=(70, 71))
    left.append(make_picture(shared.inbox / "b.raw.png", size=(70, 72)))
    for path in (shared.flat / "c.png", shared.inbox / "d.png"):
        make_picture(path, size=(70, 73 + len(path.parent.name)))
        shared.daemon.wait_for_import(path)
    shared.come_to_rest()
    known = [path for _, path in locations(shared.state)]
    assert not [path for path in known if "raw" in path or path.startswith(("below/", "drafts/"))]


def test_damd_s_own_state_within_a_root_is_not_ingested(shared: Running) -> None:
    shared.daemon.wait_for_import(make_picture(shared.inbox / "fresh.png", size=(50, 51)))
    shared.come_to_rest()
    assert not [path for _, path in locations(shared.state) if path.startswith("state/")]
    assert query(shared.state, "SELECT count(*) FROM failure") == [(0,)]


def test_damd_ingest_beside_the_daemon_gives_a_file_the_same_key(shared: Running) -> None:
    path = make_picture(shared.inbox / "beside.png", size=(60, 61))
    ingested = run_damd("ingest", "--state", shared.state, "--json", path)
    assert ingested.code == 0
    shared.come_to_rest()
    assert shared.location(path) == ingested.objects[0]["asset_id"]
    assert [key for key in locations(shared.state) if key[1].endswith("beside.png")] == [("inbox", "beside.png")]


def test_the_status_of_a_running_daemon(shared: Running) -> None:
    shared.come_to_rest()
    (status,) = run_damd("status", "--json", "--state", shared.state).objects
    assert status["pid"] == shared.daemon.process.pid
    assert status["state"] == str(shared.state)
    at_work = {"backend": "native", "scanning": False, "held": None, "renewals": 0, "unwatched": 0, "waiting": 0}
    settings = [root.pop("settings") for root in status["roots"]]
    assert [each["recursive"] for each in settings] == [True, False]
    assert set(settings[0]) == {"ignore", "include", "recursive", "follow_symlinks"}
    for root, (name, path) in zip(status["roots"], [("inbox", shared.inbox), ("plain", shared.flat)], strict=True):
        assert root == root | at_work | {"name": name, "path": str(path)}
    assert status["roots"][0]["outcomes"]["imported"] >= 1
    assert status["roots"][0]["imported_bytes"] > 0
    assert status["config"] == str(shared.config)
    assert status["paused_since"] is status["reload"] is None
    assert status["endpoints"] == []
    assert status["oldest_s"] == 0
    assert status["since_start"]["failed"] == 0
    assert status["since_start"]["imported"] >= 1
    assert status["catalogue"]["assets"] == query(shared.state, "SELECT count(*) FROM entity")[0][0]
    metrics = run_damd("status", "--metrics", "--state", shared.state)
    assert 'damd_root_watched{root="inbox"} 1.0\n' in metrics.out
    assert 'damd_root_held{root="plain"} 0.0\n' in metrics.out
    assert re.search(r"^damd_events_waiting \d+\.0$", metrics.out, re.MULTILINE)
    words = run_damd("status", "--state", shared.state)
    assert (words.code, words.err) == (0, "")
    assert f"process {shared.daemon.process.pid}" in words.out


def test_a_plugin_is_told_of_imports(shared: Running) -> None:
    path = make_picture(shared.inbox / "for the plugin.png", size=(40, 41))
    shared.daemon.wait_for_import(path)
    until(lambda: str(path) in shared.notes.read_text().splitlines(), "the plugin's note")


def test_a_second_daemon_on_the_same_state_is_told_who_runs(shared: Running) -> None:
    shared.daemon.wait_for("ready")
    second = run_process("run", "--watch", shared.outside, "--state", shared.state)
    assert second.returncode == 1
    assert f"process {shared.daemon.process.pid}" in second.stderr
    assert str(shared.state) in second.stderr


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def state(tmp_path: Path, migrated: Path) -> Path:
    """With an empty catalogue, which a daemon opens sooner than it makes one."""
    return Path(shutil.copytree(migrated, tmp_path / "state"))


RunHurried = Callable[..., AbstractContextManager[Daemon]]


@pytest.fixture
def run_hurried(state: Path, tmp_path: Path) -> RunHurried:
    """Run a daemon over these folders that does several times a second what it does every few seconds."""
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "hurrying_plugin.py").write_text(PLUGIN)
    environment: dict[str, str | Path] = {"PYTHONPATH": tmp_path / "plugins", "NOTES": tmp_path / "notes", "HURRY": "1"}

    def run(*folders: Path, more: dict[str, Any] | None = None, **root: str) -> AbstractContextManager[Daemon]:
        watch = [{"path": str(folder), "settle": "50ms"} | root for folder in folders]
        keys: dict[str, Any] = {"state": str(state), "watch": watch, "ingest": {"workers": 1}}
        (tmp_path / "damd.yaml").write_text(yaml.safe_dump(keys | {"plugins": ["hurrying_plugin"]} | (more or {})))
        return running("--config", tmp_path / "damd.yaml", **environment)

    return run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_when_its_work_in_hand_is_done(
    inbox: Path, state: Path, tmp_path: Path, number: signal.Signals
) -> None:
    for index in range(40):
        make_picture(inbox / f"{index}.jpg", size=(400 + index, 300))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # By way of the open folder, since a socket's path is short.
        folder = os.open(tmp_path, os.O_RDONLY)
        manager.bind(f"/proc/self/fd/{folder}/notify")
        manager.settimeout(DEADLINE_S)
        asked = {"NOTIFY_SOCKET": f"/proc/{os.getpid()}/fd/{folder}/notify", "WATCHDOG_USEC": "400000"}
        with running("--watch", inbox, "--state", state, **asked) as daemon:
            daemon.wait_for("file.imported")
            if number == signal.SIGINT:
                os.killpg(daemon.process.pid, number)  # as a terminal does for Ctrl-C
            else:
                daemon.process.send_signal(number)
            assert daemon.end() == 0
        os.close(folder)
        told = [manager.recv(4096)]
        while told[-1] != b"STOPPING=1":
            told.append(manager.recv(4096))
        assert {b"READY=1", b"WATCHDOG=1"} <= set(told)
    (stopping,), (stopped,) = daemon.logged("stopping"), daemon.logged("stopped")
    assert 1 <= stopped["imported"] == len(daemon.imported()) == len(locations(state))
    if stopped["imported"] < 40:
        assert stopping["in_work"] >= 1
    assert [line for line in daemon.lines if line.get("level") not in ("info", "debug")] == []
    assert_is_whole(state)
    assert run_damd("status", "--state", state).code == 69


def test_a_second_signal_ends_the_daemon_at_once(inbox: Path, state: Path, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "hanging_plugin.py").write_text(PLUGIN)
    (tmp_path / "damd.yaml").write_text("plugins: [hanging_plugin]")
    make_picture(inbox / "a.png")
    arguments = ("--config", tmp_path / "damd.yaml", "--watch", inbox, "--state", state)
    with running(*arguments, PYTHONPATH=tmp_path / "plugins", NOTES=tmp_path / "notes", HANG="1") as daemon:
        assert daemon.process.stdout is not None
        assert daemon.process.stdout.readline() == b"hanging\n"
        assert len(daemon.processes()) > 1
        daemon.process.terminate()
        assert daemon.wait_for("stopping")["in_work"] == 1
        daemon.process.terminate()  # at once: part of the same request

        def insist() -> bool:
            daemon.process.terminate()
            return daemon.process.poll() is not None

        until(insist, "the second thought")
        assert daemon.end() == 128 + signal.SIGTERM
    assert daemon.logged("stopped at once")


STUBBORN = """
import anyio
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import DurableSettings, DurableSubscriber

class Settings(DurableSettings):
    kind: str = "stubborn"

class Stubborn(DurableSubscriber):
    kind = "stubborn"
    settings_type = Settings

    async def receive(self, event):
        print("begun", flush=True)
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                print("not yet", flush=True)
                await anyio.sleep_forever()

SUBSCRIBERS["stubborn"] = Stubborn

def setup(world):
    pass
"""


def test_a_second_signal_is_heard_to_the_very_end_whoever_takes_his_time_then(
    inbox: Path, state: Path, tmp_path: Path
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "stubborn_plugin.py").write_text(STUBBORN)
    config = {"plugins": ["stubborn_plugin"], "subscribers": [{"kind": "stubborn", "name": "stubborn"}]}
    (tmp_path / "damd.yaml").write_text(yaml.safe_dump(config))
    make_picture(inbox / "a.png")
    arguments = ("--config", tmp_path / "damd.yaml", "--watch", inbox, "--state", state)
    with running(*arguments, PYTHONPATH=tmp_path / "plugins") as daemon:
        assert daemon.process.stdout is not None
        assert daemon.process.stdout.readline() == b"begun\n"
        daemon.process.terminate()
        assert daemon.process.stdout.readline() == b"not yet\n"

        def insist() -> bool:
            daemon.process.terminate()
            return daemon.process.poll() is not None

        until(insist, "the second thought")
        assert daemon.end() == 128 + signal.SIGTERM
    assert daemon.logged("stopped at once")


def test_a_root_that_does_not_answer_holds_up_neither_the_others_nor_the_end(
    inbox: Path, state: Path, tmp_path: Path
) -> None:
    dead, config, plugins = tmp_path / "dead", tmp_path / "damd.yaml", tmp_path / "plugins"
    for folder in (dead, plugins):
        folder.mkdir()
    for index in range(60):
        make_picture(dead / f"{index}.png", size=(16, 16 + index))
    (plugins / "dead_plugin.py").write_text(PLUGIN)
    config.write_text("plugins: [dead_plugin]\ningest:\n  timeout: 500ms\n  workers: 2")
    arguments = ("--config", config, "--watch", dead, "--watch", inbox, "--state", state)
    with running(*arguments, PYTHONPATH=plugins, NOTES=tmp_path / "notes", DEAD=dead) as daemon:
        assert daemon.process.stdout is not None
        told = b""
        while told.count(b"hanging") < 4:  # from several threads, whose lines may run together
            line = daemon.process.stdout.readline()
            assert line
            told += line
        for picture in [make_picture(inbox / f"{index}.png", size=(32, 16 + index)) for index in range(8)]:
            daemon.wait_for_import(picture)
        assert daemon.stop() == 0, "what hangs does so for ever, and is not waited for"
    assert daemon.logged("left for the next start")[0]["in_work"] >= 4
    assert daemon.logged("left behind: a file system that does not answer")
    assert daemon.logged("stopped")[0]["imported"] == 8
    assert [root for root, _ in locations(state)] == ["inbox"] * 8
    assert query(state, "SELECT count(*) FROM failure") == [(0,)]


def test_systemd_is_told_that_damd_lives_though_every_thread_that_is_shared_is_taken(
    inbox: Path, state: Path, tmp_path: Path
) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "taking_plugin.py").write_text(PLUGIN)
    (tmp_path / "damd.yaml").write_text("plugins: [taking_plugin]")
    make_picture(inbox / "a.png")
    name = uuid.uuid4().hex
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(DEADLINE_S)
        asked = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "100000", "TAKE": "1", "NOTES": str(tmp_path / "notes")}
        arguments = ("--config", tmp_path / "damd.yaml", "--watch", inbox, "--state", state)
        with running(*arguments, PYTHONPATH=tmp_path / "plugins", **asked) as daemon:
            assert daemon.process.stdout is not None
            assert daemon.process.stdout.readline() == b"taken\n"
            for _ in range(20):  # more than the system keeps for somebody who does not listen
                until(lambda: manager.recv(4096) == b"WATCHDOG=1", "a sign of life")


def test_under_nohup_a_closed_terminal_does_not_end_the_daemon(inbox: Path, state: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which the daemon inherits
    try:
        with running("--watch", inbox, "--state", state) as daemon:
            daemon.wait_for("ready")
            daemon.process.send_signal(signal.SIGHUP)
            picture = make_picture(inbox / "after.png")
            assert daemon.wait_for_import(picture)["root"] == "inbox"
            assert daemon.stop() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_catalogue_that_is_removed_ends_the_daemon_instead_of_being_written_to_unseen(
    inbox: Path, state: Path, run_hurried: RunHurried
) -> None:
    with run_hurried(inbox) as daemon:
        daemon.wait_for("ready")
        (state / "catalogue.sqlite3").unlink()
        assert daemon.end() == 1
    assert "catalogue.sqlite3 was removed or replaced while damd ran" in daemon.lines[-1]["event"]


def test_nothing_is_lost_or_doubled_when_the_daemon_is_killed_in_the_middle(inbox: Path, state: Path) -> None:
    for index in range(40):
        make_picture(inbox / f"{index}.jpg", size=(300 + index // 2, 200))  # two of each content
    with running("--watch", inbox, "--state", state) as daemon:
        daemon.wait_for("file.imported", 5)
        daemon.process.kill()
        assert daemon.end() == -signal.SIGKILL
    assert len(locations(state)) < 40
    with running("--watch", inbox, "--state", state) as daemon:
        until(lambda: len(locations(state)) == 40, "40 locations")
        assert daemon.stop() == 0
    assert set(locations(state)) == {("inbox", f"{index}.jpg") for index in range(40)}
    assert len(query(state, "SELECT 1 FROM entity")) == 20
    drafts = state / "previews" / ".drafts"
    for draft in drafts.iterdir():
        draft.unlink()  # those of the killed one are swept a day later
    assert_is_whole(state)


def test_a_root_that_is_not_there_is_waited_for_and_lost_ones_come_back(
    inbox: Path, state: Path, tmp_path: Path, run_hurried: RunHurried
) -> None:
    late = tmp_path / "late"
    (tmp_path / "file").touch()
    with run_hurried(inbox, late, tmp_path / "file") as daemon:
        daemon.wait_for("ready")
        daemon.wait_for("root.held", 2)
        held = {line["root"]: line["reason"] for line in daemon.logged("root.held")}
        assert held.keys() == {"late", "file"}
        assert str(late) in held["late"]
        assert "No such file" in held["late"]
        assert "Not a directory" in held["file"]
        late.mkdir()
        first = make_picture(late / "a.png")
        daemon.wait_for_import(first)
        daemon.wait_until(lambda: [line["root"] for line in daemon.logged("root released")] == ["late"], what="release")
        late.rename(tmp_path / "away")
        daemon.wait_for("root.held", 3)
        assert query(state, "SELECT count(*) FROM location WHERE missing_since IS NOT NULL") == [(0,)]
        (tmp_path / "away").rename(late)
        daemon.wait_for_import(make_picture(late / "b.png", size=(33, 44)))
        assert daemon.stop() == 0
    assert query(state, "SELECT count(*) FROM location WHERE missing_since IS NOT NULL") == [(0,)]
    assert len(daemon.imported()) == 2


def test_a_move_a_change_and_a_deletion_are_told(inbox: Path, state: Path, run_hurried: RunHurried) -> None:
    a, b, c = (
        make_picture(inbox / f"{name}.png", size=size)
        for name, size in (("a", (31, 32)), ("b", (33, 34)), ("c", (35, 36)))
    )
    with run_hurried(inbox) as daemon:
        daemon.wait_for("file.imported", 3)
        (inbox / "album").mkdir()
        a.rename(inbox / "album" / "a.png")
        make_picture(b, size=(37, 38))
        c.unlink()
        moved, changed, missing = (daemon.wait_for(f"file.{what}") for what in ("moved", "changed", "missing"))
        until(lambda: run_damd("status", "--json", "--state", state).objects[0]["waiting"] == 0, "nothing to do")
        assert daemon.stop() == 0
    imported = daemon.imported()
    assert (moved["previous_path"], moved["path"]) == (str(a), str(inbox / "album" / "a.png"))
    assert (changed["path"], changed["asset_id"]) == (str(b), 4)
    assert changed["previous_asset_id"] != changed["asset_id"]
    assert (missing["path"], missing["asset_id"]) == (str(c), imported[str(c)]["asset_id"])
    rows = query(state, "SELECT path, missing_since IS NULL FROM location ORDER BY path")
    assert rows == [(b"album/a.png", 1), (b"b.png", 1), (b"c.png", 0)]
    assert len(daemon.logged("file.imported")) == 4


def test_more_than_may_go_missing_is_held_until_it_is_accepted(
    inbox: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_hurried: RunHurried
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "plugins")  # for what runs within this process
    for number in range(150):
        (inbox / f"{number}.txt").write_text(str(number))
    with run_hurried(inbox, unsupported="catalogue") as daemon:
        daemon.wait_for("file.imported", 150)
        assert daemon.stop() == 0
    for number in range(120):
        (inbox / f"{number}.txt").unlink()
    with run_hurried(inbox, unsupported="catalogue") as daemon:
        assert "120 of 150 known files are not there" in daemon.wait_for("root.held")["reason"]
        assert not daemon.logged("file.missing")
        accepted = run_damd("roots", "accept", "inbox", "--config", tmp_path / "damd.yaml")
        assert accepted.code == 0
        daemon.wait_for("file.missing", 120)
        daemon.wait_for("root released")
        assert daemon.stop() == 0
    assert query(state, "SELECT count(*) FROM location WHERE missing_since IS NOT NULL") == [(120,)]
    assert query(state, "SELECT held_since, accepted_at FROM root") == [(None, None)]


def test_a_disabled_webhook_hears_nothing_and_once_it_is_enabled_what_it_missed(
    inbox: Path, state: Path, tmp_path: Path, run_hurried: RunHurried
) -> None:
    with Receiver() as receiver:
        gallery = webhook_settings(tmp_path, receiver.url).model_dump(mode="json", include={"kind", "name", "url"})
        gallery["secret"] = {"file": str(tmp_path / "webhook.secret")}
        subscribers = {"subscribers": [{"kind": "log"}, gallery]}
        config = tmp_path / "asking.yaml"  # without the plugin, which is for the daemon alone
        config.write_text(yaml.safe_dump({"watch": [{"path": str(inbox)}]} | subscribers))
        options = ("--config", config, "--state", state)

        def owed() -> int:
            return int(query(state, "SELECT count(*) FROM delivery WHERE delivered_at IS NULL")[0][0])

        with run_hurried(inbox, more=subscribers) as daemon:
            daemon.wait_for("ready")
            assert "  gallery: webhook (active, 0 owed)\n" in run_damd("status", *options).out
            assert run_damd("webhooks", "disable", "gallery", *options).code == 0
            daemon.wait_for("endpoint is disabled: what it is owed waits")
            daemon.wait_for_import(make_picture(inbox / "a.png", size=(8, 9)))
            until(lambda: owed() == 1, "the delivery that waits")
            assert "    DISABLED since 2" in run_damd("status", *options).out
            metrics = run_damd("status", "--metrics", *options).out
            assert 'damd_deliveries_owed{endpoint="gallery"} 1.0\n' in metrics
            assert 'damd_endpoint_disabled{endpoint="gallery"} 1.0\n' in metrics
            assert not receiver.received
            enabled = run_damd("webhooks", "enable", "gallery", *options)
            assert enabled.err.endswith("It is owed 1 event: the daemon offers what is due at once.\n")
            until(lambda: owed() == 0, "the delivery")
            (endpoint,) = run_damd("status", "--json", *options).objects[0]["endpoints"]
            assert (endpoint["owed"], endpoint["last_delivered_at"] is None) == (0, False)
            assert daemon.stop() == 0
        assert [each.payload["data"]["path"] for each in receiver.received] == [str(inbox / "a.png")]
