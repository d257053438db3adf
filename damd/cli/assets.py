"""``damd assets``."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from damd.cli.application import ConfigOption, JsonOption, StateOption, load, open_existing, print_json, printable
from damd.errors import DamdError

if TYPE_CHECKING:
    from damd.config import Config
    from damd.world import World

_PAGE = 200
_KIND, _SIZE = 19, 11  # columns, wide enough for nearly all
_FOR_PROGRAMS = {"perceptual_hash", "frame_hash", "reader_version", "unmade_previews"}  # --json has them
_SHORTEST_HASH = 6  # of what is taken for the beginning of a SHA-256

assets = typer.Typer(no_args_is_help=True, help="List and show the assets in the catalogue.", rich_markup_mode=None)


@assets.command("list")
def list_assets(
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
    family: Annotated[str | None, typer.Option(metavar="FAMILY", help="Only this family, such as image.")] = None,
) -> None:
    """List the assets, one a line, in the order of their import.

    The columns: number, SHA-256, type, pixels (or length, or pages), path (and how many more places it lies at).
    """
    import anyio

    settings = load(config, state)
    anyio.run(_list, settings, family, as_json)


@assets.command()
def show(
    asset: Annotated[
        str,
        typer.Argument(
            metavar="ASSET",
            help="The asset's number, the first digits (6 or more) of its SHA-256, or a path where it lies.",
        ),
    ],
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything that is known of one asset."""
    import anyio

    settings = load(config, state)
    anyio.run(_show, settings, asset, as_json)


async def _describe(world: World, asset_ids: list[int]) -> list[dict[str, Any]]:
    from damd.catalogue.describe import describe_assets
    from damd.catalogue.roots import Roots
    from damd.catalogue.store import Catalogue
    from damd.thumbnails import Thumbnails

    roots, previews = world.get_resource(Roots), world.get_resource(Thumbnails).folder
    return await world.get_resource(Catalogue).read(
        lambda session: describe_assets(session, asset_ids, roots, previews)
    )


async def _list(config: Config, family: str | None, as_json: bool) -> None:
    from damd.catalogue.describe import asset_page
    from damd.catalogue.store import Catalogue

    async with open_existing(config) as world:
        catalogue, after = world.get_resource(Catalogue), 0
        page = functools.partial(asset_page, limit=_PAGE, family=family)
        while asset_ids := await catalogue.read(functools.partial(page, after=after)):
            described = await _describe(world, asset_ids)
            if as_json:
                for asset in described:
                    print_json(asset)
            else:
                _print_table(described)
            after = asset_ids[-1]


def _print_table(described: list[dict[str, Any]]) -> None:
    """One page; a column's width is the same on every page, so that pages join."""
    for asset in described:
        size = _measure(asset["components"])
        locations = asset["locations"]
        more = f" (+{len(locations) - 1})" if len(locations) > 1 else ""
        # What is there comes first; what went missing is said to be.
        locations.sort(key=lambda location: location["missing_since"] is not None)
        where = printable(locations[0]["path"]) + _if_missing(locations[0]) if locations else "-"
        kind = asset["mime_type"] or "unknown"
        typer.echo(f"{asset['asset_id']:>6}  {asset['sha256'][:12]}  {kind:<{_KIND}}  {size:>{_SIZE}}  {where}{more}")


def _measure(components: dict[str, Any]) -> str:
    """How large it is, in the measure of its family: pixels, minutes and seconds, or pages."""
    for columns in components.values():
        match columns:
            case {"width": int(width), "height": int(height)}:
                return f"{width}×{height}"
            case {"duration_s": int() | float() as duration_s}:
                return f"{int(duration_s) // 60}:{int(duration_s) % 60:02}"
            case {"pages": int(pages)}:
                return "1 page" if pages == 1 else f"{pages} pages"
    return ""


async def _show(config: Config, asset: str, as_json: bool) -> None:
    async with open_existing(config) as world:
        described = await _describe(world, await _find(world, asset))
    if not described:
        raise DamdError(f"No asset is {asset!r}: give its number, the beginning of its SHA-256, or a path")
    for each in described:
        if as_json:
            print_json(each)
        else:
            _print_asset(each)


async def _find(world: World, asset: str) -> list[int]:
    """The assets that a person may mean; its number comes first, then a path, then a hash."""
    import anyio.to_thread

    from damd.catalogue.describe import assets_at, assets_by_hash
    from damd.catalogue.roots import Roots
    from damd.catalogue.store import Catalogue

    catalogue = world.get_resource(Catalogue)
    if asset.isdecimal() and len(asset) < _SHORTEST_HASH:
        return [int(asset)]
    place = await anyio.to_thread.run_sync(world.get_resource(Roots).place, asset)
    found = await catalogue.read(lambda session: assets_at(session, place))
    if not found and len(asset) >= _SHORTEST_HASH:
        found = await catalogue.read(lambda session: assets_by_hash(session, asset.lower()))
    return found


def _if_missing(location: dict[str, Any]) -> str:
    since = location["missing_since"]
    return f" (missing since {since[:19].replace('T', ' ')} UTC)" if since is not None else ""


def _flat(name: str, value: Any) -> Iterator[tuple[str, object]]:
    """Each value in it under the names that lead there; texts of a list on one line."""
    match value:
        case dict():
            for key, each in value.items():
                yield from _flat(f"{name}.{key}", each)
        case [str(), *_]:
            yield name, ", ".join(value)
        case list():
            for each in value:
                yield from _flat(name, each)
        case None | "":
            return
        case _:
            yield name, value


def _print_asset(asset: dict[str, Any]) -> None:
    rows: list[tuple[str, object]] = [
        (name, asset[name])
        for name in ("asset_id", "sha256", "size_bytes", "mime_type", "family", "first_name")
        if asset[name] is not None
    ]
    rows += [("location", location["path"] + _if_missing(location)) for location in asset["locations"]]
    rows += [("preview", preview["path"]) for preview in asset["previews"]]
    for name, columns in asset["components"].items():
        if name not in _FOR_PROGRAMS:
            rows += _flat(name, columns)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        typer.echo(f"{name:<{width}}  {printable(str(value))}")
