"""``damd config``."""

from __future__ import annotations

import typer

from damd.cli.application import EXIT_CONFIGURATION, ConfigOption, StateOption, load, say

configuration = typer.Typer(no_args_is_help=True, help="Check or show the configuration.", rich_markup_mode=None)


@configuration.command()
def check(config: ConfigOption = None, state: StateOption = None) -> None:
    """Check the configuration, and that what it names is there.

    The exit code is 0, or 78 with every fault on a line of its own.
    """
    from damd.config import check_environment

    problems = check_environment(load(config, state))
    for problem in problems:
        say(problem)
    if problems:
        raise typer.Exit(EXIT_CONFIGURATION)
    say("The configuration is good.")


@configuration.command()
def show(config: ConfigOption = None, state: StateOption = None) -> None:
    """Print the configuration in force as YAML, with every default."""
    from damd.config import config_as_yaml

    typer.echo(config_as_yaml(load(config, state)), nl=False)
