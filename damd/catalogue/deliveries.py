"""Deliveries as rows: what is owed to whom, when it is due, how it went, and what is to be sent once more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import bindparam, update
from sqlmodel import Session

from damd.catalogue.dialects import dialect_of, insert_into
from damd.catalogue.outbox import EVENT_COLUMNS, EventRow, restore_event
from damd.catalogue.tables import Delivery, Endpoint, StoredEvent, table_of
from damd.events import Event

_LONGEST_TEXT = 1000
"""Characters of an error, and of an answer, that are kept with a delivery."""


class DueDelivery(NamedTuple):
    """A delivery whose time came at `due_at`; `attempts` counts those already made, the last of them at `tried_at`."""

    delivery_id: int
    attempts: int
    event: Event
    due_at: datetime
    tried_at: datetime | None = None

    @property
    def put_off_for(self) -> timedelta:
        """How long it had to wait since it was tried."""
        return timedelta(0) if self.tried_at is None else self.due_at - self.tried_at


class Refusal(NamedTuple):
    """An attempt that failed, and when the next one is due.

    Attributes:
        delivery_id: Which delivery.
        next_attempt_at: By the clock of that moment.
        reason: In a sentence.
        status_code: What was answered, if it was.
        response: Its beginning.
        attempted_at: When it failed, where that is not the moment of marking.
        until_back: Whether it is due sooner if the endpoint is back sooner.
    """

    delivery_id: int
    next_attempt_at: datetime
    reason: str
    status_code: int | None = None
    response: str | None = None
    attempted_at: datetime | None = None
    until_back: bool = False


_events, _deliveries, _endpoints = table_of(StoredEvent).c, table_of(Delivery).c, table_of(Endpoint).c

# Made once: they are run for every event.
_DUE = (
    sqlalchemy.select(
        _deliveries.id, _deliveries.attempts, _deliveries.next_attempt_at, _deliveries.last_attempt_at, *EVENT_COLUMNS
    )
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
_UNTRIED = _DUE.where(_deliveries.attempts == 0)
_TRIED = _DUE.where(_deliveries.attempts > 0)
# One look into the index for each endpoint: there are many deliveries that have arrived.
_WITH_DUE = sqlalchemy.select(_endpoints.name).where(
    _endpoints.disabled_at.is_(None),
    sqlalchemy.exists().where(
        _deliveries.subscriber == _endpoints.name, _deliveries.next_attempt_at <= bindparam("at")
    ),
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
    .where(_deliveries.id == bindparam("this"), _deliveries.delivered_at.is_(None))  # by another relay meanwhile
    .values(
        attempts=_deliveries.attempts + 1,
        next_attempt_at=bindparam("next_at"),
        last_attempt_at=bindparam("attempted_at"),
        last_error=bindparam("reason"),
        last_status=bindparam("status"),
        last_response=bindparam("response"),
        until_back=bindparam("is_until_back"),
    )
)


def due_deliveries(
    session: Session, endpoint: str, *, at: datetime, limit: int, in_work: Sequence[int] = ()
) -> list[DueDelivery]:
    """What is owed to an endpoint and due, but for what is already in work.

    What was never attempted comes first, so that nothing that fails time and again is in its way; then the longest due.
    Nothing, where it is disabled: whoever disabled it need not find out who delivers.
    """
    due: list[DueDelivery] = []
    for statement in (_UNTRIED, _TRIED):
        asked = {"endpoint": endpoint, "at": at, "most": limit - len(due), "in_work": tuple(in_work)}
        if len(due) < limit:
            due.extend(
                DueDelivery(delivery_id, attempts, restore_event(EventRow(*row)), due_at, tried_at)
                for delivery_id, attempts, due_at, tried_at, *row in session.execute(statement, asked)
            )
    return due


def endpoints_with_due(session: Session, *, at: datetime) -> set[str]:
    """The names of the endpoints to which something is due, but for those that are disabled."""
    return set(session.execute(_WITH_DUE, {"at": at}).scalars())


def mark_delivered(session: Session, delivery_ids: Sequence[int], *, at: datetime) -> None:
    """The endpoint took these."""
    if delivery_ids:
        session.execute(_DELIVERED, {"these": tuple(delivery_ids), "at": at})


def mark_refused(session: Session, refusals: Sequence[Refusal], *, at: datetime) -> None:
    """The endpoint did not take these; they are offered again, but for what another relay has delivered meanwhile."""
    rows = [
        {
            "this": refusal.delivery_id,
            "attempted_at": refusal.attempted_at or at,
            "next_at": refusal.next_attempt_at,
            "reason": storable(refusal.reason),
            "status": refusal.status_code,
            "response": storable(refusal.response) if refusal.response else None,
            "is_until_back": refusal.until_back,
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
