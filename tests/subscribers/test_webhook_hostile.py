"""Receivers that do what none should: each attempt ends, by its status or as a refusal, and the next one works."""

import gzip
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from subscribers.receiver import (
    Answer,
    Gate,
    Receiver,
    endless,
    imported,
    raw,
    reset,
    status,
    webhook_settings,
)

from damd.errors import DeliveryError
from damd.subscribers.http.answers import MOST_RESPONSE_BYTES
from damd.subscribers.webhook import WebhookSubscriber

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"
BAD = b"HTTP/1.1 400 Bad Request\r\n"
EMPTY = b"content-length: 0\r\n\r\n"
BOMB = gzip.compress(b"\0" * 10_000_000)


def sockets() -> set[str]:
    """The open ones of this process."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the folder's own is closed already
            found.add(str(each.readlink()))
    return {name for name in found if name.startswith("socket:")}


@pytest.fixture
async def no_socket_is_left() -> AsyncIterator[None]:
    before = sockets()
    yield
    await checkpoint()  # a transport closes its socket in the next turn of the event loop
    assert sockets() <= before


@pytest.fixture
def receiver(no_socket_is_left: None) -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


async def outcome(webhook: WebhookSubscriber) -> DeliveryError | None:
    with anyio.fail_after(15):
        try:
            await webhook.receive(imported())
        except DeliveryError as error:
            return error
    return None


async def is_usable(webhook: WebhookSubscriber, receiver: Receiver) -> None:
    """Every connection that there may be at a time still takes an event to the receiver."""
    receiver.usual = status(204)
    before = len(receiver.received)
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(webhook.receive, imported(number))
    assert {received.payload["data"]["asset_id"] for received in receiver.received[before:]} == set(range(20))


@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(raw(OK + b"content-length: 9\r\n\r\nshort", close=True), 200, id="a body that is too short"),
        pytest.param(raw(BAD + b"content-length: 9\r\n\r\nshort", close=True), 400, id="words that are too short"),
        pytest.param(raw(OK + b"content-length: 3\r\n\r\nlong words"), 200, id="a body that is too long"),
        pytest.param(raw(BAD + b"content-length: 3\r\n\r\nlong words"), 400, id="words that are too long"),
        pytest.param(raw(b"HTTP/1.1 204 No Content\r\n\r\ncontent"), 204, id="a body where there is none"),
        pytest.param(raw(BAD + EMPTY + OK + EMPTY), 400, id="two answers"),
        pytest.param(raw(OK + EMPTY + BAD + EMPTY), 200, id="two other answers"),
        pytest.param(raw(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), 200, id="chunks that are none"),
        pytest.param(raw(OK + b"content-length: 0\r\ncontent-length: 9\r\n\r\n"), None, id="two lengths"),
        pytest.param(raw(OK + b"content-length: -1\r\n\r\n"), None, id="a negative length"),
        pytest.param(raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK + EMPTY), 200, id="some patience"),
        pytest.param(raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), None, id="another protocol"),
        pytest.param(raw(b"HTTP/1.0 200 OK\r\n\r\nold", close=True), 200, id="an old protocol"),
        pytest.param(raw(b"HTTP/9.9 200 OK\r\n\r\n", close=True), 200, id="a newer protocol"),
        pytest.param(raw(b"SSH-2.0-OpenSSH_9.9 " + b"\x07" * 5000 + b"\r\n\r\n"), None, id="no http"),
        pytest.param(raw(b"", close=True), None, id="nothing"),
        pytest.param(raw(b"HTTP/1.1 20", close=True), None, id="half a line"),
        pytest.param(reset, None, id="a reset"),
        pytest.param(raw(OK + b"x: " + b"y" * 10**6 + b"\r\n\r\n"), None, id="a header of a megabyte"),
        pytest.param(endless(OK, b"x: y\r\n"), None, id="headers without end"),
        pytest.param(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), None, id="patience without end"),
        pytest.param(endless(OK + b"\r\n", b"x"), 200, id="a body without end"),
        pytest.param(endless(BAD + b"\r\n", b"x"), 400, id="words without end"),
        pytest.param(endless(BAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), 400, id="small chunks"),
    ],
)
async def test_whatever_comes_it_ends_and_the_next_works(
    receiver: Receiver, tmp_path: Path, answer: Answer, expected: int | None, reused: bool
) -> None:
    async with WebhookSubscriber(webhook_settings(tmp_path, receiver.url)) as webhook:
        if reused:
            await webhook.receive(imported())
        receiver.usual = answer
        error = await outcome(webhook)
        if expected is None:
            assert error is not None
            assert error.status_code is None
            assert error.is_down
            assert str(error).startswith("The receiver gave no answer: ")
            assert len(str(error)) < 300
            assert str(error).isprintable()
        else:
            assert (error.status_code if error else None) == (None if expected < 300 else expected)
        await is_usable(webhook, receiver)


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Wait for the other end to close."""
    with suppress(OSError):
        while handler.connection.recv(65536):
            pass
    handler.close_connection = True


