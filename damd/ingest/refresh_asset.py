"""`RefreshAssetCommand`: an asset's file is read again, and what was found takes the place of its rows.

The asset stays what it is: its number, its hash and its locations. So nothing is announced, and where reading fails
now, all that an older reader found is kept.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from damd.catalogue.components import PerceptualHash, ReaderVersion, UnmadePreviews
from damd.catalogue.outdated import (
    FILETYPE,
    KnownAsset,
    SecondReading,
    known_asset,
    record_reading,
    remember_failure,
)
from damd.catalogue.roots import Place
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Component, now
from damd.errors import CatalogueError, FileChangedError, FileError, UnreadableFileError, UnsupportedTypeError
from damd.filetype import get_mime_type
from damd.fingerprint import Signature, look_in, take_signature
from damd.ingest.failures import GONE, as_file_error
from damd.ingest.outdated import is_read_again, path_of, read_today
from damd.ingest.policy import RootPolicies
from damd.media.base import Families, Family, Reading, find_alike, preview_row, read_media
from damd.similarity.resource import Similarity
from damd.thumbnails import Thumbnails, WrittenPreview
from damd.world import BaseCommand, World, handles_command

NOT_THERE = "Its file is not there, or was changed since it was imported: a scan finds out"


class RefreshStatus(StrEnum):
    """How it ended."""

    REFRESHED = "REFRESHED"
    UNCHANGED = "UNCHANGED"
    UNREACHABLE = "UNREACHABLE"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class RefreshResult:
    """The outcome for one asset.

    Attributes:
        status: UNCHANGED where no reader takes it, as before; UNREACHABLE where no file of it is there now.
        asset_id: The asset.
        path: The file that was read, or should have been.
        reason: Why it was not refreshed, in words for a person.
    """

    status: RefreshStatus
    asset_id: int
    path: Path | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class RefreshAssetCommand(BaseCommand):
    """Read an asset's file again, whether or not it is outdated."""

    asset_id: int


class Source(NamedTuple):
    """A file of an asset that is still the one which was recorded."""

    path: Path
    place: Place
    signature: Signature


@handles_command(RefreshAssetCommand)
async def handle_refresh_asset(cmd: RefreshAssetCommand, world: World, catalogue: Catalogue) -> RefreshResult:
    """Read an asset's file again; raises nothing that is the file's fault.

    Raises:
        CatalogueError: The catalogue cannot be used, nor can it for the next asset.
    """
    result = functools.partial(RefreshResult, asset_id=cmd.asset_id)
    known = await catalogue.read(lambda session: known_asset(session, cmd.asset_id))
    if known is None:
        return result(status=RefreshStatus.UNREACHABLE, reason="There is no asset of this number")
    if not known.locations:
        return result(status=RefreshStatus.UNREACHABLE, reason="All of its files are missing")
    path = path_of(world, known.locations[0][0])
    source = await find_source(world, known)
    if source is None:
        return result(status=RefreshStatus.UNREACHABLE, path=path, reason=NOT_THERE)
    try:
        reason = await _refresh(world, known, source)
    except CatalogueError:
        raise
    except Exception as error:  # noqa: BLE001 - the boundary: what fails here is one file
        file_error = as_file_error(error, source.path)
        if _has_left(file_error):
            return result(status=RefreshStatus.UNREACHABLE, path=source.path, reason=str(file_error))
        await _remember_failure(world, known, file_error)
        return result(status=RefreshStatus.FAILED, path=source.path, reason=str(file_error))
    status = RefreshStatus.UNCHANGED if reason else RefreshStatus.REFRESHED
    return result(status=status, path=source.path, reason=reason)


def _has_left(error: FileError) -> bool:
    return isinstance(error, FileChangedError) or (isinstance(error, UnreadableFileError) and error.errno in GONE)


async def find_source(world: World, known: KnownAsset) -> Source | None:
    """The first of an asset's files that still has the signature which was recorded; None: there is none."""
    for place, signature in known.locations:
        source = Source(path_of(world, place), place, signature)
        if await _is_still_there(world, source):
            return source
    return None


