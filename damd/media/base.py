"""What a family is, and how every family's command ends.

A family's handler reads the file in the sandbox and then concludes: the file is looked at again, the
previews take their names, and asset and event commit together. A family never meets the database.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread

from damd.catalogue.record import Finding, NewAsset, Properties, Recorded, record_asset
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Component, Preview
from damd.errors import FileChangedError
from damd.events import FileImportedEvent, readable_path
from damd.fingerprint import Signature, born_ns, look_in, regular_file_status, take_signature
from damd.results import DUPLICATE_HASH, IngestResult, IngestStatus
from damd.thumbnails import Drafts, Thumbnails, WrittenPreview
from damd.world import BaseCommand, World


@dataclass(frozen=True, kw_only=True)
class HashedFileCommand(BaseCommand):
    """What every command about a file with a known hash says.

    Attributes:
        file_path: The file.
        file_hash: Its SHA-256.
        signature: From before it was hashed; taken anew where it is None.
        started_at_s: When the file was first looked at, in seconds since 1970.
        announce: Whether its import is told to anybody.
        follow_symlinks: Whether a symbolic link stands for what it leads to.
        root: The name of its root, empty outside every root; found out where it is None.
    """

    file_path: Path
    file_hash: str
    signature: Signature | None = None
    started_at_s: float | None = None
    announce: bool = True
    follow_symlinks: bool = False
    root: str | None = None


@dataclass(frozen=True, kw_only=True)
class ProcessMediaCommand(HashedFileCommand):
    """Make an asset of a file whose content is new; the base of every family's command.

    Attributes:
        mime_type: By its bytes.
    """

    mime_type: str | None = None


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of media.

    Attributes:
        name: The family's name in the catalogue.
        mime_types: Those that its reader reads.
        command: What is dispatched for a new file of it.
        handler: The system that handles this command.
    """

    name: str
    mime_types: frozenset[str]
    command: type[ProcessMediaCommand]
    handler: Callable[..., Any]


class Families:
    """The families of this World; a resource, to which a plugin adds its own."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = list(families)

    def __iter__(self) -> Iterator[Family]:
        return iter(self._families)

    def add(self, family: Family) -> None:
        """Read this family too; its handler is the plugin's to register."""
        self._families.append(family)

    @property
    def mime_types(self) -> frozenset[str]:
        """All that is read."""
        return frozenset[str]().union(*(family.mime_types for family in self._families))

    def of(self, mime_type: str | None) -> Family | None:
        """The family that reads this type, the one added last where several do."""
        return next((family for family in reversed(self._families) if mime_type in family.mime_types), None)


class Reading(NamedTuple):
    """What a family's reader found: rows without their ``entity_id``, and the previews that it wrote."""

    components: Sequence[Component]
    drafts: Drafts | None = None
    previews: Sequence[dict[str, Any]] = ()


async def begin(command: HashedFileCommand) -> Signature:
    """The signature that the file must still have when it has been read."""
    if command.signature is not None:
        return command.signature
    look = functools.partial(take_signature, command.file_path, follow_symlinks=command.follow_symlinks)
    return await look_in(command.root or "", look)


def find_unchanged(roots: Roots, path: Path, signature: Signature, *, follow_symlinks: bool = False) -> Finding:
    """The file as it is recorded, if it is still the one that had this signature; blocking.

    Raises:
        FileChangedError: It is not, or what is mounted there changed.
        FileError: It cannot be looked at, or is no file any more.
        OSError: Its file system cannot be asked.
    """
    place = roots.place(path)
    volume = roots.volume_of(place)
    born = born_ns(path, follow_symlinks=follow_symlinks)  # first, so that the signature proves whose it is
    status = regular_file_status(path, follow_symlinks=follow_symlinks)
    if Signature.of(status) != signature:
        raise FileChangedError
    if roots.volume_of(place) != volume:
        raise FileChangedError  # unmounted meanwhile: the file would be taken for one of the disk below
    return Finding(place, signature, volume, born)


async def conclude(
    world: World, command: ProcessMediaCommand, signature: Signature, family: str | None, reading: Reading
) -> IngestResult:
    """Record what was read as an asset, and announce it.

    Args:
        world: Whose catalogue.
        command: The family's command.
        signature: What `begin` returned.
        family: The family's name; None for a file of which only hash and properties are recorded.
        reading: What its reader found.

    Raises:
        FileChangedError: The file is no longer the one that was hashed; nothing was recorded.
    """
    roots = world.get_resource(Roots)
    follow_symlinks = command.follow_symlinks
    look = functools.partial(find_unchanged, roots, command.file_path, signature, follow_symlinks=follow_symlinks)
    finding = await look_in(root_as_spelt(roots, command), look)
    # Apart from the look, which may hang and be left to itself: a draft must not be published while it is discarded.
    previews = await anyio.to_thread.run_sync(reading.drafts.publish, reading.previews) if reading.drafts else []
    asset = NewAsset(
        command.file_hash,
        finding,
        _properties(command, signature, family),
        [*reading.components, *map(_preview_row, previews)],
    )
    announce = functools.partial(_imported, roots, asset, command) if command.announce else None
    recorded = await world.get_resource(Catalogue).write(
        lambda session: record_asset(session, asset, announce, roots.path_of)
    )
    for event in recorded.events:
        await world.dispatch_event(event)
    return _result(world, command, recorded, family, previews)


def root_as_spelt(roots: Roots, command: HashedFileCommand) -> str:
    """The root in whose threads the file is looked at, found without a look; empty outside every root."""
    return roots.place_of(os.fsencode(command.file_path)).root if command.root is None else command.root


def _properties(command: ProcessMediaCommand, signature: Signature, family: str | None) -> Properties:
    return Properties(
        size_bytes=signature.size_bytes,
        mime_type=command.mime_type,
        family=family,
        first_name=readable_path(os.fsencode(command.file_path.name))[0],
    )


def _preview_row(preview: WrittenPreview) -> Preview:
    return Preview(**preview._asdict())


def _imported(roots: Roots, asset: NewAsset, command: ProcessMediaCommand, asset_id: int) -> FileImportedEvent:
    path, path_base64 = readable_path(roots.path_of(asset.finding.place))
    started_at_s = time.time() if command.started_at_s is None else command.started_at_s
    return FileImportedEvent(
        asset_id=asset_id,
        path=path,
        path_base64=path_base64,
        root=asset.finding.place.root or None,
        sha256=asset.sha256,
        size_bytes=asset.properties.size_bytes,
        mime_type=asset.properties.mime_type,
        family=asset.properties.family,
        duration_s=round(max(0.0, time.time() - started_at_s), 3),
    )


def _result(
    world: World,
    command: ProcessMediaCommand,
    recorded: Recorded,
    family: str | None,
    previews: Sequence[WrittenPreview],
) -> IngestResult:
    thumbnail = world.get_resource(Thumbnails).folder / max(previews).path if previews else None
    return IngestResult(
        status=IngestStatus.SUCCESS if recorded.is_new else IngestStatus.SKIPPED,
        reason=None if recorded.is_new else DUPLICATE_HASH,
        asset_id=recorded.asset_id,
        sha256=command.file_hash,
        family=family,
        mime_type=command.mime_type,
        thumbnail_path=str(thumbnail) if thumbnail else None,
    )
