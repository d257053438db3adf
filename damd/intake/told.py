"""What the log says of the end of a file that no event has told of."""

from __future__ import annotations

import structlog

from damd.events import readable
from damd.results import IngestResult, IngestStatus
from damd.stages import untold

_files = structlog.get_logger("damd.files")


def tell_of_end(path: bytes, result: IngestResult) -> None:
    """One line, of level warning for a new failure; to be called within the file's journey.

    A failure that is tried again is an event's only in the end, and in a root whose first scan is not announced nothing
    is one. What needed nothing to be done is told to whoever debugs.
    """
    summary = untold()
    if summary is None:
        return
    fields = {
        "asset_id": result.asset_id,
        "reason": result.reason,
        "mime_type": result.mime_type,
        "size_bytes": result.size_bytes,
        "retry_at": result.retry_at.isoformat() if result.retry_at is not None else None,
    }
    known = {name: value for name, value in fields.items() if value is not None} | summary
    if result.status is IngestStatus.SUCCESS:
        _files.info("imported", path=readable(path), **known)
    elif result.status is IngestStatus.FAILED and result.is_news:
        _files.warning("not imported", path=readable(path), **known)
    else:
        _files.debug("skipped", path=readable(path), **known)
