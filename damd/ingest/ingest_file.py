"""`IngestFileCommand`: known path? Then skipped. Otherwise its hash decides.

Its handler is the boundary for failures: whatever is raised beneath it is noted in the catalogue and
comes back as FAILED, so that a bad file costs one row, and is not read again until there is a reason to.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread

from damd.catalogue.queries import KnownFailure, KnownLocation, find_path
from damd.catalogue.record import Finding
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.errors import FileChangedError, NotAFileError, UnreadableFileError, UnsupportedTypeError
from damd.fingerprint import Signature, calculate_hash, take_signature
from damd.ingest.failures import GONE, as_file_error, failed, is_gone, note_failure, soon
from damd.ingest.policy import RootPolicies, RootPolicy
from damd.ingest.process_by_hash import ProcessFileByHashCommand
from damd.media.base import Families
from damd.results import LINK_NOT_FOLLOWED, PATH_ALREADY_IMPORTED, IngestResult, IngestStatus
from damd.world import BaseCommand, CommandResult, World, handles_command

ROUNDS = 3
"""How often a file that changes while it is read is started over before it is left for later."""


@dataclass(frozen=True, kw_only=True)
class IngestFileCommand(BaseCommand):
    """Ingest the file at this path, or find out that nothing needs to be done."""

    file_path: Path


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
        finding = await anyio.to_thread.run_sync(_look, roots, cmd.file_path)
    except OSError as error:
        gone = error.errno in GONE
        return failed(UnreadableFileError(error), None if gone else soon(), is_news=not gone)
    try:
        known = await catalogue.read(lambda session: find_path(session, finding.place))
        if known.location and not known.location.missing and known.location.signature == finding.signature:
            return _already_imported(known.location)
        policy = policies.of(finding.place.root)
        if known.failure and still_stands(known.failure, finding.signature, policy, families):
            return failed(known.failure.reason, known.failure.next_attempt_at, is_news=False)
        if await anyio.to_thread.run_sync(_leads_elsewhere, cmd.file_path):
            return IngestResult(status=IngestStatus.SKIPPED, reason=LINK_NOT_FOLLOWED)
        return await _ingest(world, cmd.file_path, finding.signature, started_at_s, policy, known.location)
    except Exception as error:  # noqa: BLE001 - the boundary: what fails here is one file
        file_error = as_file_error(error, cmd.file_path)
        if await is_gone(cmd.file_path, file_error):
            return failed(file_error, None, is_news=False)
        return await note_failure(catalogue, finding, file_error)


def _look(roots: Roots, path: Path) -> Finding:
    status = path.lstat()
    return Finding(roots.place(path), Signature.of(status), status.st_dev)


def _leads_elsewhere(path: Path) -> bool:
    if not path.is_symlink():
        return False
    try:
        path.stat()
    except OSError as error:
        raise NotAFileError(f"a symbolic link that leads nowhere ({os.strerror(error.errno or 0)})") from error
    return True


def still_stands(failure: KnownFailure, signature: Signature, policy: RootPolicy, families: Families) -> bool:
    """Whether a file of this signature would only fail again, or its next attempt is not due."""
    is_read_now = policy.catalogue_unsupported or families.of(failure.mime_type) is not None
    if is_read_now and failure.reason.startswith(str(UnsupportedTypeError())):
        return False
    waits = failure.next_attempt_at is not None and failure.next_attempt_at > datetime.now(UTC)
    return failure.signature == signature and (failure.permanent or waits)


async def _ingest(
    world: World,
    path: Path,
    signature: Signature,
    started_at_s: float,
    policy: RootPolicy,
    known: KnownLocation | None,
) -> IngestResult | CommandResult:
    for _ in range(ROUNDS):
        file_hash = await calculate_hash(path)
        process = ProcessFileByHashCommand(
            file_path=path,
            file_hash=file_hash,
            signature=signature,
            started_at_s=started_at_s,
            announce=policy.announces(signature),
        )
        try:
            result = await world.dispatch_command(process)
        except FileChangedError:
            signature = await anyio.to_thread.run_sync(take_signature, path)
        else:
            return _already_imported(known) if known and known.sha256 == file_hash else result
    raise FileChangedError


def _already_imported(known: KnownLocation) -> IngestResult:
    return IngestResult(
        status=IngestStatus.SKIPPED, reason=PATH_ALREADY_IMPORTED, asset_id=known.asset_id, sha256=known.sha256
    )
