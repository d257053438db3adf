"""What goes wrong in the middle of a reload."""

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from daemon.reloaded import SLOW, Place, Served, served
from daemons import Daemon, make_png, running, until

from damd.errors import DamdError

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by way of /proc")

PLUGIN = """
import damd.catalogue.engine
from typing import ClassVar, Literal
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import DurableSettings, DurableSubscriber

class CrookedSettings(DurableSettings):
    kind: Literal["crooked"]
    fault: str

class Crooked(DurableSubscriber):
    kind: ClassVar[str] = "crooked"
    settings_type: ClassVar[type] = CrookedSettings

    def wants(self, event_type):
        if self._settings.fault == "wants":
            raise RuntimeError("wants nothing to do with it")
        return False

    async def __aenter__(self):
        if self._settings.fault == "enter":
            raise RuntimeError("will not begin")
        return self

    async def __aexit__(self, *_):
        if self._settings.fault == "leave":
            raise RuntimeError("will not end")

    async def receive(self, event):
        pass

SUBSCRIBERS["crooked"] = Crooked
damd.catalogue.engine._BUSY_TIMEOUT_S = 0.5  # so long a locked catalogue is waited for

def setup(world):
    pass
"""


PLUGINS = {"crooked_plugin": PLUGIN}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("refused")
    with served(folder, Path(shutil.copytree(migrated, folder / "state")), plugins=PLUGINS) as shared:
        yield shared


@pytest.fixture
def place(shared: Served) -> Place:
    return shared.move_on()


@pytest.fixture
def daemon(shared: Served, place: Place) -> Daemon:
    return shared.daemon


def crooked(fault: str) -> dict[str, str]:
    return {"kind": "crooked", "name": "crooked", "fault": fault}


@pytest.mark.parametrize("fault", ["wants", "enter"])
def test_a_subscriber_that_cannot_be_served_refuses_all_of_it(place: Place, daemon: Daemon, fault: str) -> None:
    both = [place.root(place.inbox, ignore=["*.tmp"]), place.root(place.other)]
    place.write(watch=both, subscribers=[crooked(fault)])
    told = place.reload()
    assert not told["ok"]
    assert "crooked" in told["problems"][0]
    assert place.roots() == [place.inbox.name]
    daemon.wait_for_import(make_png(place.inbox / "a.png"))


def test_one_that_does_not_leave_in_order_is_told_of_and_goes(place: Place, daemon: Daemon) -> None:
    place.write(subscribers=[crooked("leave"), crooked("none") | {"name": "good"}])
    assert place.reload()["ok"]
    place.write()
    assert place.reload()["ok"]
    daemon.wait_for("a subscriber could not be left in order")
    daemon.wait_for_import(make_png(place.inbox / "a.png"))


def test_while_the_catalogue_takes_nothing_a_reload_is_refused_and_the_roots_stay(place: Place, daemon: Daemon) -> None:
    renamed = f"renamed.{place.inbox.name}"
    place.write(watch=[place.root(place.inbox, name=renamed)])
    with closing(sqlite3.connect(place.state / "catalogue.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = place.reload()
        other.execute("ROLLBACK")
    assert not told["ok"]
    assert "catalogue" in told["problems"][0]
    assert place.roots() == [place.inbox.name]
    assert daemon.wait_for_import(make_png(place.inbox / "a.png"))["root"] == place.inbox.name
    assert place.reload()["ok"]
    assert daemon.wait_for_import(make_png(place.inbox / "b.png"))["root"] == renamed
    assert place.locations() == [(renamed, "a.png"), (renamed, "b.png")]


def test_a_root_that_is_changed_while_it_is_waited_for_is_told_of(place: Place, daemon: Daemon) -> None:
    with (place.inbox / "written.png").open("wb") as file:
        file.write(b"x")
        file.flush()
        answers: list[Any] = []

        def wait() -> None:
            try:
                answers.append(place.ask("wait"))
            except DamdError as error:
                answers.append(str(error))

        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: place.ask("status")["waiting"] == 1, "it is seen")
        place.write(watch=[place.root(place.inbox, ignore=["*.tmp"])])
        assert place.reload()["ok"]
        waiting.join()
    assert answers == [f"The root {place.inbox.name} is watched no more, or not as it was: ask again"]


def test_a_daemon_that_is_asked_to_stop_in_the_middle_of_a_reload_ends(tmp_path: Path, state: Path) -> None:
    plugins = PLUGINS | {"slow_plugin": SLOW}
    for name, code in plugins.items():
        (tmp_path / f"{name}.py").write_text(code)
    place = Place(tmp_path, state, plugins=list(plugins))
    place.write(subscribers=[crooked("none"), crooked("a") | {"name": "b"}])
    environment = {"PYTHONPATH": tmp_path, "GO": tmp_path / "go"}
    with running("--config", place.config, **environment) as daemon:
        daemon.wait_for("ready")
        make_png(place.inbox / "a.png")
        until(lambda: place.ask("status")["in_work"] == 1, "the file is in work")
        place.write(watch=[place.root(place.other)])
        reloading = threading.Thread(target=_ask_in_vain, args=[place])
        reloading.start()
        until(lambda: place.roots() == [], "the root is left")
        daemon.process.terminate()
        daemon.wait_for("stopping")
        environment["GO"].touch()
        assert daemon.end() == 0
        reloading.join()


def _ask_in_vain(place: Place) -> None:
    with pytest.raises(DamdError):
        place.reload()
