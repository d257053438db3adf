"""A receiver of webhooks that does whatever a receiver can do wrong; a program, so that nobody shares its processor.

    python misbehaving.py RECORD SECRET SEED MOOD

RECORD is a file that gets a line of JSON for all that happens, SECRET the file of the webhook's secret. The program
prints the port that it listens on, takes further moods from its standard input, a word in a line, and ends with it.
Its moods are ``well``, which takes everything, ``badly`` and ``gone``, which answers 410.
"""

import json
import random
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import anyio
import h11
from anyio import TypedAttributeProvider
from anyio.abc import SocketAttribute, SocketStream
from standardwebhooks import Webhook

WELL, BADLY, GONE = "well", "badly", "gone"

_STAYS_S = (6.0, 15.0)
_STAYS_AWAY_S = (0.3, 2.0)
_GIGABYTE = 1_000_000_000
_CHUNK = bytes(1_000_000)
_GARBAGE = (
    b"220 mail.example ESMTP\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    b"HTTP/1.1 two hundred\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\ncontent-length: many\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 300_000,
    b"HTTP/1.",
    b"\0" * 1000,
)


class Receiver:
    """One receiver, and the place to which it redirects.

    Args:
        record: Where it writes down what happens.
        verifier: Of its secret.
        rng: Where all its choices come from.
        mood: How it begins.
    """

    def __init__(self, record: TextIO, verifier: Webhook, rng: random.Random, mood: str) -> None:
        self.mood = mood
        self.rng = rng
        self.elsewhere = 0  # the port to which it redirects
        self._record = record
        self._verifier = verifier

    async def run(self) -> None:
        """Listen, and in its bad mood go away now and then, with every connection."""
        port = 0
        while True:
            async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port) as listener:
                if not port:
                    port = _attribute(listener, SocketAttribute.local_port)
                    print(port, flush=True)  # noqa: T201 - for who started the program
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(listener.serve, self._converse)
                    await self._stay()
                    tasks.cancel_scope.cancel()
            await anyio.sleep(self.rng.uniform(*_STAYS_AWAY_S))

    async def _stay(self) -> None:
        while True:
            await anyio.sleep(self.rng.uniform(*_STAYS_S))
            if self.mood == BADLY:
                return

    async def redirect_target(self) -> None:
        """Where nobody should ever come."""

        async def visited(stream: SocketStream) -> None:
            self.write("visit")
            await stream.aclose()

        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            self.elsewhere = _attribute(listener, SocketAttribute.local_port)
            await listener.serve(visited)

    async def _converse(self, stream: SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async with stream:
                while request := await _next_request(stream):
                    await self._answer(stream, *request)

    async def _answer(self, stream: SocketStream, headers: dict[str, str], body: bytes) -> None:
        message_id = headers.get("webhook-id", "")
        manner = self._choose()
        try:
            self._verifier.verify(body, headers)
        except Exception as error:  # noqa: BLE001 - whatever the package has against it
            self.write("fault", f"{type(error).__name__}: {error}: {headers} {body!r}")
        self.write("seen", message_id, body.decode(errors="replace"), manner)
        await _MANNERS[manner][0](Reply(self, stream, message_id))

    def _choose(self) -> str:
        if self.mood != BADLY:
            return {WELL: "takes", GONE: "is gone"}[self.mood]
        (manner,) = self.rng.choices(list(_MANNERS), [weight for _, weight in _MANNERS.values()])
        return manner

    def write(self, *what: str) -> None:
        """Write down what happened."""
        self._record.write(json.dumps(what) + "\n")


class Reply(NamedTuple):
    """Where one request is answered."""

    receiver: Receiver
    stream: SocketStream
    message_id: str

    @property
    def rng(self) -> random.Random:
        """Where all choices come from."""
        return self.receiver.rng

    async def send(self, status: int, **headers: object) -> None:
        """A complete head. One of 2xx takes the event, whatever follows."""
        with anyio.CancelScope(shield=True):  # who goes away between the two would forget what it took
            await self.stream.send(_head(status, headers))
            if 200 <= status < 300:
                self.receiver.write("taken", self.message_id)


def _head(status: int, headers: Mapping[str, object]) -> bytes:
    fields = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status} Whatever", *fields, "", ""]).encode()


