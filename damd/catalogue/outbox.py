"""Events as rows: what commits with an asset, is fanned out into deliveries, and is forgotten in the end."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import sqlalchemy
from sqlalchemy import bindparam, delete, func, insert, update
from sqlmodel import Session

from damd.catalogue.dialects import dialect_of, insert_into
from damd.catalogue.tables import Delivery, Endpoint, StoredEvent, table_of
from damd.events import EVENTS, Event


@dataclass(frozen=True, kw_only=True)
class ForeignEvent(Event):
    """An event that this version cannot restore, another version's or a plugin's: told as it was stored."""

    event_type: str  # type: ignore[misc]  # each event's own here, the class's elsewhere
    stored: dict[str, Any]

    def own_data(self) -> dict[str, Any]:
        """What was stored, whatever it means."""
        return dict(self.stored)


# On plain tables, and made once: they are run for every file.
_events = table_of(StoredEvent).c
_EVENT = insert(table_of(StoredEvent)).returning(_events.revision)
_AWAITS_FAN_OUT = sqlalchemy.select(_events.id).where(_events.fanned_out_at.is_(None)).limit(1)
_NEW_EVENTS = (
    sqlalchemy.select(_events.id, _events.event_type, _events.revision)
    .where(_events.fanned_out_at.is_(None))
    .order_by(_events.revision)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)  # for another relay on the same server; SQLite has one writer anyway
)
_FANNED_OUT = (
    update(table_of(StoredEvent))
    .where(_events.id.in_(bindparam("ids", expanding=True)))
    .values(fanned_out_at=bindparam("at"))
)
_endpoints = table_of(Endpoint).c
_HEARING = sqlalchemy.select(_endpoints.name, _endpoints.events, _endpoints.from_revision).where(
    _endpoints.removed_at.is_(None)
)

Stored = TypeVar("Stored", bound=Event)


def store_event(session: Session, event: Stored, *, entity_id: int | None = None) -> Stored:
    """Store an event in the transaction of what it tells of, after the rows that it tells of; returns it numbered."""
    row = {
        "id": event.event_id,
        "event_type": event.event_type,
        "occurred_at": event.occurred_at,
        "entity_id": entity_id,
        "data": json.dumps(event.own_data()),
    }
    return dataclasses.replace(event, revision=session.execute(_EVENT, row).scalar_one())


def fan_out(session: Session, *, at: datetime, limit: int = 500) -> int:
    """Make a delivery for each endpoint that asks for it, of at most `limit` events that have none yet.

    Whichever process does so, it goes by the endpoints that the catalogue knows, and not by its own. An endpoint hears
    of what happened since it was added, disabled or not: what it is owed waits for it.

    Args:
        session: The transaction: after it, each of these events has all its deliveries, before it none.
        at: Now; the deliveries are due at once.
        limit: The most events of one call.

    Returns:
        How many events were fanned out; those that another transaction fans out at this moment are left to it.
    """
    events = session.execute(_NEW_EVENTS, {"most": limit}).all()
    if not events:
        return 0
    endpoints = session.execute(_HEARING).all()
    deliveries = [
        {"event_id": event_id, "subscriber": name, "attempts": 0, "next_attempt_at": at}
        for event_id, event_type, revision in events
        for name, wanted, from_revision in endpoints
        if revision > from_revision and (wanted is None or event_type in wanted)
    ]
    if deliveries:
        # What was replayed before it was fanned out has its delivery already.
        session.execute(insert_into(dialect_of(session), Delivery).on_conflict_do_nothing(), deliveries)
    session.execute(_FANNED_OUT, {"ids": [event_id for event_id, _, _ in events], "at": at})
    return len(events)


def awaits_fan_out(session: Session) -> bool:
    """Whether there is an event that has no deliveries yet."""
    return session.execute(_AWAITS_FAN_OUT).first() is not None


class Forgotten(NamedTuple):
    """How many events were forgotten, and how many parked deliveries with them, by their endpoints' names."""

    events: int
    parked: dict[str, int]


class EventRow(NamedTuple):
    """What an event is restored from: these columns of `StoredEvent`, in this order."""

    revision: int
    id: str
    event_type: str
    occurred_at: datetime
    data: str


EVENT_COLUMNS = tuple(_events[name] for name in EventRow._fields)


def restore_event(row: EventRow | StoredEvent) -> Event:
    """The event as it was published; a `ForeignEvent` where its type, or what it lacks, is another version's."""
    try:
        data = json.loads(row.data)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        data = {}  # damaged; its id and its type are still worth telling
    known: dict[str, Any] = {"event_id": row.id, "occurred_at": row.occurred_at, "revision": row.revision}
    event_type = EVENTS.get(row.event_type)
    if event_type is not None and data.get("version") == event_type.version:
        with suppress(TypeError):  # stored before one of its fields existed
            return event_type.from_data(data, **known)
    return ForeignEvent(event_type=row.event_type, stored=data, **known)


def last_revision(session: Session) -> int:
    """The highest number that an event has; 0 where there is none."""
    return session.execute(sqlalchemy.select(func.max(_events.revision))).scalar() or 0


def forget_events(session: Session, *, before: datetime, limit: int = 500) -> Forgotten:
    """Forget events that happened before that moment, at most `limit`, and their deliveries with them.

    None that still has to be fanned out, and none that is still due: owed to an endpoint that is neither disabled nor
    removed. What is parked goes with its event.
    """
    deliveries = table_of(Delivery).c
    heard = sqlalchemy.select(_endpoints.name).where(_endpoints.disabled_at.is_(None), _endpoints.removed_at.is_(None))
    owed = (deliveries.event_id == _events.id) & deliveries.delivered_at.is_(None)
    is_due = sqlalchemy.exists().where(owed, deliveries.subscriber.in_(heard))
    old = (
        sqlalchemy.select(_events.id)
        .where(_events.occurred_at < before, _events.fanned_out_at.is_not(None), ~is_due)
        .order_by(_events.occurred_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=table_of(StoredEvent))
    )
    ids = list(session.execute(old).scalars())
    # Asked again: on a server, somebody may have replayed one before it was locked.
    due = set(session.execute(sqlalchemy.select(_events.id).where(_events.id.in_(ids), is_due)).scalars())
    ids = [event_id for event_id in ids if event_id not in due]
    parked = (
        sqlalchemy.select(deliveries.subscriber, func.count())
        .where(deliveries.event_id.in_(ids), deliveries.delivered_at.is_(None))
        .group_by(deliveries.subscriber)
    )
    dropped = dict(session.execute(parked).all())
    session.execute(delete(table_of(StoredEvent)).where(_events.id.in_(ids)))
    return Forgotten(len(ids), dropped)
