"""What went wrong with a file, in words that the catalogue can keep.

Handlers of plugins raise anything, and put anything into words; none of it costs more than its file.
"""

from __future__ import annotations

import errno
import functools
import os
from datetime import UTC, datetime
from pathlib import Path

import structlog

from damd.catalogue.failing import FIRST_WAIT, record_failure
from damd.catalogue.record import Finding
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.errors import (
    CatalogueError,
    FileError,
    PermanentFileError,
    TransientFileError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from damd.events import readable
from damd.ingest.policy import RootPolicies
from damd.media.announced import tell
from damd.readers.failures import clean
from damd.results import IngestResult, IngestStatus
from damd.stages import stage
from damd.world import World

_log = structlog.get_logger(__name__)

GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
"""What the system says of a path where nothing is."""


def as_file_error(error: Exception, path: Path) -> FileError:
    """What is said of the file at this path when this was raised beneath its ingest."""
    said = _said(error)
    if isinstance(error, FileError):
        if error.args == (said,):
            return error
        plain = PermanentFileError(said) if error.permanent else TransientFileError(said)
        plain.reader = error.reader
        return plain
    if isinstance(error, OSError):
        another = error.filename if isinstance(error.filename, str | bytes) else os.fspath(path)
        if os.fsencode(another) == os.fsencode(path):
            return UnreadableFileError(error)
        return TransientFileError(clean(f"{error.strerror}: {readable(another)}"))
    if isinstance(error, CatalogueError):
        return TransientFileError(said)
    _log.error("ingest failed unexpectedly", path=readable(path), exc_info=error)
    return TransientFileError(f"Unexpected {type(error).__name__}: {said}")


def _said(error: Exception) -> str:
    try:
        return clean(error)
    except Exception:  # noqa: BLE001 - its class is a plugin's
        return ""


async def note_failure(world: World, finding: Finding, error: FileError) -> IngestResult:
    """Record the failure and announce it; the result says so where the catalogue does not take even that."""
    announce = world.get_resource(RootPolicies).of(finding.place.root).announces(finding.signature)
    path_of = world.get_resource(Roots).path_of if announce else None
    record = functools.partial(record_failure, finding=finding, error=error, at=datetime.now(UTC), path_of=path_of)
    try:
        with stage("record"):
            noted = await world.get_resource(Catalogue).write(record)
    except CatalogueError as unnoted:
        reason = error if isinstance(error, TransientFileError) else TransientFileError(_said(unnoted))
        return failed(reason, soon(), catalogue_failed=True)
    except Exception:  # noqa: BLE001 - logged; whatever it is about this one file, the others need not wait for it
        _log.exception("a failure could not be noted", path=readable(finding.place.path), reason=str(error))
        return failed(error, soon())
    if noted.event is not None:
        await tell(world, [noted.event])
    return failed(error, noted.retry_at)


def soon() -> datetime:
    """When something passing is tried again."""
    return datetime.now(UTC) + FIRST_WAIT


def failed(
    reason: FileError | str, retry_at: datetime | None, *, is_news: bool = True, catalogue_failed: bool = False
) -> IngestResult:
    """The result of a file that failed."""
    return IngestResult(
        status=IngestStatus.FAILED,
        reason=str(reason),
        mime_type=reason.mime_type if isinstance(reason, UnsupportedTypeError) else None,
        retry_at=retry_at,
        is_news=is_news,
        catalogue_failed=catalogue_failed,
    )