async def _is_still_there(world: World, source: Source) -> bool:
    follow_symlinks = world.get_resource(RootPolicies).of(source.place.root).follow_symlinks
    look = functools.partial(take_signature, source.path, follow_symlinks=follow_symlinks)
    try:
        return await look_in(source.place.root, look) == source.signature
    except FileError:
        return False


async def _refresh(world: World, known: KnownAsset, source: Source) -> str | None:
    """Read the file and record what was found; returns why there is nothing to record, if so.

    Raises:
        Exception: Whatever hindered it; nothing was recorded.
    """
    families, thumbnails = world.get_resource(Families), world.get_resource(Thumbnails)
    mime_type = await look_in(source.place.root, get_mime_type, source.path)
    family = families.of(mime_type)
    if family is None or not families.reads(mime_type):
        return await _leave(world, known, mime_type, UnsupportedTypeError(mime_type=mime_type))
    if not is_read_again(family, mime_type):
        words = f"The family {family.name} has no reader by which it could be read again"
        if known.family is None:
            await _leave(world, known, mime_type, UnsupportedTypeError(words))
        else:
            await _remember_failure(world, known, UnsupportedTypeError(words))
        return words
    async with thumbnails.drafts(known.sha256) as drafts:
        try:
            reading = await read_media(world, family, source.path, mime_type, drafts)
        except UnsupportedTypeError as refusal:
            return await _leave(world, known, mime_type, refusal)
        if not await _is_still_there(world, source):
            raise FileChangedError
        with anyio.CancelScope(shield=True):  # previews and rows belong together
            previews = await anyio.to_thread.run_sync(drafts.publish, reading.previews)
            unmade = set(drafts.sizes) - {preview.size for preview in previews}
            if previews and unmade:
                lack = UnmadePreviews(format=thumbnails.settings.format, sizes=sorted(unmade))
                reading = reading._replace(components=[*reading.components, lack])
            await _record(world, known, family, mime_type, reading, previews)
    return None


async def _record(
    world: World,
    known: KnownAsset,
    family: Family,
    mime_type: str | None,
    reading: Reading,
    previews: list[WrittenPreview],
) -> None:
    families = world.get_resource(Families)
    former = (families.of(known.mime_type), families.named(known.family), family)
    tables = {table for each in former if each is not None for table in each.tables}
    components: list[Component] = [*reading.components, *map(preview_row, previews)]
    second = SecondReading(tables, components, mime_type, reading.family or family.name)
    alike = await find_alike(world, components)
    change = functools.partial(record_reading, asset_id=known.asset_id, reading=second, find_alike=alike)
    unnamed = await world.get_resource(Catalogue).write(change)
    for component in components:
        if isinstance(component, PerceptualHash):
            world.get_resource(Similarity).learn(known.asset_id, component)
    if unnamed:
        await anyio.to_thread.run_sync(_remove, world.get_resource(Thumbnails).folder, unnamed)


async def _leave(world: World, known: KnownAsset, mime_type: str | None, refusal: UnsupportedTypeError) -> str:
    """Have a file that nobody took, as before, left alone until that may change; returns why.

    Raises:
        UnsupportedTypeError: It was read before.
    """
    if known.family is not None:
        raise refusal
    name, version = refusal.reader or FILETYPE
    reading = SecondReading((), [ReaderVersion(reader=name, version=version)], mime_type, None)
    change = functools.partial(record_reading, asset_id=known.asset_id, reading=reading)
    await world.get_resource(Catalogue).write(change)
    return str(refusal)


async def _remember_failure(world: World, known: KnownAsset, error: FileError) -> None:
    """Have it come last the next time, and not at all until a newer reader may read it, where it failed for good."""
    reader = read_today(world).reader_of(known.mime_type, known.family)
    if reader is None:
        return
    failure = functools.partial(remember_failure, asset_id=known.asset_id, reader=reader, reason=str(error))
    change = functools.partial(failure, permanent=error.permanent, at=now())
    await world.get_resource(Catalogue).write(change)


def _remove(folder: Path, previews: list[str]) -> None:
    for preview in previews:
        (folder / preview).unlink(missing_ok=True)
