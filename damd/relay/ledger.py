"""The catalogue as the relay uses it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio
import structlog
from sqlmodel import Session

from damd.catalogue.store import Catalogue
from damd.errors import CatalogueUnavailableError

_log = structlog.get_logger(__name__)

Result = TypeVar("Result")

LONGEST_FAREWELL_S = 5.0
"""For so long a relay that is ended waits to write what came of its last attempts."""


class Ledger:
    """The catalogue as the relay uses it: of an outage, the log tells once, however often it is met."""

    def __init__(self, catalogue: Catalogue, pause_s: float) -> None:
        self._catalogue = catalogue
        self._pause_s = pause_s
        self._outages: set[str] = set()  # a full disk stops writing alone

    async def read(self, query: Callable[[Session], Result]) -> Result:
        """As the catalogue's own."""
        try:
            result = await self._catalogue.read(query)
        except CatalogueUnavailableError as error:
            self._began("read", error)
            raise
        self._ended("read")
        return result

    async def write(self, change: Callable[[Session], Result]) -> Result:
        """As the catalogue's own."""
        try:
            result = await self._catalogue.write(change)
        except CatalogueUnavailableError as error:
            self._began("write", error)
            raise
        self._ended("write")
        return result

    async def write_until_done(self, change: Callable[[Session], Result]) -> Result:
        """Write, as often as it takes; a cancellation waits for the attempt that runs, and ends the rest."""
        while True:
            written = await self._write_shielded(change)
            if written:
                return written[0]
            await anyio.sleep(self._pause_s)

    async def write_at_the_end(self, change: Callable[[Session], object]) -> None:
        """Write, once, cancelled or not; not at all where the catalogue took nothing the last time."""
        if "write" not in self._outages:
            with anyio.move_on_after(LONGEST_FAREWELL_S, shield=True), suppress(CatalogueUnavailableError):
                await self.write(change)

    async def _write_shielded(self, change: Callable[[Session], Result]) -> list[Result]:
        """One attempt: the result, or nothing.

        Cancelled, it is given `LONGEST_FAREWELL_S` to begin; the catalogue itself waits for the end of what has begun,
        so that a database which somebody else has locked is waited for as long as its driver does.
        """
        written: list[Result] = []

        async def hasten() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                shield.deadline = anyio.current_time() + LONGEST_FAREWELL_S

        try:
            async with anyio.create_task_group() as tasks:
                with anyio.CancelScope(shield=True) as shield, suppress(CatalogueUnavailableError):
                    tasks.start_soon(hasten)
                    written.append(await self.write(change))
                if shield.cancelled_caught:
                    self._outages.add("write")  # it has had its time
                tasks.cancel_scope.cancel()
        except anyio.get_cancelled_exc_class():
            if not written:  # else it is told what was written; whatever it awaits next is cancelled
                raise
        return written

    def _began(self, verb: str, error: CatalogueUnavailableError) -> None:
        if verb not in self._outages:
            _log.warning("deliveries wait for the catalogue", operation=verb, error=str(error))
        self._outages.add(verb)

    def _ended(self, verb: str) -> None:
        if verb in self._outages:
            _log.info("deliveries go on", operation=verb)
        self._outages.discard(verb)
