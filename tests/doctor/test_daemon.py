"""What the daemon's answer to ``status`` gives away."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from damd import __version__
from damd.checks.findings import Finding
from damd.config import Config
from damd.doctor.course import look_at_course
from damd.doctor.daemon import ask_daemon, look_at_daemon
from damd.doctor.reloads import look_at_reloads
from damd.doctor.watching import look_at_watching
from damd.watch.state import NO_WATCHES_LEFT

pytestmark = pytest.mark.anyio


def answer(**values: Any) -> dict[str, Any]:
    return {
        "version": __version__,
        "pid": 4711,
        "started_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        "paused_since": None,
        "reload": None,
        "roots": [],
        "waiting": 0,
        "oldest_s": None,
    } | values


def root(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "path": f"/srv/{name}", "backend": "native", "unwatched": 0} | values


def health(findings: list[Finding]) -> list[str]:
    return [f"{each.health}" for each in findings]


async def test_without_a_daemon_there_is_no_answer_and_no_fault(tmp_path: Path) -> None:
    (finding,), told = await ask_daemon(Config(state=tmp_path))
    assert told is None
    assert (finding.check, finding.health) == ("daemon", "ok")


async def test_what_is_no_daemon_is_a_warning(tmp_path: Path) -> None:
    async def babble(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"hello\n")

    async with (
        await anyio.create_unix_listener(tmp_path / "control.sock") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, babble)
        (finding,), told = await ask_daemon(Config(state=tmp_path))
        tasks.cancel_scope.cancel()
    assert (told, finding.health) == (None, "warning")


async def test_the_damd_that_is_installed_is_well() -> None:
    (finding,) = await look_at_daemon(Config(), answer())
    assert finding.health == "ok"
    assert finding.says == f"damd {__version__} runs here, process 4711"


@pytest.mark.parametrize("values", [{"version": "0.0.1"}, {"started_at": "2001-02-03T04:05:06+00:00"}])
async def test_another_version_or_older_files_ask_for_a_restart(values: dict[str, Any]) -> None:
    (finding,) = await look_at_daemon(Config(), answer(**values))
    assert finding.health == "warning"
    assert (finding.advice or "").startswith("restart it")


async def test_one_that_is_paused_or_at_a_halt_is_told() -> None:
    assert await look_at_course(Config(), answer()) == []
    (paused,) = await look_at_course(Config(), answer(paused_since="2026-01-02T03:04:05Z"))
    assert "2026-01-02T03:04:05Z" in paused.says
    assert "damd resume" in (paused.advice or "")
    (halted,) = await look_at_course(Config(), answer(waiting=3, oldest_s=7260.5))
    assert halted.says == "3 files wait, the oldest for 2h1m"


async def test_a_reload_that_was_refused_or_asks_for_a_restart_is_told() -> None:
    def reload(**values: Any) -> dict[str, Any]:
        return answer(reload={"at": "then", "ok": True, "problems": [], "changed": [], "restart": []} | values)

    assert await look_at_reloads(Config(), answer()) == []
    assert health(await look_at_reloads(Config(), reload())) == ["ok"]
    (refused,) = await look_at_reloads(Config(), reload(ok=False, problems=["damd.yaml:1:2: watch: no"]))
    assert refused.health == "warning"
    assert refused.says.endswith("goes on with the former one: damd.yaml:1:2: watch: no")
    (waits,) = await look_at_reloads(Config(), reload(restart=["ingest", "catalogue"]))
    assert waits.says == "It waits for a restart, for the sake of ingest, catalogue"


async def test_roots_that_the_daemon_and_the_configuration_do_not_share_are_told(tmp_path: Path) -> None:
    config = Config.model_validate({"watch": [{"path": tmp_path / "a"}, {"path": tmp_path / "b"}]})
    assert await look_at_watching(config, answer(roots=[root("a"), root("b")])) == []
    assert await look_at_watching(Config(), answer(roots=[root("a")])) == []
    (finding,) = await look_at_watching(config, answer(roots=[root("a"), root("c")]))
    assert finding.says == "The daemon alone has c; the configuration alone has b"


async def test_a_root_that_is_silent_is_told_unless_that_has_been_said(tmp_path: Path) -> None:
    gone = root("gone", path=str(tmp_path / "gone"), backend=None)
    held = root("held", path=str(tmp_path), backend=None, held="much is missing")  # of which the catalogue tells
    silent_one = root("a", path=str(tmp_path), backend=None)
    (silent,) = await look_at_watching(Config(), answer(roots=[silent_one, gone, held]))
    assert silent.check == "watch of root a"
    assert f"does not watch {tmp_path} now" in silent.says


@pytest.mark.parametrize(("number", "folders"), [(1, "1 folder,"), (7, "7 folders,")])
async def test_folders_without_watches_are_told(tmp_path: Path, number: int, folders: str) -> None:
    older = root("a", path=str(tmp_path), unwatched=number)
    newer = older | {"unwatched_because": [f"/srv/a: {NO_WATCHES_LEFT}"]}
    for each in (older, newer):
        (finding,) = await look_at_watching(Config(), answer(roots=[each]))
        assert folders in finding.says
        assert "max_user_watches" in (finding.advice or "")


async def test_folders_that_are_closed_are_told_apart_from_limits(tmp_path: Path) -> None:
    because = ["/srv/a/b: Permission denied", "/srv/a/c: Permission denied"]
    values = root("a", path=str(tmp_path), unwatched=2, unwatched_because=because)
    (closed,) = await look_at_watching(Config(), answer(roots=[values]))
    assert closed.says == "The daemon cannot look into 2 folders, such as /srv/a/b: Permission denied"
    assert "let the user that damd runs as" in (closed.advice or "")
    values |= {"unwatched": 1, "unwatched_because": because[:1]}
    (closed,) = await look_at_watching(Config(), answer(roots=[values]))
    assert closed.says == "The daemon cannot look into /srv/a/b: Permission denied"
    values |= {"unwatched": 9, "unwatched_because": [*because, f"/srv/a/d: {NO_WATCHES_LEFT}"]}
    assert len(await look_at_watching(Config(), answer(roots=[values]))) == 2


async def test_whoever_may_not_look_into_the_state_folder_is_told_that(tmp_path: Path) -> None:
    is_root = os.geteuid() == 0
    await anyio.Path(tmp_path).chmod(0)
    if is_root:
        os.seteuid(65534)  # whom nothing of root's lets in
    try:
        (finding,), told = await ask_daemon(Config(state=tmp_path))
    finally:
        if is_root:
            os.seteuid(0)
        await anyio.Path(tmp_path).chmod(0o700)
    assert told is None
    assert finding.says == f"Whether one runs cannot be seen: the state folder {tmp_path} is closed to this user"
