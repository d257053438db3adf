"""What the catalogue says of its events and their deliveries, as plain JSON values for people and programs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session

from damd.catalogue.deliveries import Selection
from damd.catalogue.outbox import EVENT_COLUMNS, EventRow, last_revision, restore_event
from damd.catalogue.tables import Delivery, Endpoint, StoredEvent, moment_text, table_of
from damd.events import body_of

LOOK_BACK = 2000
"""How many numbers below the newest one an event may still turn up: PostgreSQL commits in an order of its own."""

_MOST_PARAMETERS = 500

_events, _deliveries, _endpoints = table_of(StoredEvent).c, table_of(Delivery).c, table_of(Endpoint).c
_DESCRIBED = sqlalchemy.select(*EVENT_COLUMNS, _events.fanned_out_at)
_DELIVERIES = (
    sqlalchemy.select(table_of(Delivery), _endpoints.disabled_at, _endpoints.removed_at)
    .outerjoin(table_of(Endpoint), _endpoints.name == _deliveries.subscriber)
    .order_by(_deliveries.subscriber)
)


class Question(NamedTuple):
    """Which events somebody wants to see: all that meet every one of these, where given.

    Attributes:
        selection: By id, time and type.
        endpoint: Those that have a delivery to it.
        owed: Those that are owed to it, or to any.
    """

    selection: Selection = Selection()
    endpoint: str | None = None
    owed: bool = False

    @property
    def conditions(self) -> list[sqlalchemy.ColumnElement[bool]]:
        """As conditions on the table of events."""
        if self.owed:
            # By the index that the relay claims by: of many events, few are owed.
            to = [self.endpoint] if self.endpoint is not None else sqlalchemy.select(_endpoints.name)
            owed = sqlalchemy.select(_deliveries.event_id).where(
                _deliveries.subscriber.in_(to), _deliveries.next_attempt_at.is_not(None)
            )
            return [*self.selection.conditions, _events.id.in_(owed)]
        if self.endpoint is not None:
            its_own = (_deliveries.event_id == _events.id) & (_deliveries.subscriber == self.endpoint)
            return [*self.selection.conditions, sqlalchemy.exists().where(its_own)]
        return self.selection.conditions


def newest_events(session: Session, question: Question, *, limit: int) -> list[int]:
    """The revisions of the newest events that are asked for, the newest last."""
    statement = (
        sqlalchemy.select(_events.revision).where(*question.conditions).order_by(_events.revision.desc()).limit(limit)
    )
    return list(session.execute(statement).scalars())[::-1]


class Unseen:
    """What commits from now on, by whatever process, for one who looks again and again."""

    def __init__(self) -> None:
        self._floor: int | None = None
        self._seen: set[int] = set()

    def look(self, session: Session) -> list[int]:
        """The revisions that were not there at any look before; at the first one, all that are there are old."""
        begins = self._floor is None
        floor = last_revision(session) - LOOK_BACK if self._floor is None else self._floor
        there = sqlalchemy.select(_events.revision).where(_events.revision > floor).order_by(_events.revision)
        fresh = [revision for revision in session.execute(there).scalars() if revision not in self._seen]
        self.have_seen(fresh)
        self._floor = max(floor, max(self._seen, default=0) - LOOK_BACK)
        self._seen = {revision for revision in self._seen if revision > self._floor}
        return [] if begins else fresh

    def have_seen(self, revisions: Collection[int]) -> None:
        """These are not to be told again."""
        self._seen.update(revisions)


def describe_events(session: Session, revisions: Sequence[int], *, types: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The events of these revisions in that order, those that are still there, each with its deliveries.

    Args:
        session: A transaction.
        revisions: At most a few hundred: they become parameters of one statement.
        types: Of these types alone, where given.
    """
    chosen = _DESCRIBED.where(_events.revision.in_(revisions), *Selection(types=types).conditions)
    rows = session.execute(chosen.order_by(_events.revision)).all()
    deliveries = _deliveries_of(session, [row.id for row in rows])
    described = []
    for *columns, fanned_out_at in rows:
        event = restore_event(EventRow(*columns))
        described.append(
            {
                "event_id": event.event_id,
                "revision": event.revision,
                **json.loads(body_of(event)),
                "fanned_out": fanned_out_at is not None,
                "deliveries": deliveries[event.event_id],
            }
        )
    return described


def _deliveries_of(session: Session, event_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in session.execute(_DELIVERIES.where(_deliveries.event_id.in_(event_ids))).mappings():
        parked_because = "disabled" if row["disabled_at"] else "removed" if row["removed_at"] else None
        state = "delivered" if row["delivered_at"] else "parked" if parked_because else "owed"
        found[row["event_id"]].append(
            {
                "endpoint": row["subscriber"],
                "state": state,
                "parked_because": parked_because if state == "parked" else None,
                "attempts": row["attempts"],
                "delivered_at": moment_text(row["delivered_at"]),
                "next_attempt_at": moment_text(row["next_attempt_at"]),
                "last_attempt_at": moment_text(row["last_attempt_at"]),
                "last_error": row["last_error"],
                "last_status": row["last_status"],
                "last_response": row["last_response"],
            }
        )
    return found


def find_events(session: Session, beginnings: Sequence[str]) -> dict[str, list[str]]:
    """The ids that each of these means: itself, where it is one, else at most two of those that begin so."""
    whole = {each for some in _chunks(beginnings) for each in session.execute(_ids_among(some)).scalars()}
    return {each: [each] if each in whole else _beginning_with(session, each) for each in beginnings}


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _MOST_PARAMETERS):
        yield values[start : start + _MOST_PARAMETERS]


def _ids_among(ids: Sequence[str]) -> sqlalchemy.Select[Any]:
    return sqlalchemy.select(_events.id).where(_events.id.in_(ids))


def _beginning_with(session: Session, beginning: str) -> list[str]:
    # A range of the index would be quicker, but PostgreSQL's collations have their own idea of an order.
    alike = _events.id.startswith(beginning, autoescape=True)
    return list(session.execute(sqlalchemy.select(_events.id).where(alike).limit(2)).scalars())


def revision_of(session: Session, event_id: str) -> int | None:
    """The number of the event with this id."""
    revision: int | None = session.execute(
        sqlalchemy.select(_events.revision).where(_events.id == event_id)
    ).scalar_one_or_none()
    return revision


def stored_types(session: Session, selection: Selection) -> list[str]:
    """The types among the selected events, by name; a plugin's too."""
    statement = sqlalchemy.select(_events.event_type).distinct().where(*selection.conditions)
    return sorted(session.execute(statement).scalars())


def count_of_replay(session: Session, selection: Selection, endpoint: str, *, only_missing: bool) -> int:
    """How many events `damd.catalogue.deliveries.replay` would have sent, asked for the same."""
    taken = (_deliveries.event_id == _events.id) & (_deliveries.subscriber == endpoint)
    missing = [~sqlalchemy.exists().where(taken)] if only_missing else []
    statement = sqlalchemy.select(func.count()).select_from(table_of(StoredEvent))
    return int(session.execute(statement.where(*selection.conditions, *missing)).scalar_one())
