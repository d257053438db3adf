"""``damd reload``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from damd.cli.application import EXIT_CONFIGURATION, ConfigOption, JsonOption, StateOption, complain, print_json, say
from damd.cli.asking import ask_daemon, load_to_ask

if TYPE_CHECKING:
    from damd.config import Config


def reload(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Have the running daemon read its configuration again.

    It reads the file that it was started with; --config or --state only says which daemon. The exit code is 0 once
    the new configuration is in force, though some of it may need a restart, which is said; and 78 where it is
    refused, with every fault on a line of its own: then the old one stays.
    """
    import anyio

    if not anyio.run(_reload, load_to_ask(config, state), as_json):
        raise typer.Exit(EXIT_CONFIGURATION)


async def _reload(config: Config, as_json: bool) -> bool:
    """Whether the new configuration is taken."""
    answer = await ask_daemon(config, "reload", is_long=True)
    if as_json:
        print_json(answer)
        return bool(answer["ok"])
    for problem in answer["problems"]:
        complain(problem)
    if not answer["ok"]:
        say("The reload is refused: the configuration before it stays in force.")
        return False
    say(f"Reloaded; changed: {', '.join(answer['changed']) or 'nothing'}.")
    if answer["restart"]:
        say(f"What is new in these needs a restart of the daemon: {', '.join(answer['restart'])}.")
    return True
