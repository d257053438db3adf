"""``damd webhooks``: the endpoints that events are kept for, of whatever kind."""

import typer

from damd.cli.webhooks.listing import list_endpoints
from damd.cli.webhooks.switching import disable, enable
from damd.cli.webhooks.trial import send_test

webhooks = typer.Typer(
    no_args_is_help=True,
    help="Webhooks and commands, the endpoints that events are kept for: list, try, disable or enable them.",
    short_help="List, try, disable or enable webhooks and commands.",
    rich_markup_mode=None,
)

webhooks.command("list")(list_endpoints)
webhooks.command("test")(send_test)
webhooks.command()(disable)
webhooks.command()(enable)

__all__ = ["webhooks"]
