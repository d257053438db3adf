"""The notify protocol of systemd (sd_notify(3)): datagrams to the socket that ``$NOTIFY_SOCKET`` names.

Without that variable, nobody asked to be told, and nothing happens.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TextIO

_SEND_TIMEOUT_S = 1.0
_STATUS_LENGTH = 500
"""systemd ignores a datagram of more than 4096 bytes; a character has up to four."""


def notify(*assignments: str) -> bool:
    """Send the assignments, such as ``READY=1``, in one datagram; whether they were sent. Never raises.

    The manager's queue may be full, so this may wait, but for no longer than a second.
    """
    address = os.fsencode(os.environ.get("NOTIFY_SOCKET", ""))
    if not address.startswith((b"/", b"@")):
        return False
    if address.startswith(b"@"):
        # The abstract namespace of Linux, unix(7).
        address = b"\0" + address[1:]
    message = "\n".join(assignments).encode("utf-8", "backslashreplace")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SEND_TIMEOUT_S)
            sender.connect(address)
            sender.sendall(message)
    except OSError:
        return False
    return True


def ready() -> bool:
    """The watches are armed; for ``Type=notify``."""
    return notify("READY=1")


def status(text: str) -> bool:
    """One line for ``systemctl status``; longer text is cut."""
    return notify("STATUS=" + " ".join(text.split())[:_STATUS_LENGTH])


def reloading() -> bool:
    """A reload has begun; `ready` ends it. For ``Type=notify-reload``, too, which wants to know since when."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def alive() -> bool:
    """All goes on; for ``WatchdogSec=``."""
    return notify("WATCHDOG=1")


def extend_timeout(seconds: float) -> bool:
    """The start, or the stop, is not over, and takes no longer than so many seconds more before this is told again."""
    return notify(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")


def stopping() -> bool:
    """The drain has begun."""
    return notify("STOPPING=1")


def is_journal(stream: TextIO) -> bool:
    """Whether the stream is the one that systemd connected to the journal (systemd.exec(5), ``$JOURNAL_STREAM``).

    There a line may be led by its priority (sd-daemon(3)).
    """
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def watchdog_interval_s() -> float | None:
    """How often to send ``WATCHDOG=1``, in seconds; None when nobody watches this process.

    Half of the allowed time, as sd_watchdog_enabled(3) recommends.
    """
    pid = os.environ.get("WATCHDOG_PID")
    if pid is not None and pid != str(os.getpid()):
        return None
    allowed = os.environ.get("WATCHDOG_USEC", "")
    if not (allowed.isascii() and allowed.isdigit() and len(allowed) <= 20) or int(allowed) == 0:
        return None
    return int(allowed) / 2 / 1_000_000
