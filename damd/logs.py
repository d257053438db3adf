"""structlog, and the standard library's records through it: one pipe, one shape.

A person at a terminal gets aligned, coloured lines; anything else gets one JSON object a line. Under
systemd each line is led by its priority (sd-daemon(3)), so that ``journalctl -p warning`` works.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from typing import TextIO

import structlog
from structlog.dev import ConsoleRenderer
from structlog.processors import ExceptionRenderer, JSONRenderer, StackInfoRenderer, TimeStamper
from structlog.stdlib import BoundLogger, ExtraAdder, LoggerFactory, ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

_CHATTER = ("alembic", "httpcore")
_FIRST = ("timestamp", "level", "event", "logger")
_MAX_FRAMES = 20


def configure(level: str, format: str, *, stream: TextIO | None = None) -> None:  # noqa: A002 - the configuration's word
    """Send all records of `level` and above to `stream`, standard error unless given; may be called again.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        format: ``console``, ``json``, or ``auto``: console on a terminal, JSON elsewhere.
        stream: Where the lines go.
    """
    stream = sys.stderr if stream is None else stream
    on_terminal = stream.isatty()
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared_processors()
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=BoundLogger,
        logger_factory=LoggerFactory(),
    )
    if format == "console" or (format == "auto" and on_terminal):
        rendering = _console_processors(colours=on_terminal)
    else:
        rendering = _json_processors(_encoding(stream))
    handler = _Handler(stream)
    handler.setFormatter(
        _Formatter(
            processors=[ProcessorFormatter.remove_processors_meta, *rendering],
            foreign_pre_chain=[*shared, ExtraAdder()],
            encoding=_encoding(stream),
            with_priority=format == "auto" and _is_journal(stream),
        )
    )
    _install(handler, threshold)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, and so replaced when logging is configured again; other people's handlers stay."""


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
    root.addHandler(handler)
    root.setLevel(threshold)
    for name in _CHATTER:
        quiet = logging.NOTSET if threshold <= logging.DEBUG else max(threshold, logging.WARNING)
        logging.getLogger(name).setLevel(quiet)


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        TimeStamper(fmt="iso", utc=True),
        StackInfoRenderer(),
    ]


def _json_processors(encoding: str) -> list[Processor]:
    # Local variables stay out: they hold secrets.
    exceptions = ExceptionDictTransformer(show_locals=False, max_frames=_MAX_FRAMES)
    return [
        ExceptionRenderer(exceptions),
        _ordered,
        JSONRenderer(json.dumps, ensure_ascii=encoding != "utf-8", default=str),
    ]


def _console_processors(*, colours: bool) -> list[Processor]:
    colours = colours and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return [_escaped, ConsoleRenderer(colors=colours, sort_keys=False, exception_formatter=_write_traceback)]


def _ordered(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    first = {name: fields.pop(name) for name in _FIRST if name in fields}
    return {**first, **fields}


def _escaped(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    # A file's name may hold newlines and terminal sequences; they must not reach the terminal.
    return {
        name: _printable(value) if isinstance(value, str) and name != "stack" else value
        for name, value in fields.items()
    }


def _write_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    # Indented, so that no line of an exception's message can pass for a line of the log.
    lines = "".join(traceback.format_exception(*exc_info)).splitlines()
    stream.writelines(f"\n  {_printable(line)}" for line in lines)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _encoding(stream: TextIO) -> str:
    # A StringIO has none.
    return (getattr(stream, "encoding", None) or "utf-8").lower()


def _priority(levelno: int) -> int:
    """syslog(3)'s number for a level."""
    for level, priority in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6)):
        if levelno >= level:
            return priority
    return 7


def _is_journal(stream: TextIO) -> bool:
    """Whether the stream is the one that systemd connected to the journal (systemd.exec(5), ``$JOURNAL_STREAM``)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
