"""``damd explain``: the command, and one to three sentences of what `damd.explain` found, the answer first."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
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
)
from damd.cli.asking import ask_status
from damd.cli.words import count_of_files, how_long, how_often, when

if TYPE_CHECKING:
    from damd.config import Config
    from damd.explain import Explanation
    from damd.world import World


def explain(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", readable=False, help="Files or folders; nothing needs to be there.")
    ],
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why a path is where it is, and what becomes of it.

    It may be waiting, in work, ignored, failed, an asset, out of reach, or outside every root.
    """
    import anyio

    from damd import logs

    settings = load(config, state)
    logs.configure("error", settings.logging.format)
    anyio.run(_explain, settings, paths, as_json)


async def _explain(config: Config, paths: list[Path], as_json: bool) -> None:
    from damd import explain

    daemon = await ask_status(config)
    async with _open(config) as world:
        for path in paths:
            explanation = await explain.explain(world, path, daemon=daemon)
            said = words(explanation)
            if as_json:
                print_json({**dataclasses.asdict(explanation), "words": said})
            else:
                typer.echo(printable(" ".join(said)))
    note_missing_state(config)


@asynccontextmanager
async def _open(config: Config) -> AsyncIterator[World]:
    from damd.catalogue.engine import catalogue_exists
    from damd.world import World

    if catalogue_exists(config.catalogue, config.state):
        async with open_existing(config) as world:
            yield world
    else:
        world = World()
        world.add_resource(config)
        yield world


def words(explanation: Explanation) -> list[str]:
    """One to three sentences that lead with the answer."""
    said = next(filter(None, (answer(explanation) for answer in _ANSWERS)))
    lead, *rest = said
    return [f"{explanation.path} {lead}", *filter(None, rest)]


def _out_of_bounds(it: Explanation) -> list[str] | None:
    """None of damd's business, wherever it lies; all the same it may be in the catalogue."""
    if it.ignored is not None:
        return [_why_ignored(it.ignored, it), _all_the_same(it)]
    if it.root is not None:
        return None
    roots = "; ".join(f"{name}: {path}" for name, path in it.roots.items())
    lead = f"lies outside every root ({roots})." if roots else "lies outside every root: there is none."
    if it.failure is not None and not (it.location or {}).get("agrees"):
        return [lead, f"It {_failed(it, it.failure)}"]
    return [lead, _all_the_same(it), _how_much_below(it)]


def _why_ignored(ignored: Any, it: Explanation) -> str:
    root = f"the root {it.root.name}" if it.root is not None else "every root"
    if ignored.because == "state":
        return "lies in damd's own state folder, which is never watched."
    if ignored.because == "not recursive":
        return f"lies too deep: {root} ends with its own folder (recursive: false)."
    if ignored.because == "link":
        return f"lies behind the symbolic link {ignored.folder}, which is not followed (follow_symlinks: false)."
    if ignored.because == "include":
        return f"is left out: {ignored.pattern} ({ignored.source})."
    rule = f'"{ignored.pattern}" ({ignored.source})'
    if ignored.folder is not None:
        return f"is ignored: {rule} ignores its folder {ignored.folder}."
    return f"is ignored by {rule}."


def _unreachable(it: Explanation) -> list[str] | None:
    root, asset = it.root, it.location["asset_id"] if it.location is not None else None
    known = f"It is known as asset {asset}, and is not taken for deleted." if asset is not None else ""
    if root is not None and root.unreachable is not None:
        return [f"is out of reach: the root {root.name} ({root.path}) cannot be listed: {root.unreachable}.", known]
    if it.there == "unreachable":
        return [f"is out of reach: {it.error}.", known]
    is_missed = it.there == "nothing" and it.location is not None and it.location["missing_since"] is None
    if is_missed and it.volume_gone:
        return ["is out of reach: the file system that it lay on is not mounted now.", known]
    if is_missed and root is not None and root.held_since is not None:
        return [f"is out of reach: {_held(root)}", known]
    return None


def _held(root: Any) -> str:
    return f"the root {root.name} is held since {when(root.held_since)}: {root.held_because}."


def _in_intake(it: Explanation) -> list[str] | None:
    if it.intake is None:
        return None
    state, lasting = it.intake["state"], how_long(it.intake["since_s"])
    moved = f"It was renamed from {it.intake['moved_from']}." if "moved_from" in it.intake else ""
    if state == "tried again":
        again = f"is tried again in {how_long(it.intake.get('retry_in_s', 0))}"
        return [f"failed {_attempts(it.failure)}; it {again}." if it.failure is not None else f"{again}.", moved]
    if state == "in work":
        meanwhile = "It has changed meanwhile, and comes up again afterwards." if "sighted_again" in it.intake else ""
        return [f"is in work ({lasting}).", moved, meanwhile]
    awaited = it.intake["for"]
    return [f"waits for {awaited} ({lasting})." if awaited else f"waits ({lasting}).", moved, _before(it)]


