"""What the daemon does when it is signalled."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import anyio
import structlog
from anyio.abc import TaskStatus

from damd import hangups

_log = structlog.get_logger(__name__)

_ONE_REQUEST_S = 0.3
"""timeout(1) and its like signal the process and then its group; nobody's second thought is that quick."""


class Signals:
    """What signals have asked for.

    Attributes:
        stop: Set when somebody asks to stop.
    """

    def __init__(self) -> None:
        self.stop = anyio.Event()
        self._is_reload_wanted = False
        self._reload: Callable[[], object] | None = None

    def on_reload(self, reload: Callable[[], object]) -> None:
        """Call this whenever somebody asks to reload; at once, if that has been so."""
        self._reload = reload
        if self._is_reload_wanted:
            reload()

    def ask_to_reload(self) -> None:
        """Somebody does."""
        self._is_reload_wanted = True
        if self._reload is not None:
            self._reload()


async def receive_signals(*, task_status: TaskStatus[Signals]) -> None:
    """Run until cancelled.

    SIGTERM and SIGINT ask to stop, and a second one ends the process at once. SIGHUP asks to reload, unless it tells
    that the terminal is gone which damd was started on: then nobody is there any more.
    """
    asked = Signals()
    asked_at = 0.0
    heard = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup(1) leaves it
        heard.append(signal.SIGHUP)
    had_terminal = _has_terminal()
    with anyio.open_signal_receiver(*heard) as signals:
        if hangups.were_heard():  # before there was anybody to hear them
            asked.ask_to_reload()
        task_status.started(asked)
        async for number in signals:
            if number == signal.SIGHUP and not (had_terminal and not _has_terminal()):
                asked.ask_to_reload()
                continue
            if asked.stop.is_set():
                if anyio.current_time() - asked_at < _ONE_REQUEST_S:
                    continue
                _log.warning("stopped at once", signal=number.name)
                os._exit(128 + number)  # the workers die with their parent
            asked.stop.set()
            asked_at = anyio.current_time()


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still there (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True
