"""What `damd refresh` finds to do: outdated assets, and files that failed for a type which is read today."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path

from damd.catalogue.outdated import (
    Outdated,
    Reader,
    Today,
    is_outdated,
    known_asset,
    make_due,
    outdated_page,
    unsupported_page,
)
from damd.catalogue.roots import Place
from damd.catalogue.store import Catalogue
from damd.filetype import get_mime_type
from damd.fingerprint import look_in
from damd.ingest.refresh_asset import find_source, path_of
from damd.media.base import Families
from damd.sandbox import Sandbox
from damd.thumbnails import Thumbnails
from damd.world import World


def read_today(world: World) -> Today:
    """What this World's families and readers read, with the extras that are installed, and the previews it makes.

    Families without a reader are left out: only their own handlers could read again.
    """
    families, sandbox = world.get_resource(Families), world.get_resource(Sandbox)
    thumbnails = world.get_resource(Thumbnails)
    readers = {}
    for mime_type in families.mime_types:
        family = families.of(mime_type)
        name = family.reader_of(mime_type) if family else ""
        with suppress(KeyError):  # a plugin that has not added its reader: `damd doctor` tells
            readers[mime_type] = Reader(name, sandbox.version_of(name))
    return Today(readers, thumbnails.settings.sizes, thumbnails.settings.format, thumbnails.folder)


async def outdated_assets(world: World) -> AsyncIterator[Outdated]:
    """Every asset that is to be read again, by its number; those that are not certain have been looked at."""
    today = read_today(world)
    async for outdated in _all(world, today):
        if outdated.certain or await _is_read_now(world, outdated, today):
            yield outdated


async def count_outdated(world: World) -> int:
    """How many assets are certain to be read again; no file of theirs is looked at."""
    today = read_today(world)
    return sum([1 async for outdated in _all(world, today) if outdated.certain])


async def _all(world: World, today: Today) -> AsyncIterator[Outdated]:
    after = 0
    while True:
        page = functools.partial(outdated_page, today=today, after=after)
        found, after = await world.get_resource(Catalogue).read(page)
        for outdated in found:
            yield outdated
        if not after:
            return


async def _is_read_now(world: World, outdated: Outdated, today: Today) -> bool:
    known = await world.get_resource(Catalogue).read(lambda session: known_asset(session, outdated.asset_id))
    source = await find_source(world, known) if known else None
    if source is None:
        return False
    reader = today.readers.get(await _type_of(source.path, source.place) or "")
    return reader is not None and is_outdated(outdated.last, reader)


async def unsupported_files(world: World, roots: Collection[str]) -> AsyncIterator[tuple[Path, Place]]:
    """The files that failed for their type alone, or by an older reader, and are of a type that is read today.

    Args:
        world: The World.
        roots: Those in which they are looked for; the empty name stands for all that lies outside every root.
    """
    families, versions, after = world.get_resource(Families), world.get_resource(Sandbox).versions, 0
    while True:
        page = functools.partial(unsupported_page, roots=roots, versions=versions, after=after)
        failed = await world.get_resource(Catalogue).read(page)
        for _, place in failed:
            path = path_of(world, place)
            if families.reads(await _type_of(path, place)):
                yield path, place
        if not failed:
            return
        after = failed[-1][0]


async def let_in(world: World, place: Place) -> None:
    """Make the next attempt on a file that failed for its type due, whatever was thought of it."""
    await world.get_resource(Catalogue).write(lambda session: make_due(session, place))


async def _type_of(path: Path, place: Place) -> str | None:
    """The file's type by its bytes; None also where it cannot be looked at."""
    try:
        return await look_in(place.root, _mime_type_of_file, path)
    except OSError:
        return None


def _mime_type_of_file(path: Path) -> str | None:
    return get_mime_type(path) if os.path.isfile(path) else None  # noqa: PTH113 - this raises nothing
