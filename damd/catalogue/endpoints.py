"""Endpoints as rows: the durable subscribers that the catalogue knows, from when on each hears, and how it fares.

An endpoint hears of what happens after it was added. One that is removed, or disabled, is offered nothing until it is
back or enabled: what is owed to it is parked, until its events are forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy
from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from damd.catalogue.deliveries import storable
from damd.catalogue.dialects import dialect_of, insert_into
from damd.catalogue.outbox import last_revision
from damd.catalogue.tables import Delivery, Endpoint, StoredEvent, moment_text, table_of
from damd.events import Subscription
from damd.settings import format_duration

LONGEST_GAP = timedelta(hours=1)
"""The most by which one failure after another lengthens the time that counts as failing, unless the delivery that
failed was put off for longer: then no more than that.

So neither a clock that jumps nor days on which damd did not run disable anybody, and one that is asked seldom, as it
has been away for long, is none the less disabled in time.
"""

UPGRADED = ""
"""The row that the upgrade from a catalogue without endpoints left, where events were waiting: until the next daemon
starts, whoever is attached hears of these."""

_HEALTHY: dict[str, Any] = {"failing_since": None, "failing_s": 0.0}

# Made once: an idle daemon asks for them all the time.
_KNOWN = select(Endpoint).where(Endpoint.name != UPGRADED).order_by(col(Endpoint.name))


def known_endpoints(session: Session) -> list[Endpoint]:
    """All that the catalogue was ever told of, by name; those that were removed, too."""
    return list(session.exec(_KNOWN))


def are_attached(endpoints: Sequence[Endpoint], subscriptions: Mapping[str, Subscription]) -> bool:
    """Whether these are known, so that `attach` would change nothing."""
    return subscriptions.keys() <= {each.name for each in endpoints if each.removed_at is None}


def attach(session: Session, subscriptions: Mapping[str, Subscription], *, at: datetime, sole: bool = False) -> None:
    """Tell the catalogue of the configured endpoints; those it does not know, or knows as removed, hear from now on.

    Args:
        session: The transaction.
        subscriptions: What each asks for, by its name.
        at: Now.
        sole: Whether these are all there are, and ask for this from now on: any other was removed.
    """
    known = {each.name: each for each in known_endpoints(session)}
    new = {name for name in subscriptions if name not in known or known[name].removed_at is not None}
    if new:
        _await_numbered(session)
    upgraded = session.get(Endpoint, UPGRADED)
    heard = upgraded.from_revision if upgraded is not None else last_revision(session)
    now_on = {"added_at": at, "from_revision": heard, "removed_at": None, **_HEALTHY}
    for name, subscription in subscriptions.items():
        asks = {"kind": subscription.kind, "events": None if subscription.events is None else list(subscription.events)}
        if name not in known:
            row = {"name": name, **asks, **now_on}
            # Another process may attach it at this very moment.
            session.execute(insert_into(dialect_of(session), Endpoint).values(row).on_conflict_do_nothing())
        elif name in new:
            _update(session, name, **asks, **now_on)
        elif sole:
            _update(session, name, **asks)
    if sole:
        session.execute(delete(Endpoint).where(col(Endpoint.name) == UPGRADED))
        others = col(Endpoint.name).not_in(list(subscriptions)) & col(Endpoint.removed_at).is_(None)
        session.execute(update(Endpoint).where(others).values(removed_at=at))


def _await_numbered(session: Session) -> None:
    """Wait until whatever has a number is committed: PostgreSQL numbers events before, and in no order."""
    if dialect_of(session) == "postgresql":
        session.execute(sqlalchemy.text(f"LOCK TABLE {StoredEvent.__tablename__} IN SHARE MODE"))


def note_delivered(session: Session, name: str, *, at: datetime) -> None:
    """It took something."""
    _update(session, name, last_delivered_at=at, **_HEALTHY)


def bring_back(session: Session, name: str, *, at: datetime) -> None:
    """It answers again: what failed because it was down is due now.

    Not what it asked to be sent later, nor what failed for the event's own sake.
    """
    put_off = (col(Delivery.subscriber) == name, col(Delivery.next_attempt_at) > at, col(Delivery.until_back).is_(True))
    session.execute(update(table_of(Delivery)).where(*put_off).values(next_attempt_at=at))


def note_failed(
    session: Session,
    name: str,
    *,
    at: datetime,
    error: str,
    disable_after: timedelta | None,
    waited: timedelta = timedelta(0),
) -> str | None:
    """It took nothing; returns why it is disabled, if it is from now on.

    Args:
        session: The transaction.
        name: The endpoint.
        at: Now.
        error: What is said of it.
        disable_after: The time of nothing but failures after which it is; `LONGEST_GAP` says what counts.
        waited: For how long the delivery that failed had been put off before.
    """
    endpoint = session.get(Endpoint, name)
    if endpoint is None or endpoint.disabled_at is not None:
        return None
    gap_s = 0.0
    if endpoint.failing_since is not None and endpoint.last_failed_at is not None:
        gap = min(at - endpoint.last_failed_at, max(waited, LONGEST_GAP))
        gap_s = max(0.0, gap.total_seconds())
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
    """Offer it what it is owed, at once and from the beginning of its schedule; returns whether it was disabled."""
    endpoint = session.get(Endpoint, name)
    was_disabled = endpoint is not None and endpoint.disabled_at is not None
    values = {"disabled_at": None, "disabled_because": None, "enabled_at": at, "last_failed_at": None, **_HEALTHY}
    _update(session, name, **values)
    waiting = (col(Delivery.subscriber) == name) & col(Delivery.next_attempt_at).is_not(None)
    session.execute(update(Delivery).where(waiting).values(next_attempt_at=at, attempts=0))
    return was_disabled


def endpoint_states(session: Session) -> list[dict[str, Any]]:
    """Every endpoint that the catalogue knows, by name, as plain JSON values: how it fares, and what it is owed.

    Its ``state`` is the first of these that it is: ``disabled``, ``removed``, ``failing``; else ``active``.
    """
    is_owed = (col(Delivery.subscriber) == Endpoint.name) & col(Delivery.next_attempt_at).is_not(None)
    # One look into the index for each: there are many deliveries that have arrived.
    count = sqlalchemy.select(sqlalchemy.func.count()).select_from(Delivery).where(is_owed).scalar_subquery()
    next_at = sqlalchemy.select(sqlalchemy.func.min(col(Delivery.next_attempt_at))).where(is_owed).scalar_subquery()
    known = sqlalchemy.select(Endpoint, count, next_at).where(col(Endpoint.name) != UPGRADED)
    rows = session.execute(known.order_by(col(Endpoint.name)))
    return [
        {
            "name": endpoint.name,
            "kind": endpoint.kind,
            "state": _state(endpoint),
            "owed": number,
            "next_attempt_at": moment_text(next_attempt_at),
            "added_at": moment_text(endpoint.added_at),
            "removed_since": moment_text(endpoint.removed_at),
            "disabled_since": moment_text(endpoint.disabled_at),
            "disabled_because": endpoint.disabled_because,
            "failing_since": moment_text(endpoint.failing_since),
            "last_error": endpoint.last_error,
            "last_failed_at": moment_text(endpoint.last_failed_at),
            "last_delivered_at": moment_text(endpoint.last_delivered_at),
        }
        for endpoint, number, next_attempt_at in rows
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


def _update(session: Session, name: str, **values: Any) -> None:
    session.execute(update(Endpoint).where(col(Endpoint.name) == name).values(values))
