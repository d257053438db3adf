"""The transaction that makes an asset, and its lesser kin: a further location, a failure.

Rows are written in the order of their foreign keys, and the unique hash decides who was first where two
processes bring the same bytes at the same moment. Plain inserts instead of mapped objects, because they
cost a third on the one thread that writes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import delete, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col

from damd.catalogue.outbox import store_event
from damd.catalogue.queries import find_asset
from damd.catalogue.roots import Place
from damd.catalogue.tables import (
    Component,
    ContentHash,
    Entity,
    Failure,
    FileProperties,
    Location,
    Table,
    as_row,
    now,
    table_of,
)
from damd.errors import FileError, UnsupportedTypeError
from damd.events import Event
from damd.fingerprint import Signature

FIRST_WAIT = timedelta(seconds=10)
"""Between a transient failure and the second attempt."""
_LONGEST_WAIT = timedelta(hours=1)


class Finding(NamedTuple):
    """A file as it was found: its key, and its signature from before it was hashed.

    `device` is the file system's number at that time, kept for people.
    """

    place: Place
    signature: Signature
    device: int


class NewAsset(NamedTuple):
    """All that makes an asset but its number: the rows' ``entity_id`` is filled in when it is known."""

    sha256: str
    finding: Finding
    properties: FileProperties
    components: Sequence[Component]


class Recorded(NamedTuple):
    """The asset with this content, whether it was made just now, and the event that told of it if it was."""

    asset_id: int
    is_new: bool
    event: Event | None


def record_asset(session: Session, asset: NewAsset, announce: Callable[[int], Event] | None) -> Recorded:
    """Make the asset with its components, its location and its event, or add the location where it exists.

    Args:
        session: The transaction.
        asset: What is to be recorded.
        announce: The event of the making of the asset with this number; None to tell nobody.
    """
    asset_id = _make_entity(session, asset.sha256)
    if asset_id is None:
        existing = find_asset(session, asset.sha256)
        assert existing is not None  # noqa: S101 - its unique hash is what stopped us
        record_location(session, existing, asset.finding)
        return Recorded(existing, is_new=False, event=None)
    connection = session.connection()
    for component in (asset.properties, *asset.components):
        connection.execute(insert(table_of(type(component))), as_row(component) | {"entity_id": asset_id})
    record_location(session, asset_id, asset.finding)
    event = announce(asset_id) if announce else None
    if event is not None:
        store_event(session, event, entity_id=asset_id)
    return Recorded(asset_id, is_new=True, event=event)


def _make_entity(session: Session, sha256: str) -> int | None:
    """A new entity with this hash; None if there is one, also where it commits at this very moment."""
    if find_asset(session, sha256) is not None:
        return None
    asset_id: int = session.execute(insert(Entity).values(created_at=now()).returning(col(Entity.id))).scalar_one()
    statement = _upsert(session, ContentHash).values(entity_id=asset_id, sha256=sha256).on_conflict_do_nothing()
    if session.execute(statement.returning(col(ContentHash.entity_id))).first() is not None:
        return asset_id
    session.execute(delete(Entity).where(col(Entity.id) == asset_id))
    return None


def record_location(session: Session, asset_id: int, finding: Finding) -> None:
    """This path now holds this asset's bytes, whatever it held before; a failure of it is forgotten."""
    seen: dict[str, Any] = {
        "entity_id": asset_id,
        **finding.signature._asdict(),
        "device": finding.device,
        "missing_since": None,
    }
    key = finding.place._asdict()
    statement = _upsert(session, Location).values(**key, **seen, first_seen_at=now())
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=seen))
    session.execute(delete(Failure).where(_is(Failure, finding.place)))


def record_failure(session: Session, finding: Finding, error: FileError, *, at: datetime) -> datetime | None:
    """Note that this path, with this signature, cannot be ingested.

    Returns:
        When it is tried again: 10 s after the first failure, then twice as long each time, at most an
        hour; None for a permanent one.
    """
    previous = session.execute(sqlalchemy.select(Failure).where(_is(Failure, finding.place))).scalar()
    same = previous is not None and _same_file(previous, finding.signature)
    attempts = previous.attempts + 1 if previous is not None and same else 1
    wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 20), _LONGEST_WAIT)
    retry_at = None if error.permanent else at + wait
    said: dict[str, Any] = {
        **finding.signature._asdict(),
        "reason": str(error),
        "mime_type": error.mime_type if isinstance(error, UnsupportedTypeError) else None,
        "permanent": error.permanent,
        "attempts": attempts,
        "last_failed_at": at,
        "next_attempt_at": retry_at,
    }
    key = finding.place._asdict()
    first = previous.first_failed_at if previous is not None and same else at
    statement = _upsert(session, Failure).values(**key, **said, first_failed_at=first)
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=said | {"first_failed_at": first}))
    return retry_at


def _same_file(failure: Failure, signature: Signature) -> bool:
    return (failure.size_bytes, failure.mtime_ns) == signature[:2]


def _is(table: type[Location | Failure], place: Place) -> sqlalchemy.ColumnElement[bool]:
    return (col(table.root) == place.root) & (col(table.path) == place.path)


def _upsert(session: Session, table: type[Table]) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say what to do on conflict; both dialects spell it alike."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def forget_failures(session: Session, places: Sequence[Place]) -> None:
    """Have these paths judged anew, as if they had never failed."""
    for place in places:
        session.execute(delete(Failure).where(_is(Failure, place)))


def forget_unsupported(session: Session, *, roots: Collection[str] = (), mime_types: Collection[str] = ()) -> None:
    """Forget failures for the type alone, where they are none any more.

    Args:
        session: The transaction.
        roots: Those in which such files are catalogued now.
        mime_types: Those that a family reads now.
    """
    unread = col(Failure.reason).startswith(str(UnsupportedTypeError()))
    session.execute(delete(Failure).where(unread, col(Failure.root).in_(roots)))
    session.execute(delete(Failure).where(unread, col(Failure.mime_type).in_(mime_types)))
