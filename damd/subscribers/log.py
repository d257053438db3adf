"""The log subscriber: one line for each event."""

from __future__ import annotations

from typing import ClassVar, Literal

import structlog

from damd.events import Event
from damd.settings import Settings
from damd.subscribers.base import EventTypes

_TAKEN = frozenset({"version", "event", "event_id"})
"""Names of data that the line has no place for: the first is for machines, the others are the line's own."""

_log = structlog.get_logger("damd.events")


class LogSettings(Settings):
    """An entry of ``subscribers:`` with ``kind: log``."""

    kind: Literal["log"] = "log"
    events: EventTypes = ()
    """The types to log; all of them when empty."""


class LogSubscriber:
    """Writes each event as one line of the daemon's own log."""

    kind: ClassVar[str] = "log"
    settings_type: ClassVar[type[Settings]] = LogSettings
    durable: ClassVar[bool] = False

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings

    @property
    def name(self) -> str:
        """There is one log."""
        return "log"

    def wants(self, event_type: str) -> bool:
        """Whether this type is logged."""
        return not self._settings.events or event_type in self._settings.events

    async def receive(self, event: Event) -> None:
        """Write the line; its text is the event's type, its fields are the event's data."""
        said = {name: value for name, value in event.data().items() if value is not None and name not in _TAKEN}
        _log.info(event.event_type, event_id=event.event_id, **said)