def _before(it: Explanation) -> str:
    if it.failure is not None:
        return f"Before, it failed {_attempts(it.failure)}."
    return f"It is known as asset {it.location['asset_id']} so far." if it.location is not None else ""


def _is_folder(it: Explanation) -> list[str] | None:
    if it.there != "folder" or it.root is None:
        return None
    held = f"Nothing in it is taken for deleted: {_held(it.root)}" if it.root.held_since is not None else ""
    what = f"is the root {it.root.name}." if it.path == it.root.path else f"is a folder in the root {it.root.name}."
    return [what, _how_much_below(it) or "Nothing is known below it.", held]


def _how_much_below(it: Explanation) -> str:
    if it.below is None or not any(it.below.values()):
        return ""
    counted = {"of them missing": it.below["missing"], "failed": it.below["failures"]}
    rest = "".join(f", {count} {word}" for word, count in counted.items() if count)
    return f"Known below it: {count_of_files(it.below['locations'])}{rest}."


def _is_gone(it: Explanation) -> list[str] | None:
    if it.there != "nothing":
        return None
    location = it.location
    if location is None and it.failure is None:
        below = _how_much_below(it)
        return [f"is not there, and {'was a folder' if below else 'the catalogue knows nothing of it'}.", below]
    if location is None:
        return [f"is not there; it {_failed(it, it.failure or {})}"]
    if location["missing_since"] is not None:
        return [f"is missing since {when(location['missing_since'])}: it was {_asset(location)}."]
    return [f"is not there, and not yet marked missing as {_asset(location)}: {_next_look(it)}."]


def _is_known(it: Explanation) -> list[str] | None:
    if it.location is None or not it.location["agrees"]:
        return None
    if it.location["missing_since"] is not None:
        return [f"is {_asset(it.location)}; it was missing, and is there again: {_next_look(it)}."]
    return [f"is {_asset(it.location)}."]


def _has_failed(it: Explanation) -> list[str] | None:
    if it.failure is None:
        return None
    before = f"It is known as asset {it.location['asset_id']} so far." if it.location is not None else ""
    return [_failed(it, it.failure), before]


def _has_changed(it: Explanation) -> list[str] | None:
    if it.location is None:
        return None
    return [f"has changed since it was catalogued as {_asset(it.location)}: {_next_look(it)}."]


def _is_new(it: Explanation) -> list[str]:
    if it.there == "link":
        return ["is a symbolic link, which is not followed (follow_symlinks: false)."]
    if it.there == "file":
        return [f"is not catalogued yet: {_next_look(it)}."]
    what = "a symbolic link that leads nowhere" if it.there == "broken link" else "neither a file nor a folder"
    return [f"is {what}: it cannot be catalogued."]


def _all_the_same(it: Explanation) -> str:
    if it.location is None:
        return ""
    if it.there == "file" and not it.location["agrees"]:
        return f"It has changed since it was catalogued as {_asset(it.location)}."
    if it.location["missing_since"] is not None:
        return f"It was {_asset(it.location)}, missing since {when(it.location['missing_since'])}."
    return f"All the same, it is {_asset(it.location)}."


def _asset(location: Mapping[str, Any]) -> str:
    asset = f"asset {location['asset_id']} (here since {when(location['imported_at'])})"
    others, first = [other["path"] for other in location["others"]], location["duplicate_of"]
    if not others:
        return asset
    uncounted = location["other_count"] - len(others)
    places = ", ".join(others) + (f" and {uncounted} other places" if uncounted else "")
    return f"{asset}, a duplicate of {places}" if first is not None else f"{asset}, also at {places}"


def _failed(it: Explanation, failure: Mapping[str, Any]) -> str:
    """What goes on from the path, or from "it"."""
    if it.there != "nothing" and not failure["agrees"]:
        return f"has changed since it failed ({failure['reason']}): {_next_look(it)}."
    if failure["permanent"]:
        return f"failed for good: {failure['reason']}; only `damd failures retry` tries the same content again."
    return f"failed {_attempts(failure)}; it is tried again at {when(failure['next_attempt_at'])}, or soon after."


def _attempts(failure: Mapping[str, Any]) -> str:
    return f"{how_often(failure['attempts'])}: {failure['reason']}"


def _next_look(it: Explanation) -> str:
    if it.root is None:
        return "`damd ingest` looks at it"
    if it.root.watched is None:
        return "no damd runs, and the next `damd run` looks at it"
    if not it.root.watched:
        return f"the damd that runs does not watch the root {it.root.name}"
    if it.root.scanning:
        return f"the root {it.root.name} is being compared with the catalogue now"
    return "it waits for the next look" + (f" (every {it.root.rescan} at least)" if it.root.rescan else "")


_ANSWERS: tuple[Callable[[Explanation], list[str] | None], ...] = (
    _out_of_bounds,
    _unreachable,
    _in_intake,
    _is_folder,
    _is_gone,
    _is_known,
    _has_failed,
    _has_changed,
    _is_new,
)
