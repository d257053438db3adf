"""What systemd hears of the daemon: its status in a sentence, that it lives, that it needs more time."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.to_thread
import structlog

from damd import systemd

_log = structlog.get_logger(__name__)

_STATUS_EVERY_S = 5.0
_BUSY_STATUS_EVERY_S = 1.0
_EXTEND_EVERY_S = 5.0
_EXTENSION_S = 30.0


class Supervision:
    """The daemon's side of systemd's supervision.

    Args:
        sentence: How the daemon stands, on a line for a person.
        is_stuck: Whether what is in work has made no progress for far too long.
    """

    def __init__(self, sentence: Callable[[], str], is_stuck: Callable[[], bool]) -> None:
        self._sentence = sentence
        self._is_stuck = is_stuck
        self._told: str | None = None
        # A thread of its own: whatever else waits, systemd must not take this process for dead.
        self._thread = anyio.CapacityLimiter(1)

    async def tell(self, tell: Callable[..., bool], *arguments: object) -> None:
        """Call one of `damd.systemd`'s functions."""
        await anyio.to_thread.run_sync(tell, *arguments, limiter=self._thread)

    async def ready(self) -> None:
        """The watches are armed, or a reload is over."""
        await self.tell(systemd.ready)
        await self.tell_status()

    async def tell_status(self) -> bool:
        """How it stands, if that is not what was told last; returns whether it is."""
        sentence = self._sentence()
        if sentence == self._told:
            return False
        self._told = sentence
        await self.tell(systemd.status, sentence)
        return True

    async def keep_status(self) -> None:
        """Tell until cancelled; where something goes on, more often."""
        is_news = False
        while True:
            await anyio.sleep(_BUSY_STATUS_EVERY_S if is_news else _STATUS_EVERY_S)
            is_news = await self.tell_status()

    async def feed_watchdog(self) -> None:
        """Tell that it lives, for as long as somebody watches and what is in work goes on."""
        interval_s = systemd.watchdog_interval_s()
        was_stuck = False
        while interval_s is not None:
            is_stuck = self._is_stuck()
            if is_stuck and not was_stuck:
                _log.error("no file makes progress any more: the watchdog is told nothing until one does")
            if not is_stuck:
                await self.tell(systemd.alive)
            was_stuck = is_stuck
            await anyio.sleep(interval_s)

    async def ask_for_time(self, most_s: float) -> None:
        """Tell, until cancelled or for so long, that the start or the stop goes on."""
        with anyio.move_on_after(most_s):
            while True:
                await anyio.sleep(_EXTEND_EVERY_S)
                await self.tell(systemd.extend_timeout, _EXTENSION_S)
