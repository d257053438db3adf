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

    async def insist(self, change: Callable[[Session], Result]) -> Result:
        """Write, as often as it takes; a cancellation waits for the attempt that runs, and ends the rest."""
        while True:
            with anyio.CancelScope(shield=True), suppress(CatalogueUnavailableError):
                return await self.write(change)
            await anyio.sleep(self._pause_s)

    def _began(self, verb: str, error: CatalogueUnavailableError) -> None:
        if verb not in self._outages:
            _log.warning("deliveries wait for the catalogue", operation=verb, error=str(error))
        self._outages.add(verb)

    def _ended(self, verb: str) -> None:
        if verb in self._outages:
            _log.info("deliveries go on", operation=verb)
        self._outages.discard(verb)
