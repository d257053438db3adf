"""uvicorn as the daemon needs it: without signals and logs of its own, impatient, and gone when it is told to go."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 256
"""The descriptors are wanted for files; as many requests can be in work, each of which has little to do."""
LONGEST_HEAD_BYTES = 16 * 1024
EXCHANGE_S = 20.0
"""From a connection, or its last answer, to the end of its next one."""
_KEEP_ALIVE_S = 5
_GRACE_S = 0.5
_TICK_S = 1.0
_LOOK_S = 0.02


class ImpatientProtocol(H11Protocol):
    """One connection, which has its time for each request and its answer.

    uvicorn waits for ever for the rest of a request, and for who does not read what is answered.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Of asyncio."""
        super().connection_made(transport)
        self._give_time()
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Of uvicorn: the next request begins here."""
        self._give_time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Of uvicorn, which would answer again where a request's body is wrong that is being, or has been answered."""
        if self.cycle is None:
            super().send_400_response(msg)
            return
        self.cycle.disconnected = True
        self.transport.close()

    def _give_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(EXCHANGE_S, self.transport.abort)

    def _make_room(self) -> None:
        """Who asks nothing goes, the longest first, so that half requests, however many, shut nobody out."""
        idle = [each for each in self.connections if isinstance(each, ImpatientProtocol) and each.is_idle]
        min(idle, key=ImpatientProtocol.ends_at, default=self).transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being answered on it, and it is there."""
        if self.transport.is_closing():
            return False
        return not self.cycle or self.cycle.response_complete  # type: ignore[truthy-bool]  # None before any request

    def ends_at(self) -> float:
        """When its time is over, by the loop's clock."""
        return self._deadline.when() if self._deadline is not None else 0.0


class _Endable:
    """An application that can be left by anyio's rules: asyncio's cancellation would leave its threads behind."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self._answering: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as answering:
            self._answering.add(answering)
            try:
                await self._application(scope, receive, send)
            finally:
                self._answering.discard(answering)

    def end(self) -> None:
        for answering in self._answering:
            answering.cancel()


class Server(uvicorn.Server):
    """Serves until cancelled; then `close` must be awaited."""

    def __init__(self, application: ASGIApp, listening: Callable[[], None]) -> None:
        self._application = _Endable(application)
        super().__init__(_settings(self._application))
        self._listening = listening

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Of uvicorn: the signals are the daemon's."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Of uvicorn."""
        await super().startup(sockets)
        self._listening()

    async def main_loop(self) -> None:
        """Of uvicorn, which looks ten times a second whether it was told to end; here only the date is kept."""
        while True:
            await self.on_tick(0)
            await anyio.sleep(_TICK_S)

    async def close(self) -> None:
        """Take nothing more, let those who are being answered have a moment, and leave nothing behind.

        A thread that a page waits for is waited for: it may be in the catalogue.
        """
        if not self.started:
            return
        connections, tasks = self.server_state.connections, self.server_state.tasks
        for server in self.servers:
            server.close()
        for connection in list(connections):
            connection.shutdown()
        with anyio.move_on_after(_GRACE_S):
            while connections or tasks:  # noqa: ASYNC110 - uvicorn tells nobody when the last one is gone
                await anyio.sleep(_LOOK_S)
        while connections or tasks:
            for connection in list(connections):
                connection.transport.abort()
            self._application.end()
            await anyio.sleep(_LOOK_S)
        for server in self.servers:
            await server.wait_closed()


def _settings(application: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=ImpatientProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        # What fails is logged by the application; the rest is what strangers send, and what uvicorn begins and ends.
        log_level=logging.CRITICAL + 1,
        backlog=128,
        timeout_keep_alive=_KEEP_ALIVE_S,
        h11_max_incomplete_event_size=LONGEST_HEAD_BYTES,
    )
