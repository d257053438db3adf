"""``damd run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from damd.cli.application import ConfigOption, StateOption, load


def run(
    config: ConfigOption = None,
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            "--watch", "-w", metavar="DIR", help="Watch this folder instead of the configured ones. Repeatable."
        ),
    ] = None,
    state: StateOption = None,
) -> None:
    """Watch folders until stopped; Ctrl-C or SIGTERM finishes what is in work.

    What lies in the folders already is catalogued too. No configuration is needed: damd run --watch DIR
    """
    import anyio

    from damd import daemon, logs

    overrides = {"watch": [{"path": str(folder)} for folder in watch]} if watch else {}
    settings = load(config, state, **overrides)
    logs.configure(settings.logging.level, settings.logging.format)
    anyio.run(daemon.run, settings)
