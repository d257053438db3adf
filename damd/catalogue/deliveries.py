"""Deliveries as rows: what is owed to whom, when it is due, how it went, and what is to be sent once more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import bindparam, func, update
from sqlmodel import Session

from damd.catalogue.dialects import dialect_of, insert_into
from damd.catalogue.outbox import EVENT_COLUMNS, EventRow, restore_event
from damd.catalogue.tables import Delivery, Endpoint, StoredEvent, table_of
from damd.events import Event

_LONGEST_TEXT = 1000
"""Characters of an error, and of an answer, that are kept with a delivery."""


class DueDelivery(NamedTuple):
    """A delivery whose time has come; `attempts` counts those already made."""

    delivery_id: int
    attempts: int
    event: Event


class Refusal(NamedTuple):
    """An attempt that failed, and when the next one is due."""

    delivery_id: int
    next_attempt_at: datetime
    reason: str
    status_code: int | None = None
    response: str | None = None


_events, _deliveries, _endpoints = table_of(StoredEvent).c, table_of(Delivery).c, table_of(Endpoint).c

# Made once: they are run for every event.
_DUE = (
    sqlalchemy.select(_deliveries.id, _deliveries.attempts, *EVENT_COLUMNS)
    .join(table_of(StoredEvent), _events.id == _deliveries.event_id)
    .where(
        _deliveries.subscriber == bindparam("endpoint"),
        _deliveries.next_attempt_at <= bindparam("at"),
        _deliveries.id.not_in(bindparam("in_work", expanding=True)),
        ~sqlalchemy.exists().where(_endpoints.name == bindparam("endpoint"), _endpoints.disabled_at.is_not(None)),
    )
    .order_by(_deliveries.next_attempt_at, _deliveries.id)
    .limit(bindparam("most"))
)
_NEXT_DUE = sqlalchemy.select(func.min(_deliveries.next_attempt_at)).where(
    _deliveries.subscriber == bindparam("endpoint")
)
_DELIVERED = (
    update(table_of(Delivery))
    .where(_deliveries.id.in_(bindparam("these", expanding=True)))
    .values(
        attempts=_deliveries.attempts + 1,
        next_attempt_at=None,
        last_attempt_at=bindparam("at"),
        delivered_at=bindparam("at"),
        last_error=None,
        last_status=None,
        last_response=None,
    )
)
_REFUSED = (
    update(table_of(Delivery))
    .where(_deliveries.id == bindparam("this"))
    .values(
        attempts=_deliveries.attempts + 1,
        next_attempt_at=bindparam("next_at"),
        last_attempt_at=bindparam("at"),
        last_error=bindparam("reason"),
        last_status=bindparam("status"),
        last_response=bindparam("response"),
    )
)


def due_deliveries(
    session: Session, endpoint: str, *, at: datetime, limit: int, in_work: Sequence[int] = ()
) -> list[DueDelivery]:
    """What is owed to an endpoint and due, the longest due first, but for what is already in work.

    Nothing, where it is disabled: whoever disabled it need not find out who delivers.
    """
    asked = {"endpoint": endpoint, "at": at, "most": limit, "in_work": tuple(in_work)}
    return [
        DueDelivery(delivery_id, attempts, restore_event(EventRow(*row)))
        for delivery_id, attempts, *row in session.execute(_DUE, asked)
    ]


def next_due_at(session: Session, endpoint: str) -> datetime | None:
    """When the next delivery to this endpoint falls due, if anything is owed to it."""
    due_at: datetime | None = session.execute(_NEXT_DUE, {"endpoint": endpoint}).scalar()
    return due_at


def mark_delivered(session: Session, delivery_ids: Sequence[int], *, at: datetime) -> None:
    """The endpoint took these."""
    if delivery_ids:
        session.execute(_DELIVERED, {"these": tuple(delivery_ids), "at": at})


def mark_refused(session: Session, refusals: Sequence[Refusal], *, at: datetime) -> None:
    """The endpoint did not take these; they are offered again."""
    rows = [
        {
            "this": refusal.delivery_id,
            "at": at,
            "next_at": refusal.next_attempt_at,
            "reason": storable(refusal.reason),
            "status": refusal.status_code,
            "response": storable(refusal.response) if refusal.response else None,
        }
        for refusal in refusals
    ]
    if rows:
        session.execute(_REFUSED, rows)


def storable(text: str) -> str:
    """What every database takes: neither NUL nor lone surrogates, of which other people's errors are free to speak."""
    return text[:_LONGEST_TEXT].replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def bring_forward(session: Session, *, at: datetime) -> int:
    """Make due what only the future could have put off: the clock went back since. Returns how many.

    A delivery is put off at its last attempt, or made due at once; where that moment is still to come, so may be
    the next attempt, by years.
    """
    from_the_future = _deliveries.last_attempt_at.is_(None) | (_deliveries.last_attempt_at > at)
    statement = (
        update(table_of(Delivery))
        .where(_deliveries.next_attempt_at > at, from_the_future)
        .values(next_attempt_at=at, last_attempt_at=None)
        .returning(_deliveries.id)
    )
    return len(session.execute(statement).all())


class Selection(NamedTuple):
    """Which events are meant: all that meet every one of these, where given.

    Attributes:
        ids: These alone.
        since: That happened then or later.
        until: That happened before.
        types: Of these types.
    """

    ids: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    types: Sequence[str] = ()

    @property
    def conditions(self) -> list[sqlalchemy.ColumnElement[bool]]:
        """As conditions on the table of events."""
        return [
            *([_events.id.in_(self.ids)] if self.ids else []),
            *([_events.occurred_at >= self.since] if self.since else []),
            *([_events.occurred_at < self.until] if self.until else []),
            *([_events.event_type.in_(self.types)] if self.types else []),
        ]


def replay(session: Session, selection: Selection, endpoint: str, *, only_missing: bool, at: datetime) -> int:
    """Have an endpoint sent these events, as if for the first time, under the ids that they have.

    Args:
        session: The transaction.
        selection: Which events, whether or not it would have heard of them.
        endpoint: The endpoint's name.
        only_missing: Not those that it has taken, nor those that are being offered to it anyway.
        at: Now; they are due at once.

    Returns:
        How many events.
    """
    insert = insert_into(dialect_of(session), Delivery)
    events = sqlalchemy.select(
        _events.id,
        sqlalchemy.literal(endpoint),
        sqlalchemy.literal(0),
        sqlalchemy.literal(at, _deliveries.next_attempt_at.type),
    ).where(sqlalchemy.true(), *selection.conditions)
    statement = insert.from_select(["event_id", "subscriber", "attempts", "next_attempt_at"], events)
    key = ["subscriber", "event_id"]
    if only_missing:
        statement = statement.on_conflict_do_nothing(index_elements=key)
    else:
        again = {"attempts": 0, "next_attempt_at": at, "delivered_at": None, "last_attempt_at": None}
        statement = statement.on_conflict_do_update(index_elements=key, set_=again)
    return len(session.execute(statement.returning(_deliveries.id)).all())
