"""Endpoints as rows: the durable subscribers that the catalogue knows, from when on each hears, and how it fares.

An endpoint hears of what happens after it was added. One that is removed, or disabled, is offered nothing until it is
back or enabled: what is owed to it is parked, until its events are forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy
from sqlalchemy import insert, update
from sqlmodel import Session, col, select

from damd.catalogue.deliveries import storable
from damd.catalogue.outbox import last_revision
from damd.catalogue.tables import Delivery, Endpoint, StoredEvent, table_of
from damd.settings import format_duration

LONGEST_GAP = timedelta(days=1)
"""The most by which one failure after another lengthens the time that counts as failing.

So neither a clock that jumps nor days on which damd did not run disable anybody.
"""

_HEALTHY: dict[str, Any] = {"failing_since": None, "failing_s": 0.0}


def known_endpoints(session: Session) -> list[Endpoint]:
    """All that the catalogue was ever told of, by name; those that were removed, too."""
    return list(session.exec(select(Endpoint).order_by(col(Endpoint.name))))


def are_attached(endpoints: Sequence[Endpoint], kinds: Mapping[str, str], *, sole: bool = False) -> bool:
    """Whether `attach` would change nothing."""
    attached = {each.name: each.kind for each in endpoints if each.removed_at is None}
    return attached == kinds if sole else kinds.items() <= attached.items()


def attach(session: Session, kinds: Mapping[str, str], *, at: datetime, sole: bool = False) -> None:
    """Tell the catalogue of the configured endpoints; those it does not know, or knows as removed, hear from now on.

    Args:
        session: The transaction.
        kinds: The kind of each, by its name.
        at: Now.
        sole: Whether these are all there are, so that any other was removed.
    """
    known = {each.name: each for each in known_endpoints(session)}
    for name, kind in kinds.items():
        endpoint = known.get(name)
        now_on = {"kind": kind, "added_at": at, "from_revision": last_revision(session), "removed_at": None}
        if endpoint is None:
            session.execute(insert(table_of(Endpoint)).values(name=name, failing_s=0.0, **now_on))
        elif endpoint.removed_at is not None:
            _update(session, name, **now_on)
        elif endpoint.kind != kind:
            _update(session, name, kind=kind)
    if sole:
        others = col(Endpoint.name).not_in(list(kinds)) & col(Endpoint.removed_at).is_(None)
        session.execute(update(Endpoint).where(others).values(removed_at=at))


def note_delivered(session: Session, name: str, *, at: datetime) -> None:
    """It took something."""
    _update(session, name, last_delivered_at=at, **_HEALTHY)


def bring_back(session: Session, name: str, *, at: datetime) -> None:
    """It answers again, which `note_delivered` is told after this: what failed since it began to fail is due now.

    But for what it asked to be sent later (429).
    """
    since = sqlalchemy.select(col(Endpoint.failing_since)).where(col(Endpoint.name) == name).scalar_subquery()
    put_off = (
        col(Delivery.subscriber) == name,
        col(Delivery.next_attempt_at) > at,
        col(Delivery.last_attempt_at) >= since,
        col(Delivery.last_status).is_distinct_from(429),
    )
    session.execute(update(table_of(Delivery)).where(*put_off).values(next_attempt_at=at))


def note_failed(
    session: Session, name: str, *, at: datetime, error: str, disable_after: timedelta | None
) -> str | None:
    """It took nothing; returns why it is disabled, if it is from now on.

    Args:
        session: The transaction.
        name: The endpoint.
        at: Now.
        error: What is said of it.
        disable_after: The time of nothing but failures after which it is.
    """
    endpoint = session.get(Endpoint, name)
    if endpoint is None or endpoint.disabled_at is not None:
        return None
    gap_s = 0.0
    if endpoint.failing_since is not None and endpoint.last_failed_at is not None:
        gap_s = min(max(0.0, (at - endpoint.last_failed_at).total_seconds()), LONGEST_GAP.total_seconds())
    failing_s = endpoint.failing_s + gap_s
    since = endpoint.failing_since or at
    _update(session, name, failing_since=since, failing_s=failing_s, last_failed_at=at, last_error=storable(error))
    if disable_after is None or failing_s < disable_after.total_seconds():
        return None
    because = f"It has done nothing but fail for {format_duration(disable_after)}; the last time: {error}"
    disable(session, name, because=because, at=at)
    return because


def disable(session: Session, name: str, *, because: str, at: datetime) -> bool:
    """Offer it nothing from now on; False if it is disabled already, or not known."""
    able = (col(Endpoint.name) == name) & col(Endpoint.disabled_at).is_(None)
    values = {"disabled_at": at, "disabled_because": storable(because)}
    return (
        session.execute(update(Endpoint).where(able).values(values).returning(col(Endpoint.name))).first() is not None
    )


def enable(session: Session, name: str, *, at: datetime) -> bool:
    """Offer it again what it is owed, at once; False if it is not disabled, or not known."""
    disabled = (col(Endpoint.name) == name) & col(Endpoint.disabled_at).is_not(None)
    values = {"disabled_at": None, "disabled_because": None, "last_failed_at": None, **_HEALTHY}
    found = session.execute(update(Endpoint).where(disabled).values(values).returning(col(Endpoint.name))).first()
    if found is None:
        return False
    later = (col(Delivery.subscriber) == name) & (col(Delivery.next_attempt_at) > at)
    session.execute(update(Delivery).where(later).values(next_attempt_at=at))
    return True


def owed(session: Session) -> dict[str, int]:
    """How many events each endpoint is owed, by its name."""
    statement = (
        sqlalchemy.select(col(Delivery.subscriber), sqlalchemy.func.count())
        .where(col(Delivery.next_attempt_at).is_not(None))
        .group_by(col(Delivery.subscriber))
    )
    return dict(session.execute(statement).all())


def endpoint_states(session: Session) -> list[dict[str, Any]]:
    """Every endpoint that the catalogue knows, by name, as plain JSON values: how it fares, and what it is owed.

    Its ``state`` is the first of these that it is: ``disabled``, ``removed``, ``failing``; else ``active``.
    """
    is_owed = (col(Delivery.subscriber) == Endpoint.name) & col(Delivery.next_attempt_at).is_not(None)
    # One look into the index for each: there are many deliveries that have arrived.
    count = sqlalchemy.select(sqlalchemy.func.count()).select_from(Delivery).where(is_owed).scalar_subquery()
    rows = session.execute(sqlalchemy.select(Endpoint, count).order_by(col(Endpoint.name)))
    return [
        {
            "name": endpoint.name,
            "kind": endpoint.kind,
            "state": _state(endpoint),
            "owed": number,
            "added_at": _moment(endpoint.added_at),
            "removed_since": _moment(endpoint.removed_at),
            "disabled_since": _moment(endpoint.disabled_at),
            "disabled_because": endpoint.disabled_because,
            "failing_since": _moment(endpoint.failing_since),
            "last_error": endpoint.last_error,
            "last_failed_at": _moment(endpoint.last_failed_at),
            "last_delivered_at": _moment(endpoint.last_delivered_at),
        }
        for endpoint, number in rows
    ]


def oldest_owed_at(session: Session, name: str) -> datetime | None:
    """When the oldest of the events happened that an endpoint is owed; None where it is owed none."""
    statement = (
        sqlalchemy.select(sqlalchemy.func.min(col(StoredEvent.occurred_at)))
        .join(Delivery, col(Delivery.event_id) == col(StoredEvent.id))
        .where(col(Delivery.subscriber) == name, col(Delivery.next_attempt_at).is_not(None))
    )
    oldest: datetime | None = session.execute(statement).scalar()
    return oldest


def _state(endpoint: Endpoint) -> str:
    if endpoint.disabled_at is not None:
        return "disabled"
    if endpoint.removed_at is not None:
        return "removed"
    return "active" if endpoint.failing_since is None else "failing"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _update(session: Session, name: str, **values: Any) -> None:
    session.execute(update(Endpoint).where(col(Endpoint.name) == name).values(values))
