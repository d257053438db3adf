"""``damd roots``."""

from __future__ import annotations

import base64
import functools
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from damd.cli.application import (
    ConfigOption,
    JsonOption,
    StateOption,
    load,
    note_missing_state,
    open_existing,
    print_json,
    printable,
    say,
)
from damd.cli.asking import ask_status
from damd.cli.completion import root_names
from damd.cli.status.standing import at_work
from damd.cli.words import count_of_files, when
from damd.errors import DaemonUnreachableError, DamdError

if TYPE_CHECKING:
    from damd.config import Config

roots = typer.Typer(no_args_is_help=True, help="List the watched folders, or accept a loss.", rich_markup_mode=None)


@roots.command("list")
def list_roots(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the roots that the catalogue or the configuration knows.

    One that is held stands out: nothing in it is taken for deleted, until it is whole again or you accept it.
    """
    import anyio

    anyio.run(_list, load(config, state), as_json)


@roots.command()
def accept(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The root's name, as damd roots list shows it.", autocompletion=root_names),
    ],
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accept that the files a held root misses are gone.

    They are marked missing; assets are never deleted. The exit code is 1 where there is nothing to accept.
    """
    import anyio

    anyio.run(_accept, load(config, state), name, as_json)


async def _list(config: Config, as_json: bool) -> None:
    described = await _describe(config)
    for root in described:
        if as_json:
            print_json(root)
        else:
            typer.echo("\n".join(map(printable, _lines(root))))
    if not described:
        say("There are no roots yet: damd run --watch DIR, or `watch:` in the configuration, makes one")
    note_missing_state(config)


async def _describe(config: Config) -> list[dict[str, Any]]:
    """What there is to say of each root, in the order of their names."""
    daemon = await ask_status(config)
    at_work = {root["name"]: root for root in (daemon or {"roots": []})["roots"]}
    states = {state["name"]: state for state in await _states(config)}
    described = []
    for name in sorted(states.keys() | config.roots.keys()):
        root = states.get(name) or _unknown(config, name)
        problem = await _problem(_folder(root))
        described.append(
            root
            | {"configured": name in config.roots, "there": problem is None, "problem": problem}
            | {"daemon": _of_daemon(at_work.get(name))}
        )
    return described


async def _states(config: Config) -> list[dict[str, Any]]:
    from damd.catalogue.describe import root_states
    from damd.catalogue.engine import catalogue_exists
    from damd.catalogue.store import Catalogue

    if not catalogue_exists(config.catalogue, config.state):
        return []
    async with open_existing(config) as world:
        return await world.get_resource(Catalogue).read(root_states)


def _unknown(config: Config, name: str) -> dict[str, Any]:
    """A root that the catalogue has not been told of yet."""
    from damd.events import readable_path

    path, path_base64 = readable_path(os.fsencode(config.roots[name].path))
    held: dict[str, Any] = dict.fromkeys(("held_since", "held_because", "held_missing", "accepted_at"))
    return (
        {"name": name, "path": path}
        | ({"path_base64": path_base64} if path_base64 is not None else {})
        | {"locations": 0, "missing": 0}
        | held
    )


def _folder(root: dict[str, Any]) -> bytes:
    return base64.b64decode(root["path_base64"]) if "path_base64" in root else root["path"].encode()


async def _problem(folder: bytes) -> str | None:
    """Why a root's folder cannot be listed; None if it can."""
    from damd.patience import in_time, why_unlistable

    try:
        return await in_time(functools.partial(why_unlistable, folder))
    except TimeoutError:
        return "it does not answer"


def _of_daemon(root: dict[str, Any] | None) -> dict[str, Any] | None:
    if root is None:
        return None
    return {key: root[key] for key in ("backend", "scanning", "unwatched", "renewals", "waiting")}


def _lines(root: dict[str, Any]) -> list[str]:
    if root["daemon"] is not None:
        state = at_work(root["daemon"])
    else:
        state = "not watched" if root["configured"] else "not watched, not configured"
    lines = [f"{root['name']}: {root['path']} ({state})"]
    missing = f", {root['missing']} of them missing" if root["missing"] else ""
    there = "" if root["there"] else f"; its folder is not there: {root['problem']}"
    lines.append(f"  {count_of_files(root['locations'])} known{missing}{there}")
    if root["held_since"] is not None:
        lines.append(f"  HELD since {when(root['held_since'])}: {root['held_because']}. {_advice(root)}")
    return lines


def _advice(root: dict[str, Any]) -> str:
    if not root["there"]:
        return "Mount it, or remove it from the configuration"
    if root["held_missing"] is None:
        return "A running damd tries again, and releases it"
    if root["accepted_at"] is not None:
        return f"Accepted {when(root['accepted_at'])}: the next scan lets it pass"
    return f"Bring back what is not there, or let it pass: damd roots accept {root['name']}"


async def _accept(config: Config, name: str, as_json: bool) -> None:
    from damd.catalogue import absence
    from damd.catalogue.describe import root_states
    from damd.catalogue.store import Catalogue
    from damd.catalogue.tables import now

    async with open_existing(config) as world:
        catalogue = world.get_resource(Catalogue)
        root = await _acceptable(name, await catalogue.read(root_states))
        if not await catalogue.write(functools.partial(absence.accept, root=name, at=now())):
            raise _not_held(name)  # it has been released meanwhile
    is_scanned = await _ask_to_scan(config, name)
    if as_json:
        print_json({"name": name, "held_because": root["held_because"], "accepted": True, "scanning": is_scanned})
        return
    files = count_of_files(root["held_missing"])
    say(f"Accepted: in {name}, {files} that are not there will be marked missing; assets are never deleted.")
    say("The daemon looks at it now." if is_scanned else "The next `damd run` that watches it does so.")


async def _acceptable(name: str, states: list[dict[str, Any]]) -> dict[str, Any]:
    """The root of this name.

    Raises:
        DamdError: There is nothing in it that could be accepted.
    """
    root = next((state for state in states if state["name"] == name), None)
    if root is None:
        known = ", ".join(state["name"] for state in states) or "none"
        raise DamdError(f"The catalogue knows no root {name}; those it knows: {known}")
    if root["held_since"] is None:
        raise _not_held(name)
    if (problem := await _problem(_folder(root))) is not None:
        raise DamdError(
            f"The root {name} ({root['path']}) is not there ({problem}), so that nothing in it can be missed: "
            "mount it, or remove it from the configuration"
        )
    if root["held_missing"] is None:
        raise DamdError(
            f"Nothing is known to be missing in the root {name}, which could not be watched: "
            "a running damd looks at it again, and tells what it misses"
        )
    return root


def _not_held(name: str) -> DamdError:
    return DamdError(f"The root {name} is not held: there is nothing to accept")


async def _ask_to_scan(config: Config, name: str) -> bool:
    """Whether a daemon runs that compares this root now."""
    from damd import control

    try:
        answer = await control.ask(config.state, "scan", root=name)
    except DaemonUnreachableError:
        return False
    return name in answer["roots"]
