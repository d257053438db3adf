"""Whether ``http.listen`` can be taken."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from damd import control
from damd.checks.findings import Finding
from damd.checks.listening import look_at_listening
from damd.config import Config

pytestmark = pytest.mark.anyio


async def look(state: Path, listen: str) -> Finding:
    (finding,) = await look_at_listening(Config.model_validate({"state": state, "http": {"listen": listen}}))
    return finding


@pytest.fixture
def held() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def test_where_nothing_listens_nothing_is_said(tmp_path: Path) -> None:
    assert await look_at_listening(Config(state=tmp_path)) == []


async def test_an_address_that_is_free_is_well(tmp_path: Path) -> None:
    finding = await look(tmp_path, "127.0.0.1:0")
    assert (finding.check, finding.health, finding.says) == ("http", "ok", "127.0.0.1:0 is free")


async def test_one_that_another_program_holds_is_a_problem(tmp_path: Path, held: str) -> None:
    finding = await look(tmp_path, held)
    assert finding.health == "problem"
    assert finding.says == f"damd cannot listen on {held}: Address already in use"
    assert "ss -ltnp" in (finding.advice or "")


async def test_one_that_the_daemon_here_holds_is_well(tmp_path: Path, held: str) -> None:
    async def status(_: object) -> dict[str, Any]:
        return {"pid": 4711}

    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda task_status: control.serve(tmp_path, {"status": status}, task_status=task_status))
        finding = await look(tmp_path, held)
        tasks.cancel_scope.cancel()
    assert finding.health == "ok"
    assert "process 4711" in finding.says


async def test_an_address_of_another_machine_is_a_problem(tmp_path: Path) -> None:
    finding = await look(tmp_path, "192.0.2.1:8420")
    assert finding.health == "problem"
    assert "an address of this machine" in (finding.advice or "")


async def test_whoever_listens_to_all_is_warned(tmp_path: Path) -> None:
    finding = await look(tmp_path, "0.0.0.0:0")
    assert finding.health == "warning"
    assert "without a password" in finding.says
