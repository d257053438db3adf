"""Where the lines go, which of them, and in which format: ``configure``.

A person at a terminal gets aligned, coloured lines; anything else gets one JSON object a line. Under
systemd each line is led by its priority (sd-daemon(3)), so that ``journalctl -p warning`` works.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextvars import Context
from typing import TextIO

import structlog
from structlog.processors import StackInfoRenderer, TimeStamper
from structlog.stdlib import BoundLogger, ExtraAdder, LoggerFactory, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from damd.logs.rendering import console_processors, json_processors
from damd.logs.repeated import Repetitions
from damd.logs.uncaught import tell_of_the_uncaught
from damd.systemd import is_journal

_CHATTER = ("alembic", "httpcore", "uvicorn.access")
"""What these tell at level info is for whoever debugs."""


def configure(
    level: str,
    format: str,  # noqa: A002 - the configuration's word
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Send all records of `level` and above to `stream`; may be called again, then by a daemon that reloads.

    What was raised and caught by nobody, and the warnings of libraries, go there as well.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        format: ``console``, ``json``, or ``auto``: console on a terminal, JSON elsewhere.
        stream: Where the lines go: standard error unless given.
        clock: The present moment, in seconds since any; decides which warnings are repetitions.
    """
    stream = sys.stderr if stream is None else stream
    on_terminal = stream.isatty()
    threshold = logging.getLevelNamesMapping()[level.upper()]
    is_console = format == "console" or (format == "auto" and on_terminal)
    if is_console:
        rendering = console_processors(colours=on_terminal, is_brief=threshold > logging.DEBUG)
    else:
        rendering = json_processors(_encoding(stream))
    shared = _shared_processors(is_console=is_console)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=BoundLogger,
        logger_factory=LoggerFactory(),
    )
    handler = _Handler(stream, clock)
    handler.setFormatter(
        _Formatter(
            processors=[ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=[*shared, ExtraAdder(), _without_uvicorns_colours],
            encoding=_encoding(stream),
            with_priority=format == "auto" and is_journal(stream),
        )
    )
    _install(handler, threshold)
    tell_of_the_uncaught()


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, and so replaced when logging is configured again; other people's handlers stay.

    Whoever calls `emit` holds the handler's lock, and so nobody else touches its repetitions.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        super().__init__(stream)
        self._clock = clock
        self._repetitions = Repetitions()

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        self._summarize(self._repetitions.take_due(now))
        if self._repetitions.lets_pass(record, now):
            super().emit(record)

    def close(self) -> None:
        self.acquire()
        try:
            self._summarize(self._repetitions.take_all())
        finally:
            self.release()
        super().close()

    def _summarize(self, summaries: list[logging.LogRecord]) -> None:
        for summary in summaries:
            # Not in whoever's context it happens to be found due.
            Context().run(super().emit, summary)


class _Formatter(ProcessorFormatter):
    def __init__(
        self, *, processors: list[Processor], foreign_pre_chain: list[Processor], encoding: str, with_priority: bool
    ) -> None:
        super().__init__(processors=processors, foreign_pre_chain=foreign_pre_chain)
        self._encoding = encoding
        self._with_priority = with_priority

    def format(self, record: logging.LogRecord) -> str:
        # The names of files need not be text: what is none is written as \udc80, also legal in JSON.
        text = super().format(record).encode(self._encoding, "backslashreplace").decode(self._encoding)
        return f"<{_priority(record.levelno)}>{text}" if self._with_priority else text


def _install(handler: logging.Handler, threshold: int) -> None:
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in _CHATTER:
        quiet = logging.NOTSET if threshold <= logging.DEBUG else max(threshold, logging.WARNING)
        logging.getLogger(name).setLevel(quiet)


def _shared_processors(*, is_console: bool) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        TimeStamper(fmt="%H:%M:%S", utc=False) if is_console else TimeStamper(fmt="iso", utc=True),
        StackInfoRenderer(),
    ]


def _without_uvicorns_colours(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    fields.pop("color_message", None)  # the same message once more, for a terminal
    return fields


def _encoding(stream: TextIO) -> str:
    # A StringIO has none.
    return (getattr(stream, "encoding", None) or "utf-8").lower()


def _priority(levelno: int) -> int:
    """syslog(3)'s number for a level."""
    for level, priority in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if levelno >= level:
            return priority
    return 7
