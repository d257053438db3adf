"""What pages are made of: the daemon as they see it, and how they ask it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
from starlette.requests import Request
from starlette.responses import Response

from damd.metrics import Numbers

MOST_ASKING = 4
"""Pages that ask the daemon at the same time; the others wait for their turn."""
LONGEST_ANSWER_S = 10.0
_HALVES = re.compile("[\ud800-\udfff]")
"""Surrogates without their other half, as names of files have that are no UTF-8: no text that others read."""


class Pages(Protocol):
    """The daemon, as far as pages tell of it; each may raise a `damd.errors.DamdError` instead."""

    async def status(self) -> dict[str, Any]:
        """How it stands, in plain JSON values: the control socket's answer."""
        ...

    async def metrics(self) -> Numbers:
        """What there is to count."""
        ...

    async def not_ready(self) -> list[str]:
        """Why it cannot do its work at the moment, each in a sentence; none where it can."""
        ...


class Asking:
    """The daemon, asked by a few pages at a time, since each question may be one to the database.

    Attributes:
        thread: For what a page has to do off the event loop.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._turns = anyio.Semaphore(MOST_ASKING)
        self.thread = anyio.CapacityLimiter(1)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Pages]:
        """The daemon, for as long as one page asks it.

        Raises:
            TimeoutError: It took too long, the waiting for the turn included.
        """
        with anyio.fail_after(LONGEST_ANSWER_S):
            async with self._turns:
                yield self._pages


def asking(request: Request) -> Asking:
    """What the page asks that is asked for."""
    found: Asking = request.app.state.asking
    return found


class JsonResponse(Response):
    """JSON that every parser takes: what is no text in a name becomes ``U+FFFD``, as in `damd.events.readable`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Content to bytes.

        Raises:
            ValueError: It holds a number that is none.
        """
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        return _HALVES.sub("\ufffd", text).encode() + b"\n"