def _attribute(provider: TypedAttributeProvider, attribute: Any) -> Any:
    return provider.extra(attribute)  # noqa: S610 - not Django's


async def _next_request(stream: SocketStream) -> tuple[dict[str, str], bytes] | None:
    """The head and the body, once both are complete; None where they never will be, since their sender was killed."""
    parser, headers, body = h11.Connection(h11.SERVER), {}, b""
    with suppress(h11.RemoteProtocolError):
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await stream.receive())
            elif isinstance(event, h11.Request):
                headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return headers, body
    return None


async def _takes(reply: Reply) -> None:
    await reply.send(204)


async def _fails(reply: Reply) -> None:
    excuse = b"not now" * reply.rng.randrange(5000)
    await reply.send(reply.rng.choice([400, 404, 500, 502, 503]), content_length=len(excuse))
    await reply.stream.send(excuse)


async def _redirects(reply: Reply) -> None:
    location = f"http://127.0.0.1:{reply.receiver.elsewhere}/elsewhere"
    await reply.send(reply.rng.choice([301, 302, 303, 307, 308]), location=location, content_length=0)


async def _asks_to_wait(reply: Reply) -> None:
    await reply.send(429, retry_after=reply.rng.choice([0, 1]), content_length=0)


async def _is_gone(reply: Reply) -> None:
    await reply.send(410, content_length=0)


async def _hangs(reply: Reply) -> None:
    await reply.stream.receive()  # until the sender has had enough


async def _resets(reply: Reply) -> None:
    connection: socket.socket = _attribute(reply.stream, SocketAttribute.raw_socket)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await anyio.aclose_forcefully(reply.stream)


async def _floods(reply: Reply) -> None:
    await reply.send(reply.rng.choice([200, 500]), content_length=_GIGABYTE)
    for _ in range(_GIGABYTE // len(_CHUNK)):
        await reply.stream.send(_CHUNK)


async def _trickles(reply: Reply) -> None:
    """A byte now and then, of the head or of what follows it."""
    is_headless = reply.rng.random() < 0.5
    if not is_headless:
        await reply.send(200, content_length=1_000_000)
    slow = _head(200, {"x": "y" * 10_000}) if is_headless else b"x" * 1_000_000
    for number in range(len(slow)):
        await reply.stream.send(slow[number : number + 1])
        await anyio.sleep(0.1)


async def _talks_garbage(reply: Reply) -> None:
    await reply.stream.send(reply.rng.choice(_GARBAGE))
    await reply.stream.aclose()


_MANNERS: dict[str, tuple[Callable[[Reply], Awaitable[None]], float]] = {
    "takes": (_takes, 50),
    "fails": (_fails, 10),
    "hangs": (_hangs, 4),
    "resets": (_resets, 7),
    "redirects": (_redirects, 7),
    "asks to wait": (_asks_to_wait, 7),
    "floods": (_floods, 4),
    "trickles": (_trickles, 4),
    "talks garbage": (_talks_garbage, 7),
    "is gone": (_is_gone, 0),
}
"""Each with its share in a hundred requests, in the bad mood."""


async def receive(receiver: Receiver) -> None:
    """Receive until the standard input ends."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receiver.redirect_target)
        tasks.start_soon(receiver.run)
        async for word in anyio.wrap_file(sys.stdin):
            receiver.mood = word.strip()
        tasks.cancel_scope.cancel()


def main(record: str, secret: str, seed: str, mood: str) -> None:
    """The program."""
    verifier = Webhook(Path(secret).read_text().strip())
    with Path(record).open("a", buffering=1) as lines:
        anyio.run(receive, Receiver(lines, verifier, random.Random(int(seed)), mood))  # noqa: S311 - no secret


if __name__ == "__main__":
    main(*sys.argv[1:])
