"""Whether ``http.listen`` can be taken."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from damd.checks.findings import Finding
from damd.checks.listening import look_at_listening
from damd.config import Config

pytestmark = pytest.mark.anyio


async def look(state: Path, listen: str) -> Finding:
    (finding,) = await look_at_listening(Config.model_validate({"state": state, "http": {"listen": listen}}))
    return finding


@pytest.fixture
def held() -> Iterator[str]:
    """The address of a program that hangs up on whoever calls."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_hang_up, args=[server])
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def _hang_up(server: socket.socket) -> None:
    server.accept()[0].close()


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


@pytest.mark.parametrize(("folder", "health"), [("state", "ok"), ("another", "problem")])
async def test_one_that_a_damd_holds_is_well_if_it_is_the_daemon_here(tmp_path: Path, folder: str, health: str) -> None:
    answer = json.dumps({"pid": 4711, "state": str(tmp_path / folder)}).encode()

    async def tell(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, tell)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - this is no Django
        finding = await look(tmp_path / "state", f"127.0.0.1:{port}")
        tasks.cancel_scope.cancel()
    assert finding.health == health
    assert ("process 4711" in finding.says) is (health == "ok")


async def test_an_address_of_another_machine_is_a_problem(tmp_path: Path) -> None:
    finding = await look(tmp_path, "192.0.2.1:8420")
    assert finding.health == "problem"
    assert "an address of this machine" in (finding.advice or "")


async def test_whoever_listens_to_all_is_warned(tmp_path: Path) -> None:
    finding = await look(tmp_path, "0.0.0.0:0")
    assert finding.health == "warning"
    assert "without a password" in finding.says
