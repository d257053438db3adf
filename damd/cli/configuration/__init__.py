"""``damd config``; a further command is a file and a line here."""

import typer

from damd.cli.configuration.beginning import init
from damd.cli.configuration.checking import check
from damd.cli.configuration.describing import schema
from damd.cli.configuration.showing import show

configuration = typer.Typer(
    no_args_is_help=True, help="Begin a configuration, check it, show it or describe it.", rich_markup_mode=None
)
configuration.command()(check)
configuration.command()(show)
configuration.command()(schema)
configuration.command()(init)

__all__ = ["configuration"]
