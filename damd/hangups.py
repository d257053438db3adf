"""SIGHUP while the daemon is starting: it would end the process, and is to be remembered as a wish to reload.

A module of its own, which imports nothing, since it comes before all that takes its time.
"""

from __future__ import annotations

import signal

_heard: list[int] = []


def remember() -> None:
    """From now on; not where it is ignored, as nohup(1) leaves it."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda number, _: _heard.append(number))


def were_heard() -> bool:
    """Whether there was one since `remember`."""
    return bool(_heard)