def hanging_after(beginning: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(beginning)
        hang(handler)

    return answer


@pytest.mark.parametrize(
    ("beginning", "is_success"),
    [
        (b"", False),
        (OK, False),
        (OK + b"content-length: 9\r\n\r\nx", True),
        (BAD + b"content-length: 9\r\n\r\nx", False),
    ],
    ids=["nothing", "half a head", "half a body", "half of its words"],
)
async def test_one_that_hangs_is_left_in_time(
    receiver: Receiver, tmp_path: Path, beginning: bytes, is_success: bool
) -> None:
    receiver.usual = hanging_after(beginning)
    async with WebhookSubscriber(webhook_settings(tmp_path, receiver.url, timeout="100ms")) as webhook:
        error = await outcome(webhook)
        await receiver.is_left()
        receiver.usual = status(204)
        with anyio.fail_after(15):  # a slow machine may need more than one attempt
            while await outcome(webhook):
                pass
    if is_success:
        assert error is None
    elif beginning.startswith(BAD):
        assert error is not None
        assert error.status_code == 400
        assert error.response == "x"
    else:
        assert str(error) == "The receiver did not answer within 100ms"
        assert error is not None
        assert error.is_down


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 200 OK\r\nx:", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"])
async def test_a_trickle_is_bounded_by_the_same_time(receiver: Receiver, tmp_path: Path, beginning: bytes) -> None:
    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(beginning)
        while not receiver.closing.wait(0.01):
            handler.wfile.write(b"x")

    receiver.usual = trickle
    async with WebhookSubscriber(webhook_settings(tmp_path, receiver.url, timeout="200ms")) as webhook:
        error = await outcome(webhook)
        await receiver.is_left()
    assert str(error or "taken") == (
        "taken" if b"\r\n\r\n" in beginning else "The receiver did not answer within 200ms"
    )


async def test_a_handshake_that_hangs_is_left_in_time(no_socket_is_left: None, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        async with WebhookSubscriber(webhook_settings(tmp_path, url, timeout="100ms")) as webhook:
            error = await outcome(webhook)
        connection, _ = server.accept()
        with connection:
            await anyio.to_thread.run_sync(hear_the_end, connection)
    assert str(error) == "The receiver did not answer within 100ms"


def hear_the_end(connection: socket.socket) -> None:
    connection.settimeout(10)
    with suppress(ConnectionResetError):
        while connection.recv(65536):
            pass


@pytest.mark.parametrize("code", [200, 500])
async def test_a_gigabyte_for_an_answer_is_not_read(receiver: Receiver, tmp_path: Path, code: int) -> None:
    sent = 0
    ended = threading.Event()

    def flood(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(code)
        handler.send_header("content-length", str(10**9))
        handler.end_headers()
        try:
            while sent < 10**9:
                sent += handler.connection.send(b"x" * 65536)
        finally:
            ended.set()

    receiver.usual = flood
    async with WebhookSubscriber(webhook_settings(tmp_path, receiver.url)) as webhook:
        error = await outcome(webhook)
    assert (error.status_code, error.response) == (500, "x" * MOST_RESPONSE_BYTES) if error else code == 200
    assert await anyio.to_thread.run_sync(ended.wait, 10)
    assert sent < 50_000_000  # what the system's buffers took


@pytest.mark.parametrize("code", [200, 500])
async def test_what_is_packed_is_not_unpacked(receiver: Receiver, tmp_path: Path, code: int) -> None:
    receiver.usual = status(code, body=BOMB, content_encoding="gzip")
    async with WebhookSubscriber(webhook_settings(tmp_path, receiver.url)) as webhook:
        error = await outcome(webhook)
        await is_usable(webhook, receiver)
    assert receiver.received[0].headers["accept-encoding"] == "identity"
    assert (error is None) == (code == 200)
    assert error is None or len(error.response or "") <= len(BOMB)


async def test_connections_that_were_closed_meanwhile_cost_no_attempt(receiver: Receiver, tmp_path: Path) -> None:
    gate = Gate(receiver, status(204))
    receiver.usual = gate
    async with WebhookSubscriber(webhook_settings(tmp_path, receiver.url)) as webhook:
        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(webhook.receive, imported(number))
            await receiver.has_received(8)
            gate.open()
        assert receiver.connections == 8
        # As if each was closed at the moment in which it was used again.
        receiver.answers = [raw(b"", close=True)] * 8
        receiver.usual = status(204)
        assert await outcome(webhook) is None
        assert receiver.connections == 9


async def test_one_that_closes_every_connection_is_refused_in_the_end(receiver: Receiver, tmp_path: Path) -> None:
    async with WebhookSubscriber(webhook_settings(tmp_path, receiver.url)) as webhook:
        await webhook.receive(imported())
        receiver.usual = raw(b"", close=True)
        error = await outcome(webhook)
    assert error is not None
    assert error.is_down
    assert len(receiver.received) == 3  # with the connection from before, and with a new one


async def test_attempts_that_are_cancelled_leave_the_others_their_connections(
    receiver: Receiver, tmp_path: Path
) -> None:
    others: dict[str, Any] = {"concurrency": 2, "timeout": "1h"}
    receiver.usual = hang
    async with WebhookSubscriber(webhook_settings(tmp_path, receiver.url, **others)) as webhook:
        async with anyio.create_task_group() as tasks:
            for number in range(6):  # two are sent, four wait
                tasks.start_soon(webhook.receive, imported(number))
            await receiver.has_received(2)
            tasks.cancel_scope.cancel()
        await receiver.is_left()
        await is_usable(webhook, receiver)
