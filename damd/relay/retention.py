"""How long what was delivered is remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import anyio
import structlog

from damd.catalogue.outbox import forget_events
from damd.errors import CatalogueUnavailableError
from damd.relay.ledger import Ledger

_log = structlog.get_logger(__name__)

FORGOTTEN_TOGETHER = 500
_EVERY = timedelta(hours=1)


class Retention:
    """Forgets old events, at the start and then every hour.

    Args:
        ledger: Where they are.
        keep: How old they become; it may be changed.
        clock: The present moment.
    """

    def __init__(self, ledger: Ledger, keep: timedelta, clock: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self.keep = keep
        self._clock = clock
        self._done_at: datetime | None = None
        self._woken = anyio.Event()

    def wake(self) -> None:
        """Look whether it is time."""
        if self._is_due(self._clock()):
            self._woken.set()

    async def run(self) -> None:
        """Forget until cancelled."""
        while True:
            self._woken = anyio.Event()
            now = self._clock()
            if self._is_due(now):
                with suppress(CatalogueUnavailableError):  # the next look tries again
                    await self._forget(now)
                    self._done_at = now
            await self._woken.wait()

    def _is_due(self, now: datetime) -> bool:
        # An hour that has not begun yet is of a clock that went back.
        return self._done_at is None or not self._done_at <= now < self._done_at + _EVERY

    async def _forget(self, now: datetime) -> None:
        events, parked = 0, Counter[str]()
        change = partial(forget_events, before=now - self.keep, limit=FORGOTTEN_TOGETHER)
        is_more = True
        try:
            while is_more:
                # One transaction each: whoever waits for the writer is let in between.
                forgotten = await self._ledger.write(change)
                events += forgotten.events
                parked.update(forgotten.parked)
                is_more = forgotten.events == FORGOTTEN_TOGETHER
        finally:
            if events:
                _log.info("old events forgotten", events=events)
            for subscriber, count in sorted(parked.items()):
                _log.warning("forgotten before it was delivered", subscriber=subscriber, deliveries=count)
