"""``damd doctor``."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from damd.cli.application import EXIT_FAILURE, ConfigOption, JsonOption, StateOption, load, print_json, printable

if TYPE_CHECKING:
    from damd.config import Config
    from damd.doctor import Finding


def doctor(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Look whether damd can work here.

    The exit code is 0 where there is no problem, warnings or not, else 1.
    """
    import anyio

    from damd import logs

    settings = load(config, state)
    logs.configure("error", settings.logging.format)
    if anyio.run(_doctor, settings, config, as_json):
        raise typer.Exit(EXIT_FAILURE)


async def _doctor(config: Config, path: Path | None, as_json: bool) -> int:
    """Tell every finding; returns how many are problems."""
    import anyio.to_thread

    from damd.doctor import examine
    from damd.units.installed import find_service

    problems = 0
    service = await anyio.to_thread.run_sync(find_service, path)
    scratch = await anyio.to_thread.run_sync(_make_scratch)
    try:
        async for finding in examine(config, Path(scratch.name) if scratch is not None else None, service=service):
            problems += finding.health == "problem"
            print_json(dataclasses.asdict(finding)) if as_json else _tell(finding)
    finally:
        if scratch is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(scratch.cleanup)
    return problems


def _make_scratch() -> tempfile.TemporaryDirectory[str] | None:
    """None where no folder for temporary files can be written to, which is a finding."""
    try:
        return tempfile.TemporaryDirectory()
    except OSError:
        return None


def _tell(finding: Finding) -> None:
    advice = f": {finding.advice}" if finding.advice else ""
    typer.echo(printable(f"{finding.health:<8} {finding.check}: {finding.says}{advice}"))
