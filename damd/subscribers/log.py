"""The log subscriber: one line for each event, in the daemon's own log or in a file of its own.

The file holds JSON Lines, each the body that a webhook is sent, led by the event's id. It is there for people and
their tools and not for what must hear of everything: a line that cannot be written is lost.

In the daemon's own log this line is the one that tells of a file's end: what is known of its journey, which is in the
context that the event was dispatched in, is on it too.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Annotated, ClassVar, Literal, Self

import anyio
import anyio.to_thread
import structlog
from pydantic import Field

from damd.errors import ConfigurationError, UnreadableFileError, UnsupportedTypeError
from damd.events import Event, FileFailedEvent, RootHeldEvent, body_of
from damd.settings import AbsolutePath, Settings, Size
from damd.subscribers.base import EventTypes, SubscriberSettings
from damd.subscribers.rotation import RotatedFile, why_not_written

_ADVICE = "name a file in a folder that exists and that the user that damd runs as may write to"
_TAKEN = frozenset({"version", "event", "event_id"})
"""Names of data that the line has no place for: the first is for machines, the others are the line's own."""

_TROUBLE = (FileFailedEvent, RootHeldEvent)
"""What is told as a warning: somebody may have to do something."""

_ADVICE_BY_REASON = {
    str(UnsupportedTypeError()): "have such files ignored (watch: ignore), or catalogued (watch: unsupported)",
    str(UnreadableFileError(PermissionError(errno.EACCES, ""))): "let the user that damd runs as read it",
}

_events = structlog.get_logger("damd.events")
_log = structlog.get_logger(__name__)


class LogSettings(SubscriberSettings, json_schema_extra={"examples": [{"file": "/var/log/damd/events.jsonl"}]}):
    """An entry of ``subscribers:`` with ``kind: log``."""

    kind: Literal["log"] = "log"
    """One line in damd's own log for each event."""
    events: EventTypes = ()
    """The types of event, such as [file.imported]; all of them when empty. docs/events.md describes them."""
    file: AbsolutePath | None = None
    """With a file, JSON Lines are written there instead; it is begun anew at max_size, and so many old ones are
    kept."""
    max_size: Annotated[Size, Field(ge=1)] = 10 * 2**20
    """Of the file: a line that would make it longer goes to a new one."""
    keep: Annotated[int, Field(ge=1, le=1000)] = 5
    """How many former files there are at most: FILE.1, the newest, and so on. 1 to 1000."""

    def lacking(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the place of its file; blocking, and leaves nothing behind."""
        if self.file is not None and (problem := why_not_written(self.file)):
            yield "file", f"cannot be written ({problem}): {_ADVICE}"


class LogSubscriber:
    """Writes each event as one line; an async context manager, which holds the file, if there is one."""

    kind: ClassVar[str] = "log"
    settings_type: ClassVar[type[Settings]] = LogSettings
    durable: ClassVar[bool] = False

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._file = (
            RotatedFile(settings.file, max_bytes=settings.max_size, keep=settings.keep) if settings.file else None
        )
        self._writer = anyio.CapacityLimiter(1)
        self._is_losing = False

    @property
    def name(self) -> str:
        """There is one log, and any number of files."""
        return f"log:{self._settings.file}" if self._settings.file else "log"

    def wants(self, event_type: str) -> bool:
        """Whether this type is logged."""
        return not self._settings.events or event_type in self._settings.events

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            ConfigurationError: It cannot be written.
        """
        if self._file is not None:
            try:
                await anyio.to_thread.run_sync(self._file.open, limiter=self._writer)
            except OSError as error:
                raise ConfigurationError(
                    [f"subscribers: the log file {self._settings.file} cannot be written ({error.strerror}): {_ADVICE}"]
                ) from error
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._file.close, limiter=self._writer)

    async def receive(self, event: Event) -> None:
        """Write the line; one that cannot be written to the file is lost, and the first of them is told of."""
        if self._file is None:
            _say(event)
            return
        try:
            await anyio.to_thread.run_sync(self._file.write, _line_of(event), limiter=self._writer)
        except OSError as error:
            if not self._is_losing:
                _log.warning("events are lost to the log file", file=str(self._settings.file), error=error.strerror)
            self._is_losing = True
        else:
            if self._is_losing:
                _log.info("events are written to the log file again", file=str(self._settings.file))
            self._is_losing = False


def with_failures(entries: Sequence[Settings]) -> tuple[Settings, ...]:
    """These entries of ``subscribers:``, and one more where none tells the daemon's log of failures and held roots.

    That much an administrator needs, whatever else is told to whom.
    """
    logs = [entry for entry in entries if isinstance(entry, LogSettings) and entry.file is None]
    untold = tuple(
        trouble.event_type
        for trouble in _TROUBLE
        if not any(not log.events or trouble.event_type in log.events for log in logs)
    )
    return (*entries, LogSettings(events=untold)) if untold else tuple(entries)


def _say(event: Event) -> None:
    """A line whose text is the event's type and whose fields are its data."""
    said = {name: value for name, value in event.data().items() if value is not None and name not in _TAKEN}
    if advice := _advice(event):
        said["advice"] = advice
    (_events.warning if isinstance(event, _TROUBLE) else _events.info)(
        event.event_type, event_id=event.event_id, **said
    )


def _advice(event: Event) -> str | None:
    if isinstance(event, FileFailedEvent):
        return _ADVICE_BY_REASON.get(event.reason)
    if not isinstance(event, RootHeldEvent):
        return None
    if event.missing_files is None:
        return "mount it, or correct its path: it is waited for"
    return f"bring back what is not there, or let it pass: damd roots accept {event.root}"


def _line_of(event: Event) -> bytes:
    """What the outside is told, an object of several members, with the id before them."""
    return b'{"id":%b,%b\n' % (json.dumps(event.event_id).encode(), body_of(event).removeprefix(b"{"))
