"""`IngestFileCommand`: known path? Then skipped. A known file that moved? Then followed. Otherwise its hash decides.

Its handler is the boundary for failures: whatever is raised beneath it is noted in the catalogue and
comes back as FAILED, so that a bad file costs one row, and is not read again until there is a reason to.
"""

from __future__ import annotations

import functools
import os
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
from sqlmodel import Session

from damd import filetype
from damd.catalogue.queries import (
    FormerLocation,
    KnownFailure,
    KnownLocation,
    KnownPath,
    find_path,
    former_by_inode,
)
from damd.catalogue.record import Finding, record_location
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.errors import FileChangedError, FileError, NotAFileError, UnreadableFileError, UnsupportedTypeError
from damd.fingerprint import Signature, calculate_hash, look_in, take_signature, young_s
from damd.ingest.failures import GONE, as_file_error, failed, note_failure, soon
from damd.ingest.moves import follow_move
from damd.ingest.policy import RootPolicies, RootPolicy
from damd.ingest.process_by_hash import ProcessFileByHashCommand
from damd.media.base import Families, find_unchanged
from damd.results import LINK_NOT_FOLLOWED, PATH_ALREADY_IMPORTED, IngestResult, IngestStatus
from damd.stages import stage
from damd.world import BaseCommand, CommandResult, World, handles_command

ROUNDS = 3
"""How often a file that changes while it is read is started over before it is left for later."""


@dataclass(frozen=True, kw_only=True)
class IngestFileCommand(BaseCommand):
    """Ingest the file at this path, or find out that nothing needs to be done.

    Attributes:
        file_path: The file.
        moved_from: Where it was renamed from, as the kernel says: a hint.
    """

    file_path: Path
    moved_from: Path | None = None


@handles_command(IngestFileCommand)
async def handle_ingest_file(
    cmd: IngestFileCommand,
    world: World,
    catalogue: Catalogue,
    roots: Roots,
    policies: RootPolicies,
    families: Families,
) -> IngestResult | CommandResult:
    """Ingest a file; raises nothing that is the file's or the catalogue's fault.

    A path of which nothing can be learnt, not even that it exists, comes back as FAILED and is not noted;
    nor is a file that is gone before it has been read.
    """
    started_at_s = time.time()
    try:
        # By the path as it is spelt: to resolve it is a look, too.
        near = roots.place_of(os.fsencode(cmd.file_path)).root
        with stage("look_up"):
            finding, is_link = await look_in(near, _look, roots, policies, cmd.file_path)
    except OSError as error:
        gone = error.errno in GONE
        return failed(UnreadableFileError(error), None if gone else soon(), is_news=not gone)
    try:
        with stage("look_up"):
            known, former = await catalogue.read(functools.partial(_look_up, finding=finding))
        root = finding.place.root
        policy = policies.of(root)
        if known.location and known.location.signature == finding.signature:
            return await _stay(world, cmd.file_path, finding, policy, known.location)
        if known.failure and still_stands(known.failure, finding.signature, policy, families):
            return failed(known.failure.reason, known.failure.next_attempt_at, is_news=False)
        if is_link and await look_in(root, _leads_elsewhere, cmd.file_path, policy):
            return IngestResult(status=IngestStatus.SKIPPED, reason=LINK_NOT_FOLLOWED)
        followed = await _follow(world, cmd, finding, policy, former)
        return followed or await _ingest(world, cmd.file_path, finding, started_at_s, policy, known.location)
    except Exception as error:  # noqa: BLE001 - the boundary: what fails here is one file
        file_error = as_file_error(error, cmd.file_path)
        if await _is_gone(cmd.file_path, file_error, finding.place.root):
            return failed(file_error, None, is_news=False)
        return await note_failure(world, finding, file_error)


def _look(roots: Roots, policies: RootPolicies, path: Path) -> tuple[Finding, bool]:
    """The file as it lies there now, and whether it is a symbolic link."""
    place, status = roots.place(path), path.lstat()
    is_link = stat.S_ISLNK(status.st_mode)
    if is_link and policies.of(place.root).follow_symlinks:
        with suppress(OSError):  # one that leads nowhere is noted as a failure of its own
            status = path.stat()
    return Finding(place, Signature.of(status)), is_link


