"""``damd run``."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from damd import hangups
from damd.cli.application import ConfigOption, StateOption, load

_LAST_MOMENT_S = 0.5


def run(
    config: ConfigOption = None,
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            "--watch",
            "-w",
            metavar="DIR",
            help="A folder to watch, instead of the configured ones; may be given several times.",
        ),
    ] = None,
    state: StateOption = None,
) -> None:
    """Watch folders, and import what lies in them and what arrives.

    Runs until Ctrl-C or SIGTERM, which let it finish the files in work; a second one ends it at once. SIGHUP, or damd
    reload, reads the configuration again. No configuration is needed: damd run --watch DIR
    """
    gc.disable()  # what is imported stays: to look through it again and again is a good part of the start
    hangups.remember()
    import anyio

    import damd.logs.bare  # noqa: F401 - before whatever else imports structlog
    from damd import daemon, logs

    overrides: dict[str, Any] = {"watch": [{"path": str(folder)} for folder in watch]} if watch else {}
    settings = load(config, state, **overrides)
    logs.configure(settings.logging.level, settings.logging.format)
    gc.freeze()
    gc.enable()
    faulthandler.enable()  # systemd's watchdog ends with SIGABRT a process that hangs: then it says where
    overrides |= {"state": str(state)} if state is not None else {}
    anyio.run(
        daemon.run, settings, daemon.Source(path=config.absolute() if config is not None else None, overrides=overrides)
    )
    if _has_hanging_threads():
        import structlog

        structlog.get_logger(__name__).warning("left behind: a file system that does not answer")
        sys.stderr.flush()
        os._exit(0)  # the interpreter would wait for them


def _has_hanging_threads() -> bool:
    """Whether a thread still waits for a dead network mount; idle ones end with the loop that they served."""
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    until = time.monotonic() + _LAST_MOMENT_S  # for all of them together
    for thread in others:
        thread.join(max(0.0, until - time.monotonic()))
    return any(thread.is_alive() for thread in others)
