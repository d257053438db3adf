"""``damd config check``."""

from __future__ import annotations

import typer

from damd.cli.application import EXIT_CONFIGURATION, ConfigOption, StateOption, load, say


def check(config: ConfigOption = None, state: StateOption = None) -> None:
    """Check the configuration, and that what it names is there.

    The exit code is 0, or 78 with every fault on a line of its own.
    """
    from damd.checks.environment import check_environment

    problems = check_environment(load(config, state))
    for problem in problems:
        say(problem)
    if problems:
        raise typer.Exit(EXIT_CONFIGURATION)
    say("The configuration is good.")
