"""``damd duplicates``."""

from __future__ import annotations

import functools
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from damd.cli.application import (
    ConfigOption,
    JsonOption,
    StateOption,
    load,
    open_existing,
    print_json,
    printable,
)

if TYPE_CHECKING:
    from damd.config import Config
    from damd.similarity.groups import Group
    from damd.world import World

_PAGE = 200


def duplicates(
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
    exact: Annotated[bool, typer.Option("--exact", help="Only files of the same content.")] = False,
    near: Annotated[bool, typer.Option("--near", help="Only pictures that look alike.")] = False,
    distance: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=16,
            metavar="BITS",
            help="How different pictures that look alike may be, at most; no more than was configured is known.",
        ),
    ] = None,
) -> None:
    """List files of the same content, and pictures that look alike.

    Files that are missing are left out. A picture's distance is that to the nearest other one of its group.
    """
    import anyio

    settings = load(config, state)
    anyio.run(_list, settings, exact or not near, near or not exact, distance, as_json)


async def _list(config: Config, exact: bool, near: bool, distance: int | None, as_json: bool) -> None:
    show = print_json if as_json else _print_group
    async with open_existing(config) as world:
        if exact:
            async for group in _exact_groups(world):
                show(group)
        if near:
            async for group in _near_groups(world, distance):
                show(group)


async def _exact_groups(world: World) -> AsyncIterator[dict[str, Any]]:
    from damd.catalogue.duplicates import exact_duplicates_after
    from damd.catalogue.store import Catalogue

    catalogue, after = world.get_resource(Catalogue), 0
    page = functools.partial(exact_duplicates_after, limit=_PAGE)
    while asset_ids := await catalogue.read(functools.partial(page, after=after)):
        for asset in (await _describe(world, dict.fromkeys(asset_ids, 0))).values():
            yield {"kind": "exact", "assets": [asset]}
        after = asset_ids[-1]


async def _near_groups(world: World, distance: int | None) -> AsyncIterator[dict[str, Any]]:
    groups = await _group(world, distance)
    # Several are described at once, since most have two members.
    waiting: list[dict[int, int]] = []
    for number, members in enumerate(groups, start=1):
        waiting.append(dict(members))
        if number < len(groups) and sum(map(len, waiting)) < _PAGE:
            continue
        described = await _describe(world, dict(itertools.chain.from_iterable(each.items() for each in waiting)))
        for each in waiting:
            yield {"kind": "near", "assets": [described[asset_id] for asset_id in each if asset_id in described]}
        waiting = []


async def _group(world: World, distance: int | None) -> list[Group]:
    from damd.catalogue.duplicates import pairs_after
    from damd.catalogue.store import Catalogue
    from damd.similarity.groups import Groups

    catalogue, after = world.get_resource(Catalogue), 0
    groups = Groups()
    page = functools.partial(pairs_after, distance=distance)
    while pairs := await catalogue.read(functools.partial(page, after=after)):
        groups.add(pairs)
        after = pairs[-1].number
    return groups.found()


async def _describe(world: World, members: Mapping[int, int]) -> dict[int, dict[str, Any]]:
    """The assets of these numbers, each with its distance."""
    from damd.catalogue.duplicates import describe_duplicates
    from damd.catalogue.roots import Roots
    from damd.catalogue.store import Catalogue
    from damd.thumbnails import Thumbnails

    roots, previews = world.get_resource(Roots), world.get_resource(Thumbnails).folder
    catalogue, asset_ids = world.get_resource(Catalogue), list(members)
    found: dict[int, dict[str, Any]] = {}
    for start in range(0, len(asset_ids), _PAGE):
        page = asset_ids[start : start + _PAGE]
        ask = functools.partial(describe_duplicates, asset_ids=page, roots=roots, previews=previews)
        found |= await catalogue.read(ask)
    return {
        asset_id: {"asset_id": asset_id, "distance": distance, **found[asset_id]}
        for asset_id, distance in members.items()
        if asset_id in found
    }


def _print_group(group: dict[str, Any]) -> None:
    """A line for each asset, its files and previews below it, and an empty line behind the group."""
    for asset in group["assets"]:
        size = f"{asset['width']}×{asset['height']}" if asset["width"] else ""
        kind = "same" if group["kind"] == "exact" else f"near {asset['distance']:>2}"
        typer.echo(
            f"{kind:<7}  {asset['asset_id']:>6}  {asset['sha256'][:12]}  {size:>11}  {asset['size_bytes']} bytes"
        )
        for path in asset["locations"]:
            typer.echo(f"         {printable(path)}")
        for path in asset["previews"]:
            typer.echo(f"         preview {printable(path)}")
    typer.echo("")
