"""`ProcessFileByHashCommand`: known content? Then a further location. New content? Then its family."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from damd import filetype
from damd.catalogue.components import ReaderVersion
from damd.catalogue.queries import find_asset, former_by_content
from damd.catalogue.record import record_location
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.errors import UnreadableFileError, UnsupportedTypeError
from damd.filetype import get_mime_type
from damd.fingerprint import Signature, look_in
from damd.ingest.moves import record_if_moved
from damd.ingest.policy import RootPolicies
from damd.media.announced import tell
from damd.media.base import (
    Families,
    HashedFileCommand,
    ProcessMediaCommand,
    Reading,
    begin,
    conclude,
    find_unchanged,
    root_as_spelt,
)
from damd.results import DUPLICATE_HASH, IngestResult, IngestStatus
from damd.stages import stage
from damd.world import CommandResult, World, handles_command


@dataclass(frozen=True, kw_only=True)
class ProcessFileByHashCommand(HashedFileCommand):
    """Process a file by its content's hash."""


@handles_command(ProcessFileByHashCommand)
async def handle_process_by_hash(
    cmd: ProcessFileByHashCommand,
    world: World,
    catalogue: Catalogue,
    families: Families,
    roots: Roots,
    policies: RootPolicies,
) -> IngestResult | CommandResult:
    """Add a location to the asset with this content or move one, or dispatch the command of the family that reads it.

    Raises:
        FileError: It cannot be read, changed meanwhile, or no family reads it.
    """
    with stage("look_up"):
        signature = await begin(cmd)
        asset_id = await catalogue.read(lambda session: find_asset(session, cmd.file_hash))
    if asset_id is not None:
        return await _add_location(world, cmd, signature, asset_id)
    with stage("read"):
        mime_type = await look_in(root_as_spelt(roots, cmd), _mime_type, cmd.file_path)
    family = families.of(mime_type)
    command_type = family.command if family else ProcessMediaCommand
    command = command_type(**vars(cmd) | {"signature": signature}, mime_type=mime_type)
    try:
        if family is not None:
            return await world.dispatch_command(command)
        raise UnsupportedTypeError(None if signature.size_bytes else "the file is empty", mime_type=mime_type)
    except UnsupportedTypeError as refusal:
        # A family may know better than the first bytes: a camera's RAW that looks like a TIFF.
        refusal.reader = reader = refusal.reader or (filetype.READER, filetype.VERSION)
        root = await _root_of(roots, cmd)
        if not policies.of(root).catalogue_unsupported:
            raise
    refused_by = ReaderVersion(reader=reader[0], version=reader[1])
    return await conclude(world, command, signature, None, Reading([refused_by]))


async def _root_of(roots: Roots, cmd: ProcessFileByHashCommand) -> str:
    if cmd.root is not None:
        return cmd.root
    return (await look_in(root_as_spelt(roots, cmd), roots.place, cmd.file_path)).root


async def _add_location(
    world: World, cmd: ProcessFileByHashCommand, signature: Signature, asset_id: int
) -> IngestResult:
    roots, catalogue = world.get_resource(Roots), world.get_resource(Catalogue)
    look = functools.partial(find_unchanged, roots, cmd.file_path, signature, follow_symlinks=cmd.follow_symlinks)
    with stage("look_up"):
        finding = await look_in(root_as_spelt(roots, cmd), look)
        former = await catalogue.read(lambda session: former_by_content(session, asset_id, finding.place, signature))
    if former and (moved := await record_if_moved(world, finding, former)) is not None:
        return moved
    record = functools.partial(
        record_location, asset_id=asset_id, finding=finding, path_of=roots.path_of, announce_copy=cmd.announce
    )
    with stage("record"):
        events = await catalogue.write(record)
    await tell(world, events)
    return IngestResult(status=IngestStatus.SKIPPED, reason=DUPLICATE_HASH, asset_id=asset_id, sha256=cmd.file_hash)


def _mime_type(path: Path) -> str | None:
    try:
        return get_mime_type(path)
    except OSError as error:
        raise UnreadableFileError(error) from error