def _look_up(session: Session, finding: Finding) -> tuple[KnownPath, list[FormerLocation]]:
    """What is known of the path, and which other locations may be those of the same file."""
    known = find_path(session, finding.place)
    # The same inode as before, but another signature: changed in place, whatever its other names say.
    if known.location and known.location.signature.inode == finding.signature.inode:
        return known, []
    return known, former_by_inode(session, finding.place, finding.signature)


async def _is_gone(path: Path, error: FileError, root: str) -> bool:
    """Whether the error only tells that there is no file any more."""
    says_so = isinstance(error, UnreadableFileError) and error.errno in GONE
    return says_so and not await look_in(root, os.path.lexists, path)


async def _stay(world: World, path: Path, seen: Finding, policy: RootPolicy, known: KnownLocation) -> IngestResult:
    """A known path with the signature that it had; it was missing, perhaps, and is found again."""
    if known.missing:
        roots = world.get_resource(Roots)
        look = functools.partial(find_unchanged, roots, path, seen.signature, follow_symlinks=policy.follow_symlinks)
        with stage("look_up"):
            finding = await look_in(seen.place.root, look)
        with stage("record"):
            await world.get_resource(Catalogue).write(lambda session: record_location(session, known.asset_id, finding))
    return _already_imported(known)


async def _follow(
    world: World,
    cmd: IngestFileCommand,
    seen: Finding,
    policy: RootPolicy,
    former: Sequence[FormerLocation],
) -> IngestResult | None:
    if not former:
        return None
    follow_symlinks, moved_from = policy.follow_symlinks, cmd.moved_from
    return await follow_move(world, cmd.file_path, seen, former, moved_from=moved_from, follow_symlinks=follow_symlinks)


def _leads_elsewhere(path: Path, policy: RootPolicy) -> bool:
    """Whether this is a symbolic link that is not followed.

    Raises:
        NotAFileError: A symbolic link that leads nowhere, followed or not.
    """
    if not path.is_symlink():
        return False
    try:
        path.stat()
    except OSError as error:
        raise NotAFileError(f"a symbolic link that leads nowhere ({os.strerror(error.errno or 0)})") from error
    return not policy.follow_symlinks


def still_stands(failure: KnownFailure, signature: Signature, policy: RootPolicy, families: Families) -> bool:
    """Whether a file of this signature would only fail again, or its next attempt is not due."""
    # A reader that refused it would do so again; a newer one has been told to try when damd started.
    nobodys = failure.reader in {None, filetype.READER}
    is_read_now = policy.catalogue_unsupported or (nobodys and families.reads(failure.mime_type))
    if is_read_now and failure.reason.startswith(str(UnsupportedTypeError())):
        return False
    waits = failure.next_attempt_at is not None and failure.next_attempt_at > datetime.now(UTC)
    return failure.signature == signature and (failure.permanent or waits)


async def _ingest(
    world: World,
    path: Path,
    finding: Finding,
    started_at_s: float,
    policy: RootPolicy,
    known: KnownLocation | None,
) -> IngestResult | CommandResult:
    signature, root = finding.signature, finding.place.root
    for _ in range(ROUNDS):
        # What is written from here on leaves the file another signature than this one.
        with stage("settle"):
            await anyio.sleep(young_s(signature, time.time_ns()))
        with stage("hash"):
            file_hash = await calculate_hash(path, follow_symlinks=policy.follow_symlinks, root=root)
        process = ProcessFileByHashCommand(
            file_path=path,
            file_hash=file_hash,
            signature=signature,
            started_at_s=started_at_s,
            announce=policy.announces(signature),
            follow_symlinks=policy.follow_symlinks,
            root=root,
        )
        try:
            result = await world.dispatch_command(process)
        except FileChangedError:
            look = functools.partial(take_signature, path, follow_symlinks=policy.follow_symlinks)
            signature = await look_in(root, look)
        else:
            return _already_imported(known) if known and known.sha256 == file_hash else result
    raise FileChangedError


def _already_imported(known: KnownLocation) -> IngestResult:
    return IngestResult(
        status=IngestStatus.SKIPPED, reason=PATH_ALREADY_IMPORTED, asset_id=known.asset_id, sha256=known.sha256
    )
