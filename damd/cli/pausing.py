"""``damd pause`` and ``damd resume``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from damd.cli.application import ConfigOption, JsonOption, StateOption, print_json, say
from damd.cli.asking import ask_daemon, load_to_ask
from damd.cli.words import when

if TYPE_CHECKING:
    from damd.config import Config


def pause(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Have the running daemon begin no more files for now.

    What is in work is finished, folders are watched on, and what arrives waits. A daemon that starts again is not
    paused. The exit code is 0, paused before or not; the JSON says since when, and whether this changed it.
    """
    import anyio

    anyio.run(_pause, load_to_ask(config, state), as_json)


def resume(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Have a paused daemon go on with what waits.

    The exit code is 0, paused before or not; the JSON says whether this changed it.
    """
    import anyio

    anyio.run(_resume, load_to_ask(config, state), as_json)


async def _pause(config: Config, as_json: bool) -> None:
    before = await _paused_since(config)
    answer = await ask_daemon(config, "pause")
    if as_json:
        print_json(answer | {"changed": before is None})
    elif before is None:
        say("Paused: what is in work is finished, and no other file is begun. To go on: damd resume")
    else:
        say(f"It is paused already, since {when(before)}. To go on: damd resume")


async def _resume(config: Config, as_json: bool) -> None:
    before = await _paused_since(config)
    answer = await ask_daemon(config, "resume")
    if as_json:
        print_json(answer | {"changed": before is not None})
    elif before is None:
        say("It was not paused.")
    else:
        say(f"It goes on; it was paused since {when(before)}.")


async def _paused_since(config: Config) -> str | None:
    paused_since: str | None = (await ask_daemon(config, "status"))["paused_since"]
    return paused_since
