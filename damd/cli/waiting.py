"""``damd wait``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from damd.cli.application import EXIT_FAILURE, ConfigOption, JsonOption, StateOption, print_json, say
from damd.cli.asking import ask_daemon, load_to_ask
from damd.cli.scanning import RootArgument
from damd.cli.words import count_of_files

if TYPE_CHECKING:
    from damd.config import Config


def _duration(text: str) -> timedelta:
    from damd.settings import parse_duration

    return parse_duration(text)


def wait(
    root: RootArgument = None,
    timeout: Annotated[
        timedelta | None,
        typer.Option(
            "--timeout",
            metavar="DURATION",
            parser=_duration,
            help="Wait no longer than this, such as 30s or 1h30m; without it, as long as it takes.",
        ),
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until all that is in a root now is catalogued or failed.

    The daemon looks through the root, or all of them, and takes in what it finds; what arrives later is not waited
    for. The exit code is 0 then, even where files failed (see damd failures list); 1 when the time is over, or where
    it cannot end, as the daemon is paused or the root is not there; and 69 if no daemon runs, or it ends meanwhile.
    """
    import anyio

    if not anyio.run(_wait, load_to_ask(config, state), root, timeout, as_json):
        raise typer.Exit(EXIT_FAILURE)


async def _wait(config: Config, root: str | None, within: timedelta | None, as_json: bool) -> bool:
    """Whether all is done within the time."""
    import anyio

    with anyio.move_on_after(None if within is None else within.total_seconds()):
        answer = await ask_daemon(config, "wait", is_long=True, root=root)
        if as_json:
            print_json(answer | {"done": True})
        else:
            say(f"All that was there is catalogued or failed: {', '.join(answer['roots'])}.")
            for each in answer.get("unread", []):
                say(f"Not looked into: {each}")
        return True
    status = await ask_daemon(config, "status")
    roots = [each for each in status["roots"] if root in {None, each["name"]}]
    if as_json:
        print_json({"roots": [each["name"] for each in roots], "done": False, "left": list(map(_left, roots))})
    else:
        say("\n".join(["The time is over.", *map(_what_is_left, roots)]))
    return False


def _left(root: dict[str, Any]) -> dict[str, Any]:
    return {key: root[key] for key in ("name", "scanning", "waiting", "in_work")}


def _what_is_left(root: dict[str, Any]) -> str:
    facts = [f"{count_of_files(root['waiting'])} waiting", f"{root['in_work']} in work"]
    return f"{root['name']}: {', '.join(facts)}{', scanning' if root['scanning'] else ''}"
