"""The state folder."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from damd import patience
from damd.checks import state as module
from damd.checks.state import look_at_state
from damd.config import Config

pytestmark = pytest.mark.anyio


async def test_a_folder_that_is_yet_to_be_made_is_well(tmp_path: Path) -> None:
    (finding,) = await look_at_state(Config(state=tmp_path / "state"))
    assert (finding.check, finding.health) == ("state", "ok")
    assert "GiB free" in finding.says
    assert not (tmp_path / "state").exists()


async def test_what_another_user_left_there_is_a_problem(
    public: Path, migrated: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    folder = public / "state"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    shutil.copy(migrated / "catalogue.sqlite3", folder)
    (folder / "catalogue.sqlite3").chmod(0o444)
    with unprivileged():
        (finding,) = await look_at_state(Config(state=folder))
    assert finding.health == "problem"
    assert finding.says == f"{folder}/catalogue.sqlite3 is closed to damd, which must write there"
    assert f"chown -R USER: {folder}" in (finding.advice or "")


async def test_one_that_cannot_be_made_is_a_problem_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (finding,) = await look_at_state(Config(state=tmp_path / "file" / "state"))
    assert finding.health == "problem"
    assert "is not a folder" in finding.says or "cannot be reached" in finding.says
    assert finding.advice


async def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOW_SPACE_BYTES", 2**80)
    (finding,) = await look_at_state(Config(state=tmp_path))
    assert finding.health == "warning"
    assert "make room" in (finding.advice or "")


async def test_sqlite_on_a_network_mount_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_network_mount", lambda _: True)  # no test can mount one
    (finding,) = await look_at_state(Config(state=tmp_path))
    assert finding.health == "problem"
    assert "would lie on a network mount" in finding.says


async def test_a_disk_that_does_not_answer_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_ANSWER_S", 0)
    (finding,) = await look_at_state(Config(state=tmp_path))
    assert finding.health == "problem"
    assert "does not answer" in finding.says
