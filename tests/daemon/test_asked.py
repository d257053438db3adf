"""A daemon that is paused, resumed and waited for."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run_damd
from daemon.reloaded import Place, Served, served
from daemons import make_png, make_pngs, until

from damd.errors import DamdError

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by way of /proc")


HURRYING = """
import damd.watch.root
damd.watch.root._ABSENT_S = 0.1  # so often a root that is away is looked for

def setup(world):
    pass
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("asked")
    plugins = {"hurrying_plugin": HURRYING}
    with served(folder, Path(shutil.copytree(migrated, folder / "state")), plugins=plugins) as shared:
        yield shared


@pytest.fixture
def place(shared: Served) -> Place:
    return shared.move_on()


def test_while_it_is_paused_nothing_is_imported_and_all_of_it_afterwards(place: Place) -> None:
    assets = place.ask("status")["catalogue"]["assets"]
    since = place.ask("pause")["paused_since"]
    assert since is not None
    assert place.ask("pause")["paused_since"] == since, "who asks again changes nothing"
    make_pngs(place.inbox, 5)
    until(lambda: place.ask("status")["waiting"] == 5, "all of them have been seen")
    status = place.ask("status")
    assert (status["paused_since"], status["in_work"], status["catalogue"]["assets"]) == (since, 0, assets)
    assert "damd_paused 1.0" in place.ask("metrics")["text"]
    with pytest.raises(DamdError, match="paused"):
        place.ask("wait")
    assert place.ask("resume")["paused_since"] is None
    assert place.ask("wait") == {"roots": [place.inbox.name]}
    assert len(place.locations()) == 5


def test_to_wait_is_to_wait_for_all_that_was_there(place: Place) -> None:
    before = place.ask("status")["catalogue"]["failures"]
    for turn in range(3):
        make_pngs(place.inbox / f"turn{turn}", 8)
        (place.inbox / f"broken{turn}.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing of the kind %d" % turn)
        assert run_damd("wait", place.inbox.name, "--state", place.state).code == 0
        assert len(place.locations()) == 8 * (turn + 1)
        assert place.ask("status")["catalogue"]["failures"] == before + turn + 1


def test_a_file_that_is_still_written_is_waited_for(place: Place) -> None:
    whole = make_png(place.folder / "whole.png").read_bytes()
    with (place.inbox / "slow.png").open("wb") as file:
        file.write(whole[:40])
        file.flush()
        answers: list[dict[str, Any]] = []
        waiting = threading.Thread(target=lambda: answers.append(place.ask("wait")))
        waiting.start()
        until(lambda: place.ask("status")["waiting"] == 1, "it has been seen")
        assert answers == []
        file.write(whole[40:])
    waiting.join()
    assert answers == [{"roots": [place.inbox.name]}]
    assert len(place.locations()) == 1


def test_to_wait_for_what_is_not_there_ends(place: Place) -> None:
    with pytest.raises(DamdError, match=f"No root is called nas; those that are watched: {place.inbox.name}"):
        place.ask("wait", root="nas")
    away = place.inbox.rename(place.folder / "away")
    with pytest.raises(DamdError, match=place.inbox.name):
        place.ask("wait")
    away.rename(place.inbox)
    until(lambda: place.ask("status")["roots"][0]["backend"] is not None, "it is back")
    make_png(place.inbox / "a.png")
    assert place.ask("wait") == {"roots": [place.inbox.name]}
    assert len(place.locations()) == 1


def test_who_goes_away_while_he_waits_leaves_nothing_behind(shared: Served, place: Place) -> None:
    descriptors = Path(f"/proc/{shared.daemon.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with (place.inbox / "held.png").open("wb") as file:
        file.write(b"x")
        file.flush()
        for _ in range(3):
            told = run_damd("wait", "--state", place.state, "--timeout", "50ms")
            assert told.code == 1
    until(lambda: len(list(descriptors.iterdir())) <= before + 1, "their connections are closed")
