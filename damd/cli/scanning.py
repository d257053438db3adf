"""``damd scan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from damd.cli.application import ConfigOption, JsonOption, StateOption, print_json, say
from damd.cli.asking import ask_daemon, load_to_ask
from damd.cli.completion import root_names

if TYPE_CHECKING:
    from damd.config import Config

RootArgument = Annotated[
    str | None,
    typer.Argument(metavar="ROOT", help="A root's name; all roots, if none is named.", autocompletion=root_names),
]


def scan(
    root: RootArgument = None, config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Have the running daemon compare a root with the catalogue now.

    It does so by itself, too, as often as `rescan` says; and what changes is seen at once. This is for what no
    watcher sees, such as what another computer wrote to a network mount. It returns at once: damd wait awaits the end.
    """
    import anyio

    anyio.run(_scan, load_to_ask(config, state), root, as_json)


async def _scan(config: Config, root: str | None, as_json: bool) -> None:
    answer = await ask_daemon(config, "scan", root=root)
    if as_json:
        print_json(answer)
    else:
        say(f"Looking through {', '.join(answer['roots']) or 'nothing: there is no root'}.")
