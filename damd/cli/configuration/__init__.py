"""``damd config``; a further command is a file and a line here."""

import typer

from damd.cli.configuration.checking import check
from damd.cli.configuration.showing import show

configuration = typer.Typer(no_args_is_help=True, help="Check or show the configuration.", rich_markup_mode=None)
configuration.command()(check)
configuration.command()(show)

__all__ = ["configuration"]
