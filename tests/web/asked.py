"""A daemon as its pages see it, and its server on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import httpcore

from damd.metrics import Numbers, RootNumbers
from damd.web.serving import serve
from damd.web.settings import HttpSettings

INBOX = RootNumbers(watched=True, held=False, waiting=7, unwatched=0, renewals=0)


@dataclass
class Asked:
    """Answers what it is told to, fails with `error`, and waits where `hangs` is not set."""

    answer: dict[str, Any] = field(default_factory=lambda: {"version": "1.2", "roots": []})
    reasons: list[str] = field(default_factory=list)
    error: Exception | None = None
    hangs: bool = False
    asking: int = 0
    most_asking: int = 0
    was_cancelled: bool = False
    is_asked: anyio.Event = field(default_factory=anyio.Event)

    async def status(self) -> dict[str, Any]:
        await self._asked()
        return self.answer

    async def metrics(self) -> Numbers:
        await self._asked()
        return Numbers(version="1.2", files_in_work=0, roots={"inbox": INBOX})

    async def not_ready(self) -> list[str]:
        await self._asked()
        return self.reasons

    async def _asked(self) -> None:
        self.asking += 1
        self.most_asking = max(self.asking, self.most_asking)
        self.is_asked.set()
        try:
            if self.hangs:
                await anyio.sleep_forever()
            await anyio.lowlevel.checkpoint()
        except anyio.get_cancelled_exc_class():
            self.was_cancelled = True
            raise
        finally:
            self.asking -= 1
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def serving(asked: Asked, listen: str = "127.0.0.1:0") -> AsyncIterator[tuple[str, int]]:
    """Serve in a task group of its own, which is cancelled at the end; yields address and port."""
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            settings = HttpSettings(listen=listen)
            yield await tasks.start(lambda task_status: serve(settings, asked, task_status=task_status))
            tasks.cancel_scope.cancel()


async def get(
    where: tuple[str, int], path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> httpcore.Response:
    """One request on a connection of its own."""
    host = f"[{where[0]}]" if ":" in where[0] else where[0]
    async with httpcore.AsyncConnectionPool() as pool:
        named = {"host": f"{host}:{where[1]}"} | (headers or {})  # httpcore's has no brackets for IPv6
        return await pool.request(method, f"http://{host}:{where[1]}{path}", headers=list(named.items()))


async def say(where: tuple[str, int], data: bytes) -> bytes:
    """What the server answers to these very bytes, until it closes the connection."""
    async with await anyio.connect_tcp(*where) as stream:
        try:
            await stream.send(data)
            return b"".join([chunk async for chunk in stream])
        except anyio.BrokenResourceError:
            return b""
