"""``damd config schema``."""

from __future__ import annotations

import json

import typer

from damd.cli.application import ConfigOption, load


def schema(config: ConfigOption = None) -> None:
    """Print the JSON Schema of a configuration, for editors.

    With --config, it knows the kinds of subscribers that this configuration's plugins bring.
    """
    if config is not None:
        load(config, None)

    from damd.config.schema import configuration_schema

    typer.echo(json.dumps(configuration_schema(), indent=2))
