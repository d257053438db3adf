"""``damd status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from damd.cli.application import ConfigOption, JsonOption, StateOption, load, print_json

if TYPE_CHECKING:
    from damd.config import Config


def status(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what the running daemon is doing.

    Where none runs, the exit code is 69, and only what the catalogue holds is shown.
    """
    import anyio

    settings = load(config, state)
    anyio.run(_status, settings, as_json)


async def _status(config: Config, as_json: bool) -> None:
    from damd import control
    from damd.errors import DaemonUnreachableError

    try:
        answer = await control.ask(config.state, "status")
    except DaemonUnreachableError:
        catalogue = await _catalogue_alone(config)
        if catalogue is not None:
            _show({"catalogue": catalogue}, as_json=as_json)
        raise
    _show(answer, as_json=as_json)


async def _catalogue_alone(config: Config) -> dict[str, int] | None:
    from damd.assembly import open_world
    from damd.catalogue.describe import summary
    from damd.catalogue.engine import catalogue_exists
    from damd.catalogue.store import Catalogue

    if not catalogue_exists(config.catalogue, config.state):
        return None  # a question does not begin a catalogue
    async with open_world(config, claims_roots=False) as world:
        return await world.get_resource(Catalogue).read(summary)


def _show(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    lines = []
    if "pid" in answer:
        lines.append(f"damd {answer['version']}, process {answer['pid']}, on {answer['state']}")
        for root in answer["roots"]:
            scanning = " (scanning)" if root["scanning"] else ""
            lines += [f"  {root['name']}: {root['path']}{scanning}"]
        lines.append(f"{answer['waiting']} waiting, {answer['in_work']} in work")
        lines.append("since start: " + ", ".join(f"{count} {word}" for word, count in answer["since_start"].items()))
    catalogue = answer["catalogue"]
    lines.append("catalogue: " + ", ".join(f"{word.replace('_', ' ')} {count}" for word, count in catalogue.items()))
    typer.echo("\n".join(lines))
