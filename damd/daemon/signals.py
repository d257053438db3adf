"""What the daemon does when it is signalled."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import anyio
import structlog
from anyio.abc import TaskStatus

_log = structlog.get_logger(__name__)

_ONE_REQUEST_S = 0.3
"""timeout(1) and its like signal the process and then its group; nobody's second thought is that quick."""


async def receive_signals(reload: Callable[[], None], *, task_status: TaskStatus[anyio.Event]) -> None:
    """Run until cancelled; the event it starts with is set when somebody asks to stop.

    SIGTERM and SIGINT ask to stop, and a second one ends the process at once. SIGHUP asks to reload, unless it tells
    that the terminal is gone which damd was started on: then nobody is there any more.

    Args:
        reload: Called for each SIGHUP that asks for it.
        task_status: Of ``TaskGroup.start``.
    """
    asked_to_stop = anyio.Event()
    asked_at = 0.0
    heard = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup(1) leaves it
        heard.append(signal.SIGHUP)
    had_terminal = _has_terminal()
    with anyio.open_signal_receiver(*heard) as signals:
        task_status.started(asked_to_stop)
        async for number in signals:
            if number == signal.SIGHUP and not (had_terminal and not _has_terminal()):
                reload()
                continue
            if asked_to_stop.is_set():
                if anyio.current_time() - asked_at < _ONE_REQUEST_S:
                    continue
                _log.warning("stopped at once", signal=number.name)
                os._exit(128 + number)  # the workers die with their parent
            asked_to_stop.set()
            asked_at = anyio.current_time()


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True
