"""``damd config show``."""

from __future__ import annotations

import typer

from damd.cli.application import ConfigOption, StateOption, load


def show(config: ConfigOption = None, state: StateOption = None) -> None:
    """Print the configuration in force as YAML, with every default."""
    from damd.config import config_as_yaml

    typer.echo(config_as_yaml(load(config, state)), nl=False)
