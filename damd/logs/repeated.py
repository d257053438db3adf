"""A limit on the same trouble told again and again, structlog's and the standard library's alike.

A disk that fails, or a bug met by each of a million files, must not fill the journal. After `MOST` times within a
minute the rest is only counted, and the count is told once a minute as long as it lasts, with the next line of the log.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from structlog.contextvars import get_contextvars

MOST = 10
"""So often within `WINDOW_S` the same trouble is told in full."""
WINDOW_S = 60.0

NEVER_LIMITED = frozenset({"damd.events", "damd.files"})
"""The loggers that tell of each file's end, once."""

_MOST_KINDS = 1000
"""A library that writes values into its messages has no end of them."""


class Kind(NamedTuple):
    """What makes two records the same trouble: not what else they say."""

    logger: str
    level: int
    event: str
    root: str


@dataclass
class _Window:
    began: float
    seen: int = 0
    suppressed: int = 0
    is_full: bool = False  # the one before was, so that nothing of this one is told in full


class Repetitions:
    """Which records are told. Not thread-safe: whoever asks holds a lock."""

    def __init__(self) -> None:
        self._windows: OrderedDict[Kind, _Window] = OrderedDict()  # by their beginning, and so by their end

    def lets_pass(self, record: logging.LogRecord, now: float) -> bool:
        """Whether this record is told; ask `take_due` before.

        Args:
            record: Made by structlog or anybody else.
            now: In seconds since any moment.
        """
        if record.levelno < logging.WARNING or record.name in NEVER_LIMITED:
            return True
        kind = _kind_of(record)
        window = self._windows.get(kind)
        if window is None:
            window = self._windows[kind] = _Window(now)
        window.seen += 1
        if window.seen <= MOST and not window.is_full:
            return True
        window.suppressed += 1
        return False

    def take_due(self, now: float) -> list[logging.LogRecord]:
        """What there is to say of the windows that have ended, and of the oldest where there are too many."""
        summaries = []
        while self._windows:
            kind, window = next(iter(self._windows.items()))
            if now - window.began < WINDOW_S and len(self._windows) <= _MOST_KINDS:
                break
            del self._windows[kind]
            if window.suppressed:
                summaries.append(_summary(kind, window))
            # It lasts, perhaps; but after a whole window of silence it is news again.
            if window.seen > MOST and WINDOW_S <= now - window.began < 2 * WINDOW_S:
                self._windows[kind] = _Window(now, is_full=True)
        return summaries

    def take_all(self) -> list[logging.LogRecord]:
        """What there is to say when nothing more will come."""
        summaries = [_summary(kind, window) for kind, window in self._windows.items() if window.suppressed]
        self._windows.clear()
        return summaries


def _kind_of(record: logging.LogRecord) -> Kind:
    if isinstance(record.msg, dict):  # structlog's, which has merged the context already
        return Kind(record.name, record.levelno, str(record.msg.get("event")), str(record.msg.get("root") or ""))
    root = getattr(record, "root", None) or get_contextvars().get("root")
    # asyncio tells of a task in further lines, each another one.
    return Kind(record.name, record.levelno, str(record.msg).partition("\n")[0], str(root or ""))


def _summary(kind: Kind, window: _Window) -> logging.LogRecord:
    said = {"what": kind.event, "suppressed": window.suppressed} | ({"root": kind.root} if kind.root else {})
    level = {"levelno": kind.level, "levelname": logging.getLevelName(kind.level)}
    return logging.makeLogRecord({"name": kind.logger, "msg": "repeated", **level, **said})
