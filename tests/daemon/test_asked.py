"""A daemon that is paused, resumed and waited for."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from command_line import run_damd
from daemons import Daemon, locations, make_pngs, running, until
from pictures import make_picture

from damd import control
from damd.errors import DamdError

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by way of /proc")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def daemon(inbox: Path, state: Path) -> Iterator[Daemon]:
    with running("--watch", inbox, "--state", state) as daemon:
        daemon.wait_for("ready")
        yield daemon
        assert daemon.stop() == 0


def ask(state: Path, command: str, **details: Any) -> dict[str, Any]:
    return anyio.run(lambda: control.ask(state, command, waits=True, **details))


def test_while_it_is_paused_nothing_is_imported_and_all_of_it_afterwards(
    daemon: Daemon, inbox: Path, state: Path
) -> None:
    since = ask(state, "pause")["paused_since"]
    assert since is not None
    assert ask(state, "pause")["paused_since"] == since, "who asks again changes nothing"
    make_pngs(inbox, 5)
    until(lambda: ask(state, "status")["waiting"] == 5, "all of them have been seen")
    status = ask(state, "status")
    assert (status["paused_since"], status["in_work"], status["catalogue"]["assets"]) == (since, 0, 0)
    assert "damd_paused 1.0" in ask(state, "metrics")["text"]
    with pytest.raises(DamdError, match="paused"):
        ask(state, "wait")
    assert ask(state, "resume")["paused_since"] is None
    assert ask(state, "wait") == {"roots": ["inbox"]}
    assert len(locations(state)) == 5


def test_to_wait_is_to_wait_for_all_that_was_there(daemon: Daemon, inbox: Path, state: Path) -> None:
    for turn in range(3):
        make_pngs(inbox / f"turn{turn}", 8)
        (inbox / f"broken{turn}.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing of the kind %d" % turn)
        assert run_damd("wait", "inbox", "--state", state).code == 0
        assert len(locations(state)) == 8 * (turn + 1)
        assert ask(state, "status")["catalogue"]["failures"] == turn + 1


def test_a_file_that_is_still_written_is_waited_for(daemon: Daemon, inbox: Path, state: Path) -> None:
    whole = make_picture(inbox.parent / "whole.png").read_bytes()
    with (inbox / "slow.png").open("wb") as file:
        file.write(whole[:40])
        file.flush()
        answers: list[dict[str, Any]] = []
        waiting = threading.Thread(target=lambda: answers.append(ask(state, "wait")))
        waiting.start()
        until(lambda: ask(state, "status")["waiting"] == 1, "it has been seen")
        assert answers == []
        file.write(whole[40:])
    waiting.join()
    assert answers == [{"roots": ["inbox"]}]
    assert len(locations(state)) == 1


def test_to_wait_for_what_is_not_there_ends(daemon: Daemon, inbox: Path, state: Path) -> None:
    with pytest.raises(DamdError, match="No root is called nas; those that are watched: inbox"):
        ask(state, "wait", root="nas")
    away = inbox.rename(inbox.parent / "away")
    with pytest.raises(DamdError, match="inbox"):
        ask(state, "wait")
    away.rename(inbox)
    until(lambda: ask(state, "status")["roots"][0]["backend"] is not None, "it is back")
    make_picture(inbox / "a.png")
    assert ask(state, "wait") == {"roots": ["inbox"]}
    assert len(locations(state)) == 1


def test_who_goes_away_while_he_waits_leaves_nothing_behind(daemon: Daemon, inbox: Path, state: Path) -> None:
    descriptors = Path(f"/proc/{daemon.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with (inbox / "held.png").open("wb") as file:
        file.write(b"x")
        file.flush()
        for _ in range(3):
            told = run_damd("wait", "--state", state, "--timeout", "300ms")
            assert told.code == 1
    until(lambda: len(list(descriptors.iterdir())) <= before + 1, "their connections are closed")
