"""`IngestFileCommand`: known path? Then skipped. Otherwise its hash decides.

Its handler is the boundary for failures: whatever is raised beneath it is noted in the catalogue and
comes back as FAILED, so that a bad file costs one row, and is not read again until there is a reason to.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread
import structlog

from damd.catalogue.queries import KnownFailure, KnownLocation, find_path
from damd.catalogue.record import FIRST_WAIT, Finding, record_failure
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.errors import (
    CatalogueError,
    FileChangedError,
    FileError,
    NotAFileError,
    PermanentFileError,
    TransientFileError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from damd.events import readable
from damd.fingerprint import Signature, calculate_hash, take_signature
from damd.ingest.policy import RootPolicies, RootPolicy
from damd.ingest.process_by_hash import ProcessFileByHashCommand
from damd.readers.failures import clean
from damd.results import PATH_ALREADY_IMPORTED, IngestResult, IngestStatus
from damd.world import BaseCommand, CommandResult, World, handles_command

_log = structlog.get_logger(__name__)

ROUNDS = 3
"""How often a file that changes while it is read is started over before it is left for later."""

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(frozen=True, kw_only=True)
class IngestFileCommand(BaseCommand):
    """Ingest the file at this path, or find out that nothing needs to be done."""

    file_path: Path


@handles_command(IngestFileCommand)
async def handle_ingest_file(
    cmd: IngestFileCommand, world: World, catalogue: Catalogue, roots: Roots, policies: RootPolicies
) -> IngestResult | CommandResult:
    """Ingest a file; raises nothing that is the file's or the catalogue's fault.

    A path of which nothing can be learnt, not even that it exists, comes back as FAILED and is not noted;
    nor is a file that is gone before it has been read.
    """
    started_at_s = time.time()
    try:
        finding = await anyio.to_thread.run_sync(_look, roots, cmd.file_path)
    except OSError as error:
        return _failed(UnreadableFileError(error), None if error.errno in _GONE else _soon())
    try:
        known = await catalogue.read(lambda session: find_path(session, finding.place))
        if known.location and not known.location.missing and known.location.signature == finding.signature:
            return _already_imported(known.location)
        if known.failure and _still_stands(known.failure, finding.signature):
            return _failed(known.failure.reason, known.failure.next_attempt_at, is_news=False)
        if await anyio.to_thread.run_sync(_leads_elsewhere, cmd.file_path):
            return IngestResult(status=IngestStatus.SKIPPED, reason="Symbolic link: not followed")
        process = ProcessFileByHashCommand(
            file_path=cmd.file_path,
            file_hash="",
            signature=finding.signature,
            started_at_s=started_at_s,
        )
        return await _ingest(world, process, policies.of(finding.place.root), known.location)
    except Exception as error:  # noqa: BLE001 - the boundary: what fails here is one file
        file_error = _as_file_error(error, cmd.file_path)
        if await _is_gone(cmd.file_path, file_error):
            return _failed(file_error, None)
        return await _note_failure(catalogue, finding, file_error)


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


def _still_stands(failure: KnownFailure, signature: Signature) -> bool:
    waits = failure.next_attempt_at is not None and failure.next_attempt_at > datetime.now(UTC)
    return failure.signature == signature and (failure.permanent or waits)


async def _ingest(
    world: World, process: ProcessFileByHashCommand, policy: RootPolicy, known: KnownLocation | None
) -> IngestResult | CommandResult:
    signature = process.signature
    for _ in range(ROUNDS):
        if signature is None:
            signature = await anyio.to_thread.run_sync(take_signature, process.file_path)
        file_hash = await calculate_hash(process.file_path)
        announce = policy.announces(signature)
        try:
            result = await world.dispatch_command(
                replace(process, file_hash=file_hash, signature=signature, announce=announce)
            )
        except FileChangedError:
            signature = None
            continue
        return _already_imported(known) if known and known.sha256 == file_hash else result
    raise FileChangedError


def _as_file_error(error: Exception, path: Path) -> FileError:
    """What is said of the file; handlers of plugins raise anything, and put anything into words."""
    said = _said(error)
    if isinstance(error, FileError):
        if error.args == (said,):
            return error
        return PermanentFileError(said) if error.permanent else TransientFileError(said)
    if isinstance(error, OSError):
        another = error.filename if isinstance(error.filename, str | bytes) else os.fspath(path)
        if os.fsencode(another) == os.fsencode(path):
            return UnreadableFileError(error)
        return TransientFileError(clean(f"{error.strerror}: {readable(another)}"))
    if isinstance(error, CatalogueError):
        return TransientFileError(said)
    _log.error("ingest failed unexpectedly", path=readable(path), exc_info=error)
    return TransientFileError(f"Unexpected {type(error).__name__}: {said}")


async def _is_gone(path: Path, error: FileError) -> bool:
    says_so = isinstance(error, UnreadableFileError) and error.errno in _GONE
    return says_so and not await anyio.to_thread.run_sync(os.path.lexists, path)


def _said(error: Exception) -> str:
    try:
        return clean(error)
    except Exception:  # noqa: BLE001 - its class is a plugin's
        return ""


async def _note_failure(catalogue: Catalogue, finding: Finding, error: FileError) -> IngestResult:
    at = datetime.now(UTC)
    try:
        retry_at = await catalogue.write(lambda session: record_failure(session, finding, error, at=at))
    except Exception as unnoted:  # noqa: BLE001 - a damaged database raises what no CatalogueError stands for
        _log.warning("a failure could not be noted", path=readable(finding.place.path), error=_said(unnoted))
        retry_at = _soon()
    return _failed(error, retry_at)


def _soon() -> datetime:
    return datetime.now(UTC) + FIRST_WAIT


def _already_imported(known: KnownLocation) -> IngestResult:
    return IngestResult(
        status=IngestStatus.SKIPPED, reason=PATH_ALREADY_IMPORTED, asset_id=known.asset_id, sha256=known.sha256
    )


def _failed(reason: FileError | str, retry_at: datetime | None, *, is_news: bool = True) -> IngestResult:
    mime_type = reason.mime_type if isinstance(reason, UnsupportedTypeError) else None
    return IngestResult(
        status=IngestStatus.FAILED, reason=str(reason), mime_type=mime_type, retry_at=retry_at, is_news=is_news
    )
