"""How fast what waits is delivered, and what a dead endpoint costs the others.

Real events in a real SQLite on the disk, the daemon's own relay and webhooks; the receiver is a process of its own
that answers as cheaply as can be, and answers nothing at all where it is asked to hang.

    python benchmarks/deliveries.py --events 10000

Three things are told: the rate of one webhook, the rate of the relay alone with a subscriber that takes everything
at once, and how much longer nine webhooks take beside a tenth that never answers than without it.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import functools
import multiprocessing
import pstats
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import anyio
import structlog
from sqlmodel import Session

import damd.media  # noqa: F401 - its tables belong to the schema
from damd.catalogue.endpoints import attach, endpoint_states
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.outbox import awaits_fan_out, store_event
from damd.catalogue.schema import upgrade
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Table
from damd.events import Event, FileImportedEvent, Subscription
from damd.relay.relay import Relay
from damd.settings import Settings
from damd.subscribers.base import Subscriber
from damd.subscribers.webhook import WebhookSettings, WebhookSubscriber

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the standard's own example
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Answering(asyncio.Protocol):
    """Answers 204 to whatever was sent whole; on ``/hang``, nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing."""
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Take what came, and answer each request that it ends."""
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if not end or len(rest) < length:
                return
            self._received = rest[length:]
            if not head.startswith(b"POST /hang "):
                self._transport.write(ANSWER)  # type: ignore[attr-defined]  # a stream's transport can


def receive(listener: socket.socket) -> None:
    """The receiver's process."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, sock=listener)
        await server.serve_forever()

    asyncio.run(serve())


class Spool:
    """A durable subscriber that takes everything at once."""

    kind: ClassVar[str] = "spool"
    settings_type: ClassVar[type[Settings]] = Settings
    durable: ClassVar[bool] = True
    name: ClassVar[str] = "spool"

    def wants(self, event_type: str) -> bool:  # noqa: ARG002 - the protocol's
        """All."""
        return True

    async def receive(self, event: Event) -> None:
        """Taken."""


def webhook(name: str, url: str, folder: Path) -> WebhookSubscriber:
    """A webhook with the defaults of the configuration."""
    file = folder / "secret"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return WebhookSubscriber(WebhookSettings.model_validate({"name": name, "url": url, "secret": {"file": file}}))


def imported(number: int) -> FileImportedEvent:
    """An event as an import makes it."""
    return FileImportedEvent(
        asset_id=number,
        path=f"/pictures/2024/05/IMG_{number:05}.jpg",
        root="pictures",
        sha256=f"{number:064x}",
        size_bytes=4_000_000 + number,
        mime_type="image/jpeg",
        family="image",
        duration_s=0.25,
    )


async def seconds(folder: Path, subscribers: Sequence[Subscriber], count: int, dead: str | None = None) -> float:
    """How long it takes until all but the dead one have everything."""
    engine = make_engine(CatalogueSettings(), folder)
    upgrade(engine, Table.metadata)
    catalogue = Catalogue(engine)

    def prepare(session: Session) -> None:
        attach(session, {each.name: Subscription(each.kind) for each in subscribers}, at=datetime.now(UTC))
        for number in range(count):
            store_event(session, imported(number + 1))

    await catalogue.write(prepare)

    def is_done(session: Session) -> bool:
        return not awaits_fan_out(session) and all(
            each["name"] == dead for each in endpoint_states(session) if each["owed"]
        )

    async with AsyncExitStack() as stack:
        for each in subscribers:
            if isinstance(each, WebhookSubscriber):
                await stack.enter_async_context(each)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        began = time.perf_counter()
        tasks.start_soon(Relay(catalogue, subscribers, poll_interval=timedelta(seconds=1)).run)
        while not await catalogue.read(is_done):  # noqa: ASYNC110 - the deliveries are in the database alone
            await anyio.sleep(0.05)
        took = time.perf_counter() - began
        tasks.cancel_scope.cancel()
    engine.dispose()
    return took


def measure(subscribers: Sequence[Subscriber], count: int, dead: str | None = None, *, profile: bool = False) -> float:
    """`seconds` in a folder and an event loop of its own."""
    profiler = cProfile.Profile() if profile else None
    with tempfile.TemporaryDirectory() as folder, profiler or nullcontext():
        took = anyio.run(functools.partial(seconds, Path(folder), subscribers, count, dead))
    if profiler:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
    return took


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="print where the time of one webhook goes, and end")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    count = arguments.events
    with tempfile.TemporaryDirectory() as scratch, socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        host = f"http://127.0.0.1:{listener.getsockname()[1]}"
        receiver = multiprocessing.Process(target=receive, args=(listener,), daemon=True)
        receiver.start()
        one = functools.partial(webhook, folder=Path(scratch))
        if arguments.profile:
            measure([one("one", f"{host}/")], count, profile=True)
            return
        for _ in range(arguments.rounds):
            print(f"relay alone  {count / measure([Spool()], count):7.0f} events/s", flush=True)
            print(f"one webhook  {count / measure([one('one', f'{host}/')], count):7.0f} events/s", flush=True)
            nine = [one(f"hook-{number}", f"{host}/") for number in range(9)]
            alone = measure(nine, count // 10)
            with_dead = measure([*nine, one("tenth", f"{host}/hang")], count // 10, "tenth")
            print(f"nine webhooks {alone:5.2f} s   and a dead one {with_dead:5.2f} s   ", end="")
            print(f"ratio {with_dead / alone:.2f}", flush=True)
        receiver.terminate()


if __name__ == "__main__":
    main()
