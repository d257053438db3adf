"""``damd events``; a further subcommand is a file and a line here."""

import typer

from damd.cli.events.listing import list_events, show
from damd.cli.events.replaying import replay
from damd.cli.events.schemas import schema
from damd.cli.events.tailing import tail

events = typer.Typer(
    no_args_is_help=True, help="List the events, follow them, or have them sent again.", rich_markup_mode=None
)
events.command("list")(list_events)
events.command()(tail)
events.command()(show)
events.command()(replay)
events.command()(schema)

__all__ = ["events"]
