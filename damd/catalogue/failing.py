"""Failures as rows: what could not be ingested, when it is tried again, and when that is forgotten."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy
from sqlalchemy import delete
from sqlmodel import Session, col

from damd.catalogue.record import FAILED_THERE, FORGET_FAILURE, Finding, dialect_of, upsert
from damd.catalogue.roots import Place
from damd.catalogue.tables import Failure, table_of
from damd.errors import FileError, UnsupportedTypeError
from damd.filetype import READER

FIRST_WAIT = timedelta(seconds=10)
"""Between a transient failure and the second attempt."""
_LONGEST_WAIT = timedelta(hours=1)

_FAILURE = sqlalchemy.select(table_of(Failure)).where(FAILED_THERE)


def record_failure(session: Session, finding: Finding, error: FileError, *, at: datetime) -> datetime | None:
    """Note that this path, with this signature, cannot be ingested.

    Returns:
        When it is tried again: 10 s after the first failure, then twice as long each time, at most an
        hour; None for a permanent one.
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
    return retry_at


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
