"""What `damd refresh` finds to do: outdated assets, and files that failed for a type which may be read today.

No file of theirs is opened to find that out, so that what is opened can be paced and counted; what was looked at in
vain is remembered.
"""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import anyio

from damd.catalogue.outdated import (
    FailedFile,
    Outdated,
    Reader,
    Today,
    make_due,
    outdated_page,
    remember_type,
    unsupported_page,
)
from damd.catalogue.roots import Place, Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import now
from damd.filetype import get_mime_type
from damd.fingerprint import look_in
from damd.media.base import Families, Family
from damd.sandbox import Sandbox
from damd.thumbnails import Thumbnails
from damd.world import World


def read_today(world: World) -> Today:
    """What this World's families and readers read again, with the extras that are installed, and the previews it makes.

    Families without a reader, or without rows, are left out: only their own handlers could read again.
    """
    families, sandbox = world.get_resource(Families), world.get_resource(Sandbox)
    thumbnails = world.get_resource(Thumbnails)
    readers = {}
    for mime_type in families.mime_types:
        family = families.of(mime_type)
        if family is None or not is_read_again(family, mime_type):
            continue
        name = family.reader_of(mime_type)
        with suppress(KeyError):  # a plugin that has not added its reader: `damd doctor` tells
            readers[mime_type] = Reader(name, sandbox.version_of(name))
    return Today(readers, thumbnails.settings.sizes, thumbnails.settings.format, thumbnails.folder)


def is_read_again(family: Family, mime_type: str | None) -> bool:
    """Whether a reader of this family's, and its `rows`, make all that a file of this type is to have."""
    return bool(family.reader_of(mime_type)) and family.rows is not Family.rows


def path_of(world: World, place: Place) -> Path:
    """The path of a location's key."""
    return Path(os.fsdecode(world.get_resource(Roots).path_of(place)))


async def outdated_assets(world: World, *, failed_before: datetime | None = None) -> AsyncGenerator[Outdated]:
    """Every asset that is to be read again, by its number.

    Args:
        world: The World.
        failed_before: As in `damd.catalogue.outdated.outdated_page`.
    """
    today, after = read_today(world), 0
    while True:
        page = functools.partial(outdated_page, today=today, after=after, failed_before=failed_before)
        found, after = await world.get_resource(Catalogue).read(page)
        for outdated in found:
            yield outdated
        if not after:
            return


class Count(NamedTuple):
    """How many there are; at least so many, where it is not `complete`."""

    number: int
    complete: bool


async def count_outdated(world: World, *, within_s: float) -> Count:
    """How many assets are to be read again, as far as that can be counted in so many seconds."""
    today, give_up_at_s, number = read_today(world), anyio.current_time() + within_s, 0
    for failed_before in (None, now()):
        after = 0
        while True:
            page = functools.partial(outdated_page, today=today, after=after, failed_before=failed_before)
            found, after = await world.get_resource(Catalogue).read(page)
            number += len(found)
            if not after:
                break
            if anyio.current_time() > give_up_at_s:
                return Count(number, complete=False)
    return Count(number, complete=True)


async def unsupported_files(world: World, roots: Collection[str]) -> AsyncGenerator[tuple[Path, FailedFile]]:
    """The files that are still there and failed by an older reader, or for a type that is, or may be, read today.

    Args:
        world: The World.
        roots: Those in which they are looked for; the empty name stands for all that lies outside every root.
    """
    families, versions, after = world.get_resource(Families), world.get_resource(Sandbox).versions, 0
    while True:
        page = functools.partial(
            unsupported_page, roots=roots, versions=versions, mime_types=families.mime_types, after=after
        )
        failed = await world.get_resource(Catalogue).read(page)
        for file in failed:
            path = path_of(world, file.place)
            if await look_in(file.place.root, os.path.isfile, path):
                yield path, file
        if not failed:
            return
        after = failed[-1].number


async def is_still_unread(world: World, path: Path, file: FailedFile) -> bool:
    """Whether a file that failed for its type is of none that is read today, which is then remembered.

    Of one that cannot be looked at, nobody knows: that it is tried says why.
    """
    if not file.for_its_type:
        return False
    try:
        mime_type = await look_in(file.place.root, get_mime_type, path)
    except OSError:
        return False
    if world.get_resource(Families).reads(mime_type):
        return False
    await world.get_resource(Catalogue).write(lambda session: remember_type(session, file.place, mime_type))
    return True


async def let_in(world: World, place: Place) -> None:
    """Make the next attempt on a file that failed for its type due, whatever was thought of it."""
    await world.get_resource(Catalogue).write(lambda session: make_due(session, place))
