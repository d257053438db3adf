"""Events and deliveries as rows: what commits with an asset, and what is still owed to whom."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import bindparam, insert, update
from sqlmodel import Session, col, select

from damd.catalogue.tables import Delivery, StoredEvent, table_of
from damd.events import EVENTS, Event


@dataclass(frozen=True, kw_only=True)
class ForeignEvent(Event):
    """An event that this version cannot restore, another version's or a plugin's: told as it was stored."""

    event_type: str  # type: ignore[misc]  # each event's own here, the class's elsewhere
    stored: dict[str, Any]

    def data(self) -> dict[str, Any]:
        """What was stored, whatever it means."""
        return self.stored


class DueDelivery(NamedTuple):
    """A delivery whose time has come; `attempts` counts those already made."""

    delivery_id: int
    attempts: int
    event: Event


# On plain tables, and made once: they are run for every file.
_EVENT = insert(table_of(StoredEvent))
_events = table_of(StoredEvent).c
_AWAITS_FAN_OUT = sqlalchemy.select(_events.id).where(_events.fanned_out_at.is_(None)).limit(1)
_NEW_EVENTS = (
    sqlalchemy.select(_events.id, _events.event_type)
    .where(_events.fanned_out_at.is_(None))
    .order_by(_events.occurred_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)  # for another relay on the same server; SQLite has one writer anyway
)
_FANNED_OUT = (
    update(table_of(StoredEvent))
    .where(_events.id.in_(bindparam("ids", expanding=True)))
    .values(fanned_out_at=bindparam("at"))
)


def store_event(session: Session, event: Event, *, entity_id: int | None = None) -> None:
    """Store an event in the transaction of what it tells of."""
    row = {
        "id": event.event_id,
        "event_type": event.event_type,
        "occurred_at": event.occurred_at,
        "entity_id": entity_id,
        "data": json.dumps(event.data()),
    }
    session.execute(_EVENT, row)


def fan_out(session: Session, wanting: Callable[[str], Iterable[str]], *, at: datetime, limit: int = 500) -> int:
    """Make a delivery for each durable subscriber that wants it, of at most `limit` events that have none yet.

    Args:
        session: The transaction: after it, each of these events has all its deliveries, before it none.
        wanting: The names of the durable subscribers that want events of a type.
        at: Now; the deliveries are due at once.
        limit: The most events of one call.

    Returns:
        How many events were fanned out; those that another transaction fans out at this moment are left to it.
    """
    events = session.execute(_NEW_EVENTS, {"most": limit}).all()
    deliveries = [
        {"event_id": event_id, "subscriber": subscriber, "attempts": 0, "next_attempt_at": at}
        for event_id, event_type in events
        for subscriber in wanting(event_type)
    ]
    if deliveries:
        session.execute(insert(table_of(Delivery)), deliveries)
    if events:
        ids = [event_id for event_id, _ in events]
        session.execute(_FANNED_OUT, {"ids": ids, "at": at})
    return len(events)


def awaits_fan_out(session: Session) -> bool:
    """Whether there is an event that has no deliveries yet."""
    return session.execute(_AWAITS_FAN_OUT).first() is not None


def due_deliveries(
    session: Session, subscriber: str, *, at: datetime, limit: int, in_work: Sequence[int] = ()
) -> list[DueDelivery]:
    """What is owed to a subscriber and due, the longest due first, but for what is already in work."""
    statement = (
        select(Delivery, StoredEvent)
        .join(StoredEvent, col(StoredEvent.id) == Delivery.event_id)
        .where(
            Delivery.subscriber == subscriber,
            col(Delivery.next_attempt_at) <= at,
            col(Delivery.id).not_in(in_work),
        )
        .order_by(col(Delivery.next_attempt_at), col(Delivery.id))
        .limit(limit)
    )
    return [
        DueDelivery(delivery.id or 0, delivery.attempts, restore_event(stored))
        for delivery, stored in session.exec(statement)
    ]


def restore_event(stored: StoredEvent) -> Event:
    """The event as it was published; a `ForeignEvent` where its type, or what it lacks, is another version's."""
    try:
        data = json.loads(stored.data)
    except ValueError:
        data = {}  # damaged; its id and its type are still worth telling
    event_type = EVENTS.get(stored.event_type)
    if event_type is not None and data.get("version") == event_type.version:
        with suppress(TypeError):  # stored before one of its fields existed
            return event_type.from_data(data, event_id=stored.id, occurred_at=stored.occurred_at)
    return ForeignEvent(event_id=stored.id, occurred_at=stored.occurred_at, event_type=stored.event_type, stored=data)


def mark_delivered(session: Session, delivery_id: int, *, at: datetime) -> None:
    """The subscriber took it."""
    values = {"delivered_at": at, "next_attempt_at": None, "last_error": None, "attempts": Delivery.attempts + 1}
    session.execute(update(Delivery).where(col(Delivery.id) == delivery_id).values(values))


def mark_refused(session: Session, delivery_id: int, *, reason: str, next_attempt_at: datetime) -> None:
    """The subscriber did not take it; it is offered again."""
    values = {"last_error": reason, "next_attempt_at": next_attempt_at, "attempts": Delivery.attempts + 1}
    session.execute(update(Delivery).where(col(Delivery.id) == delivery_id).values(values))


def next_due_at(session: Session, subscribers: Sequence[str]) -> datetime | None:
    """When the next delivery to one of these falls due, if anything is owed to them."""
    statement = sqlalchemy.select(sqlalchemy.func.min(col(Delivery.next_attempt_at))).where(
        col(Delivery.subscriber).in_(subscribers)
    )
    return session.execute(statement).scalar()
