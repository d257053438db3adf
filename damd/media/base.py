"""What a family is, and how every family's command is handled.

`process` reads the file in the sandbox and then concludes: the file is looked at again, the previews take their
names, and asset and event commit together. A family only says which reader that is and which rows its facts make,
so that `damd refresh` can read again without it; one that needs more has a handler of its own, between `begin`
and `conclude`. A family never meets the database.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread

from damd.catalogue.components import PerceptualHash, Preview, ReaderVersion
from damd.catalogue.record import FindAlike, Finding, NewAsset, Properties, Recorded, record_asset
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Component
from damd.errors import ExtraMissingError, FileChangedError
from damd.events import readable_path
from damd.fingerprint import Signature, born_ns, look_in, regular_file_status, take_signature
from damd.media.announced import events_of_import, tell
from damd.media.checked import checked, checked_family, checked_previews
from damd.results import DUPLICATE_HASH, IngestResult, IngestStatus
from damd.sandbox import Sandbox
from damd.similarity.resource import Similarity
from damd.stages import stage
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


class Extra(NamedTuple):
    """An optional part of damd, ``pip install damd[NAME]``: its packages, and the modules that they bring."""

    name: str
    packages: Mapping[str, str]

    def missing(self) -> str | None:
        """The first of its packages that is not installed."""
        return next((package for package, module in self.packages.items() if not _is_installed(module)), None)


@functools.cache
def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


Facts = Mapping[str, Any]
"""What a reader returned: plain data, see `damd.readers.plain`."""


def _no_rows(facts: Facts) -> Sequence[Component]:  # noqa: ARG001 - its interface
    return ()


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of media.

    Attributes:
        name: The family's name in the catalogue.
        mime_types: Those that its readers read.
        command: What is dispatched for a new file of it.
        handler: The system that handles this command.
        reader: The name of its reader; empty where its handler sees to everything itself.
        readers: Those of its types that another reader reads, and its name.
        rows: The components that a reader's facts make, without their ``entity_id``.
        tables: The tables of the components that `rows` makes: these, and only these, a refresh replaces. What its
            handler adds by itself does not belong there; a family without `rows` is never read again.
        extras: Those of its types that need an optional part of damd.
    """

    name: str
    mime_types: frozenset[str]
    command: type[ProcessMediaCommand]
    handler: Callable[..., Any]
    reader: str = ""
    readers: Mapping[str, str] = field(default_factory=dict)
    rows: Callable[[Facts], Sequence[Component]] = _no_rows
    tables: tuple[type[Component], ...] = ()
    extras: Mapping[str, Extra] = field(default_factory=dict)

    def reader_of(self, mime_type: str | None) -> str:
        """The name of the reader that reads this type."""
        return self.readers.get(mime_type or "", self.reader)

    def missing_extra(self, mime_type: str | None) -> tuple[str, Extra] | None:
        """The package that is missing to read this type, and the extra that would bring it."""
        extra = self.extras.get(mime_type or "")
        package = extra.missing() if extra else None
        return (package, extra) if extra and package else None


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
        """All that is read here, with the extras that are installed."""
        known = frozenset[str]().union(*(family.mime_types for family in self._families))
        return frozenset(mime_type for mime_type in known if self.reads(mime_type))

    def of(self, mime_type: str | None) -> Family | None:
        """The family that reads this type, the one added last where several do."""
        return next((family for family in reversed(self._families) if mime_type in family.mime_types), None)

    def named(self, name: str | None) -> Family | None:
        """The family of this name, the one added last where several have it."""
        return next((family for family in reversed(self._families) if family.name == name), None)

    def reads(self, mime_type: str | None) -> bool:
        """Whether a family reads this type, and has what it needs for it."""
        family = self.of(mime_type)
        return family is not None and family.missing_extra(mime_type) is None


class Reading(NamedTuple):
    """What a family's reader found: rows without their ``entity_id``, and the previews that it wrote.

    `family` is the family's name where the reader knows better than the first bytes, which do not tell a film
    from sound alone.
    """

    components: Sequence[Component]
    drafts: Drafts | None = None
    previews: Sequence[dict[str, Any]] = ()
    family: str | None = None


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


async def process(world: World, command: ProcessMediaCommand, family: Family) -> IngestResult:
    """Read the file with the family's reader, write its previews, record it.

    Raises:
        FileError: It cannot be read, or changed meanwhile.
    """
    signature = await begin(command)
    async with world.get_resource(Thumbnails).drafts(command.file_hash) as drafts:
        with stage("read"):
            reading = await read_media(world, family, command.file_path, command.mime_type, drafts)
        return await conclude(world, command, signature, reading.family or family.name, reading)


async def read_media(world: World, family: Family, path: Path, mime_type: str | None, drafts: Drafts) -> Reading:
    """What the family's reader finds in a file, and the previews that it writes.

    Raises:
        ExtraMissingError: A package that would read it is not installed.
        FileError: It cannot be read.
    """
    if missing := family.missing_extra(mime_type):
        package, extra = missing
        raise ExtraMissingError(package, extra.name, mime_type=mime_type)
    sandbox = world.get_resource(Sandbox)
    name = family.reader_of(mime_type)
    options = drafts.options | {"max_pixels": sandbox.settings.max_pixels}
    facts = await sandbox.call(name, os.fspath(path), **options)
    version = ReaderVersion(reader=name, version=sandbox.version_of(name))
    rows = [*checked(family.rows, facts), version]
    previews = checked_previews(facts.get("previews", ()), drafts.sizes)
    known = [each.name for each in world.get_resource(Families)]
    return Reading(rows, drafts, previews, checked_family(facts.get("family"), known))


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
    with stage("read"):
        finding = await look_in(root_as_spelt(roots, command), look)
        # Apart from the look, which may hang and be left to itself: no draft is published while it is discarded.
        previews = await anyio.to_thread.run_sync(reading.drafts.publish, reading.previews) if reading.drafts else []
    asset = NewAsset(
        command.file_hash,
        finding,
        _properties(command, signature, family),
        [*reading.components, *map(preview_row, previews)],
    )
    announce = (
        functools.partial(events_of_import, roots.path_of, asset, command.started_at_s) if command.announce else None
    )
    catalogue = world.get_resource(Catalogue)
    with stage("record"):
        alike = await find_alike(world, asset.components)
        recorded = await catalogue.write(lambda session: record_asset(session, asset, announce, roots.path_of, alike))
    await tell(world, recorded.events)
    return _result(world, command, recorded, family, previews)


async def find_alike(world: World, components: Sequence[Component]) -> FindAlike | None:
    """How the assets are found that look like one with these components; None where nothing of it can be seen."""
    hashes = next((each for each in components if isinstance(each, PerceptualHash)), None)
    if hashes is None:
        return None
    similarity = world.get_resource(Similarity)
    await similarity.keep_up(world.get_resource(Catalogue))
    return lambda session, asset_id: similarity.neighbours(session, asset_id, hashes)


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


def preview_row(preview: WrittenPreview) -> Preview:
    """The component of a preview that has its name, without its ``entity_id``."""
    return Preview(**preview._asdict())


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
        size_bytes=command.signature.size_bytes if command.signature is not None else None,
    )
