"""Numbers, moments and spans of time in words for people."""

from __future__ import annotations

from datetime import datetime, timedelta

_A_MINUTE_S = 60
_STEP = 1000
_SIZES = ("bytes", "kB", "MB", "GB", "TB")


def how_long(seconds: float) -> str:
    """A time that has passed, or will, for people: ``12 s``, ``1h30m``."""
    from damd.settings import format_duration

    if seconds < _A_MINUTE_S:
        return f"{seconds:.0f} s"
    return format_duration(timedelta(minutes=round(seconds / _A_MINUTE_S)))


def when(moment: str) -> str:
    """A moment in ISO 8601, for people, by their clock: ``2026-05-04 12:11:12 CEST``."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def how_long_ago(moment: str, at: datetime) -> str:
    """A moment in ISO 8601, seen from another: ``12 s ago``, ``1h30m ago``."""
    return f"{how_long(max(0.0, (at - datetime.fromisoformat(moment)).total_seconds()))} ago"


def how_large(size_bytes: float) -> str:
    """A number of bytes in the unit that suits it, to three digits or so: ``850 bytes``, ``14.1 MB``."""
    for unit in _SIZES:
        if size_bytes < _STEP or unit == _SIZES[-1]:
            break
        size_bytes /= _STEP
    return f"{size_bytes:.0f} {unit}" if unit == _SIZES[0] else f"{size_bytes:.1f} {unit}"


def count_of_files(count: int) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} file{'' if count == 1 else 's'}"


def count_of_events(count: int) -> str:
    """``1 event``, ``2 events``."""
    return f"{count} event{'' if count == 1 else 's'}"


def how_often(count: int) -> str:
    """``once``, ``2 times``."""
    return "once" if count == 1 else f"{count} times"
