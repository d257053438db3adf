"""Failures as rows: what could not be ingested, when it is tried again, and when that is forgotten."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import bindparam, delete
from sqlmodel import Session, col

from damd.catalogue.dialects import dialect_of
from damd.catalogue.outbox import store_event
from damd.catalogue.record import FAILED_THERE, FORGET_FAILURE, Finding, PathOf, upsert
from damd.catalogue.roots import Place
from damd.catalogue.tables import ContentHash, Failure, Location, table_of
from damd.errors import FileError, UnsupportedTypeError
from damd.events import FileFailedEvent, readable_path
from damd.filetype import READER

FIRST_WAIT = timedelta(seconds=10)
"""Between a transient failure and the second attempt."""
_LONGEST_WAIT = timedelta(hours=1)
TOLD_AFTER = 3
"""Attempts: what passes within half a minute, such as a file that is still being written, is nobody's news."""

_FAILURE = sqlalchemy.select(table_of(Failure)).where(FAILED_THERE)


class Noted(NamedTuple):
    """A failure as it was noted.

    Attributes:
        retry_at: When it is tried again: 10 s after the first failure, then twice as long each time, at most an
            hour; None for a permanent one.
        event: What was stored to tell of it, where it is to be told.
    """

    retry_at: datetime | None
    event: FileFailedEvent | None


def record_failure(
    session: Session, finding: Finding, error: FileError, *, at: datetime, path_of: PathOf | None = None
) -> Noted:
    """Note that this path, with this signature, cannot be ingested.

    Args:
        session: The transaction.
        finding: The file.
        error: What is wrong with it.
        at: Now.
        path_of: As in `record_location`; given, it is told that the file failed for good, or `TOLD_AFTER` times.
    """
    key = finding.place._asdict()
    previous = session.execute(_FAILURE, key).first()
    same = previous is not None and (previous.size_bytes, previous.mtime_ns) == finding.signature[:2]
    attempts = previous.attempts + 1 if previous is not None and same else 1
    wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 20), _LONGEST_WAIT)
    retry_at = None if error.permanent else at + wait
    said: dict[str, Any] = {
        **finding.signature._asdict(),
        "reason": str(error),
        "mime_type": error.mime_type if isinstance(error, UnsupportedTypeError) else None,
        "reader": error.reader[0] if error.reader else None,
        "reader_version": error.reader[1] if error.reader else None,
        "permanent": error.permanent,
        "attempts": attempts,
        "last_failed_at": at,
        "next_attempt_at": retry_at,
    }
    said["first_failed_at"] = previous.first_failed_at if previous is not None and same else at
    session.execute(upsert(dialect_of(session), Failure, tuple(said)), key | said)
    was_final = previous is not None and same and previous.permanent
    is_news = not was_final if error.permanent else attempts == TOLD_AFTER
    event = _tell_of_failure(session, finding, said, path_of) if is_news and path_of is not None else None
    return Noted(retry_at, event)


_locations, _hashes = table_of(Location).c, table_of(ContentHash).c
_FORMER = (
    sqlalchemy.select(_locations.entity_id, _hashes.sha256)
    .join(table_of(ContentHash), _hashes.entity_id == _locations.entity_id)
    .where(_locations.root == bindparam("root"), _locations.path == bindparam("path"))
)


def _tell_of_failure(session: Session, finding: Finding, said: Mapping[str, Any], path_of: PathOf) -> FileFailedEvent:
    former = session.execute(_FORMER, finding.place._asdict()).first()
    path, path_base64 = readable_path(path_of(finding.place))
    event = FileFailedEvent(
        path=path,
        path_base64=path_base64,
        root=finding.place.root or None,
        asset_id=former.entity_id if former else None,
        sha256=former.sha256 if former else None,
        reason=said["reason"],
        permanent=said["permanent"],
        mime_type=said["mime_type"],
        size_bytes=finding.signature.size_bytes,
    )
    return store_event(session, event, entity_id=event.asset_id)


def forget_failures(session: Session, places: Sequence[Place]) -> None:
    """Have these paths judged anew, as if they had never failed."""
    for place in places:
        session.execute(FORGET_FAILURE, place._asdict())


def forget_outdated(
    session: Session,
    *,
    roots: Collection[str] = (),
    mime_types: Collection[str] = (),
    readers: Mapping[str, int] | None = None,
) -> None:
    """Forget failures that would be none any more, or might not.

    Args:
        session: The transaction.
        roots: Those in which files of a type that nobody reads are catalogued now.
        mime_types: Those that a family reads now.
        readers: The readers of today and their versions: what an older one found fault with is tried again.
    """
    unread = col(Failure.reason).startswith(str(UnsupportedTypeError()))
    session.execute(delete(Failure).where(unread, col(Failure.root).in_(roots)))
    # Not by a reader that knows this type, and that file.
    nobodys = col(Failure.reader).is_(None) | (col(Failure.reader) == READER)
    session.execute(delete(Failure).where(unread, nobodys, col(Failure.mime_type).in_(mime_types)))
    for name, version in (readers or {}).items():
        older = (col(Failure.reader) == name) & (col(Failure.reader_version) < version)
        session.execute(delete(Failure).where(older))
