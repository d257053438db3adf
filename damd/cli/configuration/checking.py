"""``damd config check``."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from damd.cli.application import EXIT_CONFIGURATION, ConfigOption, JsonOption, StateOption, load, print_json, say

if TYPE_CHECKING:
    from damd.checks.findings import Finding
    from damd.config import Config


def check(
    config: ConfigOption = None,
    state: StateOption = None,
    static: Annotated[
        bool, typer.Option("--static", help="Only read the file: look at no folder, no database and no host.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the configuration, and that what it names is there.

    The exit code is 0, warnings or not, or 78 with every problem on a line of its own.
    """
    import anyio

    from damd import logs

    settings = load(config, state)
    logs.configure("error", settings.logging.format)
    problems = 0 if static else anyio.run(_check, settings, config, as_json)
    if problems:
        raise typer.Exit(EXIT_CONFIGURATION)
    if not as_json:
        say("The configuration is good.")


async def _check(config: Config, path: Path | None, as_json: bool) -> int:
    """Tell every finding as soon as it is there; returns how many are problems."""
    import anyio.to_thread

    from damd.checks import checks
    from damd.checks.findings import found_by
    from damd.units.installed import find_service

    problems = 0
    for name, look in checks(await anyio.to_thread.run_sync(find_service, path)).items():
        for finding in await found_by(name, functools.partial(look, config)):
            problems += finding.health == "problem"
            if as_json:
                print_json(dataclasses.asdict(finding))
            for line in () if as_json else _lines(finding):
                say(line)
    return problems


def _lines(finding: Finding) -> Iterator[str]:
    """What is good is not worth a line."""
    if finding.health != "ok":
        advice = f": {finding.advice}" if finding.advice else ""
        yield f"{'warning: ' if finding.health == 'warning' else ''}{finding.says}{advice}."
