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
            "--watch",
            "-w",
            metavar="DIR",
            help="A folder to watch, instead of the configured ones; may be given several times.",
        ),
    ] = None,
    state: StateOption = None,
) -> None:
    """Watch folders, and import what lies in them and what arrives.

    Runs until Ctrl-C or SIGTERM, which let it finish the files in work; a second one ends it at once. No
    configuration is needed: damd run --watch DIR
    """
    import anyio

    from damd import daemon, logs

    overrides = {"watch": [{"path": str(folder)} for folder in watch]} if watch else {}
    settings = load(config, state, **overrides)
    logs.configure(settings.logging.level, settings.logging.format)
    anyio.run(daemon.run, settings)
