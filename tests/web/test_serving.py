"""The server in the daemon's task group: where it listens, whom it endures, and how it goes."""

import asyncio
import errno
import logging
import signal
import socket
from contextlib import AsyncExitStack

import anyio
import anyio.abc
import pytest
from web.asked import Asked, get, say, serving

from damd.errors import ConfigurationError
from damd.web import server
from damd.web.pages import MOST_ASKING
from damd.web.serving import hosts

pytestmark = pytest.mark.anyio

HALF = b"GET /status HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


async def send_for_ever(stream: anyio.abc.SocketStream) -> None:
    while True:
        await stream.send(b"x" * 2**16)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8420", "127.0.0.1", "127.0.0.1:1", "[::1]:8420", "[::1]"],
)
async def test_on_loopback_it_answers_to_the_names_of_loopback(host: str) -> None:
    async with serving(Asked()) as where:
        assert (await get(where, "/healthz", headers={"host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8420",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "[::2]",
        "::1",
        "a b",
    ],
)
@pytest.mark.parametrize("page", ["/healthz", "/status"])
async def test_a_name_that_was_bound_to_loopback_by_a_stranger_is_answered_nothing(host: str, page: str) -> None:
    asked = Asked()
    async with serving(asked) as where:
        response = await get(where, page, headers={"host": host})
    assert (response.status, response.content) == (400, b"Invalid host header")
    assert not asked.is_asked.is_set()


async def test_two_hosts_are_refused_like_none() -> None:
    async with serving(Asked()) as where:
        for named in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
            answer = await say(where, b"GET /status HTTP/1.1\r\n" + named + b"Connection: close\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 400 ")


def test_who_listens_for_everybody_is_called_whatever_they_call_it() -> None:
    assert hosts("0.0.0.0") == hosts("::") == hosts("192.0.2.7") == ("*",)  # noqa: S104 - nothing is bound to it
    assert hosts("127.0.0.2") == ("localhost", "127.0.0.1", "[::1]", "127.0.0.2")


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_it_listens_on_ipv6() -> None:
    async with serving(Asked(), "[::1]:0") as where:
        assert where[0] == "::1"
        assert (await get(where, "/healthz")).content == b"ok\n"


async def test_an_address_in_use_is_a_fault_of_the_configuration_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.RaisesGroup(pytest.RaisesExc(ConfigurationError)) as raised:
            async with serving(Asked(), listen):
                raise AssertionError
    [error] = raised.value.exceptions
    assert str(error) == (
        f"http.listen: {listen} cannot be listened on (Address already in use): "
        "another program, or another damd, listens there: stop it, or choose another port"
    )


async def test_an_address_that_is_not_this_machine_s_is_one_too() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigurationError, match="this machine has no such address")):
        async with serving(Asked(), "192.0.2.7:8420"):
            raise AssertionError


async def test_a_port_that_is_not_allowed_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")  # as the system, to whoever is not root

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigurationError, match="choose one from 1024 on")):
        async with serving(Asked(), "127.0.0.1:80"):
            raise AssertionError


async def test_the_signals_and_the_logs_stay_the_daemon_s(caplog: pytest.LogCaptureFixture) -> None:
    handled = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with caplog.at_level(logging.DEBUG):
        async with serving(Asked()) as where:
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handled
            await get(where, "/healthz")
            await say(where, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_two_hundred_at_once_are_all_answered_and_ask_a_few_at_a_time() -> None:
    asked = Asked()
    answers: list[int] = []

    async def ask(page: str) -> None:
        answers.append((await get(where, page)).status)

    async with serving(asked) as where, anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(ask, ("/status", "/metrics", "/readyz", "/healthz")[number % 4])
    assert answers == [200] * 200
    assert asked.most_asking <= MOST_ASKING


async def test_half_requests_stop_neither_others_nor_the_end() -> None:
    async with AsyncExitStack() as stack:
        async with serving(Asked()) as where:
            slow = [await stack.enter_async_context(await anyio.connect_tcp(*where)) for _ in range(50)]
            for stream in slow:
                await stream.send(HALF)
            assert (await get(where, "/status")).status == 200
        for stream in slow:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()


async def test_more_half_requests_than_it_takes_shut_nobody_out() -> None:
    async with AsyncExitStack() as stack, serving(Asked()) as where:
        slow = []
        for _ in range(server.MOST_CONNECTIONS + 5):
            slow.append(await stack.enter_async_context(await anyio.connect_tcp(*where)))
            await slow[-1].send(HALF)
        assert (await get(where, "/healthz")).content == b"ok\n"
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await slow[0].receive()


async def test_who_is_being_answered_is_not_closed_for_who_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 1)
    asked = Asked(hangs=True)
    async with serving(asked) as where, await anyio.connect_tcp(*where) as first:
        await first.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.is_asked.wait()
        assert await say(where, HALF) == b""
        assert not asked.was_cancelled


async def test_health_is_told_while_every_page_that_asks_hangs() -> None:
    asked = Asked(hangs=True)
    async with serving(asked) as where, AsyncExitStack() as stack:
        for _ in range(MOST_ASKING + 1):
            stream = await stack.enter_async_context(await anyio.connect_tcp(*where))
            await stream.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.is_asked.wait()
        assert (await get(where, "/healthz")).content == b"ok\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HALF,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + HALF,
        b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\nabc",
    ],
    ids=["silent", "half", "half of a second", "a body that never comes"],
)
async def test_a_connection_has_its_time(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "EXCHANGE_S", 0.05)
    async with serving(Asked()) as where:
        await say(where, data)  # ends when the server ends it


async def test_who_does_not_read_the_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "EXCHANGE_S", 0.2)
    asked = Asked(answer={"much": "x" * 2**24})
    async with serving(asked) as where, await anyio.connect_tcp(*where) as stream:
        await stream.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asked.is_asked.wait()
        with pytest.raises(anyio.BrokenResourceError):
            await send_for_ever(stream)


@pytest.mark.parametrize(
    "data",
    [
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2**20 + b"\r\n\r\n",
        b"GET /" + b"x" * 2**20 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 2**16 + b"\r\n",
        b"\x00" * 2**17,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500 + b"nonsense\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n",
    ],
    ids=["header", "target", "headers", "zeroes", "chunks", "length", "pipeline", "http2", "websocket"],
)
async def test_nonsense_concerns_nobody_else(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Asked()) as where:
        answer = await say(where, data)
        assert answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 200", b""}
        assert (await get(where, "/healthz")).status == 200
    assert not caplog.records


async def test_who_is_being_answered_at_the_end_is_left_and_so_are_all_tasks() -> None:
    asked = Asked(hangs=True)
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        async with serving(asked) as where:
            stream = await stack.enter_async_context(await anyio.connect_tcp(*where))
            await stream.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asked.is_asked.wait()
        assert asyncio.all_tasks() == before
        assert asked.was_cancelled
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
    with pytest.raises(OSError, match="All connection attempts failed"):
        await anyio.connect_tcp(*where)


async def test_the_same_port_can_be_listened_on_again_at_once() -> None:
    async with serving(Asked()) as where:
        assert (await get(where, "/healthz")).status == 200
    async with serving(Asked(), f"127.0.0.1:{where[1]}") as again:
        assert again == where
        assert (await get(again, "/healthz")).status == 200
