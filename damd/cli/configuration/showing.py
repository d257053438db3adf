"""``damd config show``."""

from __future__ import annotations

from typing import Annotated

import typer

from damd.cli.application import ConfigOption, StateOption, print_json


def show(
    config: ConfigOption = None,
    state: StateOption = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say of each value where it came from.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object: each key with its value and its origin.")
    ] = False,
) -> None:
    """Print the configuration in force as YAML, with every default.

    It is what the file, the variables DAMD__SECTION__KEY and the options say together. Secrets are masked.
    """
    from damd.config.loading import read_config
    from damd.config.origins import config_with_origins, flat_with_origins
    from damd.config.shown import config_as_yaml

    loaded, document = read_config(config, overrides={} if state is None else {"state": str(state)})
    if as_json:
        print_json(flat_with_origins(loaded, document))
    elif origin:
        typer.echo(config_with_origins(loaded, document), nl=False)
    else:
        typer.echo(config_as_yaml(loaded), nl=False)
