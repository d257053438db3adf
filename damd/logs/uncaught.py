"""What nobody caught, and what libraries warn of: a line of the log each, where it would be text on standard error.

asyncio tells its logger by itself of a task whose exception was never retrieved.
"""

from __future__ import annotations

import sys
import threading
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

import structlog

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_log = structlog.get_logger("damd")
_warnings = structlog.get_logger("py.warnings")
_show_warning = warnings.showwarning


def tell_of_the_uncaught() -> None:
    """Have all of it told; may be called again."""
    sys.excepthook = _uncaught  # typer's is for usage errors, and the command line ends by those itself
    # Of these, what somebody else has hooked is left to them, such as pytest.
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _uncaught_in_thread
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _unraisable
    warnings.showwarning = _warn


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, Exception | BaseExceptionGroup):
        sys.__excepthook__(kind, error, traceback)
        return
    _log.critical("ended by an unexpected error", exc_info=(kind, error, traceback))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return  # a thread may end itself
    name = args.thread.name if args.thread is not None else None
    error = (args.exc_type, args.exc_value, args.exc_traceback)
    _log.error("thread ended by an unexpected error", thread=name, exc_info=error)


def _unraisable(args: UnraisableHookArgs) -> None:
    # The object itself is about to go, and may be in no state to be shown.
    said = {"where": args.err_msg or "Exception ignored", "object_type": type(args.object).__qualname__}
    if args.exc_value is not None:
        said["exc_info"] = (args.exc_type, args.exc_value, args.exc_traceback)  # type: ignore[assignment]
    _log.error("an error that could not be raised", **said)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if file is not None:
        _show_warning(message, category, filename, lineno, file, line)
        return
    _warnings.warning(str(message), category=category.__qualname__, where=f"{filename}:{lineno}")
