"""Deliveries: what is due, how attempts are marked, and what is sent once more."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy
from owing import owe
from sqlalchemy import Connection, Engine
from sqlmodel import Session

from damd.catalogue.deliveries import (
    Refusal,
    Selection,
    bring_forward,
    due_deliveries,
    endpoints_with_due,
    mark_delivered,
    mark_refused,
    replay,
    storable,
)
from damd.catalogue.endpoints import attach, disable, enable
from damd.catalogue.outbox import store_event
from damd.catalogue.tables import Delivery
from damd.events import FileImportedEvent, FileMissingEvent, Subscription

AT = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        attach(session, dict.fromkeys(["gallery", "backup", "other"], Subscription("webhook")), at=AT)
        yield session


def store(session: Session, number: int, *, at: datetime = AT, to: Iterable[str] = ("gallery",)) -> None:
    """An event that happened then, fanned out then."""
    event = FileImportedEvent(
        event_id=f"evt_{number}",
        occurred_at=at,
        asset_id=number,
        path="/inbox/a.jpg",
        root=None,
        sha256="aa",
        size_bytes=3,
        mime_type=None,
        family=None,
        duration_s=0.5,
    )
    store_event(session, event)
    owe(session, *to, at=at)


def due_ids(session: Session, endpoint: str = "gallery", at: datetime = AT, limit: int = 100) -> list[str]:
    return [delivery.event.event_id for delivery in due_deliveries(session, endpoint, at=at, limit=limit)]


def only(session: Session) -> Delivery:
    session.expire_all()
    return session.scalars(sqlalchemy.select(Delivery)).one()


def refuse(session: Session, *, at: datetime, until: datetime, endpoint: str = "gallery") -> None:
    """All that is due then."""
    due = due_deliveries(session, endpoint, at=at, limit=100)
    mark_refused(session, [Refusal(each.delivery_id, until, "no") for each in due], at=at)


def test_what_is_due_comes_in_order_and_no_more_than_asked_for(session: Session) -> None:
    for number, minutes in ((1, 5), (2, 1), (3, 3), (4, 9)):
        store(session, number, at=AT + minutes * MINUTE)
    assert due_ids(session, at=AT) == []
    assert due_ids(session, at=AT + 5 * MINUTE) == ["evt_2", "evt_3", "evt_1"]
    assert due_ids(session, at=AT + 9 * MINUTE, limit=2) == ["evt_2", "evt_3"]


def test_what_was_never_attempted_comes_before_what_failed_however_long_that_is_due(session: Session) -> None:
    for number in (1, 2):
        store(session, number)
    refuse(session, at=AT, until=AT + MINUTE)
    for number in (3, 4):
        store(session, number, at=AT + 2 * MINUTE)
    assert due_ids(session, at=AT + MINUTE) == ["evt_1", "evt_2"]
    assert due_ids(session, at=AT + 2 * MINUTE) == ["evt_3", "evt_4", "evt_1", "evt_2"]
    assert due_ids(session, at=AT + 2 * MINUTE, limit=3) == ["evt_3", "evt_4", "evt_1"]
    due = due_deliveries(session, "gallery", at=AT + 2 * MINUTE, limit=9)
    assert [each.put_off_for for each in due] == [timedelta(0), timedelta(0), MINUTE, MINUTE]
    assert [each.tried_at for each in due] == [None, None, AT, AT]


def test_a_refusal_that_comes_after_another_relays_success_changes_nothing(session: Session) -> None:
    store(session, 1)
    (delivery,) = due_deliveries(session, "gallery", at=AT, limit=1)
    mark_delivered(session, [delivery.delivery_id], at=AT)
    mark_refused(session, [Refusal(delivery.delivery_id, AT + MINUTE, "late")], at=AT + MINUTE)
    row = only(session)
    assert (row.delivered_at, row.next_attempt_at, row.last_error) == (AT, None, None)
    assert due_ids(session, at=AT + DAY) == []


def test_what_is_due_is_looked_up_whatever_else_waits(session: Session) -> None:
    if session.get_bind().dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by what is in the tables")
    plans: list[str] = []

    def explain(connection: Connection, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in rows)

    sqlalchemy.event.listen(session.get_bind(), "before_cursor_execute", explain)
    due_deliveries(session, "gallery", at=AT, limit=256, in_work=[1, 2])
    endpoints_with_due(session, at=AT)
    sqlalchemy.event.remove(session.get_bind(), "before_cursor_execute", explain)
    of_deliveries = [plan for plan in plans if " delivery " in plan]
    assert [plan.partition("(")[2] for plan in of_deliveries] == [
        "subscriber=? AND attempts=? AND next_attempt_at<?)",
        "subscriber=? AND next_attempt_at<?)",
        "subscriber=? AND next_attempt_at<?)",
    ]
    assert not any("TEMP B-TREE" in plan for plan in plans)


def test_what_is_in_work_is_not_due(session: Session) -> None:
    for number in (1, 2):
        store(session, number, at=AT + number * MINUTE)
    later = AT + 2 * MINUTE
    first, second = due_deliveries(session, "gallery", at=later, limit=10)
    assert due_deliveries(session, "gallery", at=later, limit=10, in_work=[first.delivery_id]) == [second]
    both = (first.delivery_id, second.delivery_id)
    assert due_deliveries(session, "gallery", at=later, limit=10, in_work=both) == []


def test_to_a_disabled_endpoint_nothing_is_due_until_it_is_enabled(session: Session) -> None:
    store(session, 1, to=["gallery", "backup"])
    disable(session, "gallery", because="it moves house", at=AT)
    assert due_ids(session, "gallery") == []
    assert due_ids(session, "backup") == ["evt_1"]
    enable(session, "gallery", at=AT)
    assert due_ids(session, "gallery") == ["evt_1"]


def test_what_was_delivered_is_never_due_again(session: Session) -> None:
    for number in (1, 2, 3):
        store(session, number, to=["gallery", "backup"])
    taken = [delivery.delivery_id for delivery in due_deliveries(session, "gallery", at=AT, limit=2)]
    mark_delivered(session, taken, at=AT + MINUTE)
    for row in session.scalars(sqlalchemy.select(Delivery).where(Delivery.id.in_(taken))):  # type: ignore[union-attr]  # a column
        assert (row.delivered_at, row.last_attempt_at, row.next_attempt_at) == (AT + MINUTE, AT + MINUTE, None)
        assert (row.attempts, row.last_error) == (1, None)
    assert due_ids(session, at=AT + 9 * MINUTE) == ["evt_3"]
    assert due_ids(session, "backup") == ["evt_1", "evt_2", "evt_3"]
    mark_delivered(session, [], at=AT)
    assert due_ids(session, at=AT + 9 * MINUTE) == ["evt_3"]


def test_what_was_refused_is_due_again_when_it_was_said(session: Session) -> None:
    store(session, 1)
    for attempt in (1, 2):
        at = AT + attempt * MINUTE
        (delivery,) = due_deliveries(session, "gallery", at=at, limit=1)
        assert delivery.attempts == attempt - 1
        mark_refused(session, [Refusal(delivery.delivery_id, at + MINUTE, "503 💥", 503, "busy\0")], at=at)
        assert due_ids(session, at=at) == []
    row = only(session)
    assert (row.attempts, row.last_error, row.last_status, row.last_response) == (2, "503 💥", 503, "busy\\0")
    assert (row.last_attempt_at, row.next_attempt_at) == (AT + 2 * MINUTE, AT + 3 * MINUTE)
    mark_delivered(session, [delivery.delivery_id], at=AT + 3 * MINUTE)
    row = only(session)
    assert (row.attempts, row.last_error, row.last_status, row.last_response) == (3, None, None, None)


def test_it_is_known_to_whom_something_is_due(session: Session) -> None:
    for number, endpoint, minutes in ((1, "gallery", 5), (2, "gallery", 3), (3, "backup", 4)):
        store(session, number, to=[endpoint], at=AT + minutes * MINUTE)
    assert endpoints_with_due(session, at=AT + 2 * MINUTE) == set()
    assert endpoints_with_due(session, at=AT + 3 * MINUTE) == {"gallery"}
    assert endpoints_with_due(session, at=AT + 4 * MINUTE) == {"gallery", "backup"}
    disable(session, "gallery", because="it moves house", at=AT)
    assert endpoints_with_due(session, at=AT + 4 * MINUTE) == {"backup"}
    mark_delivered(
        session, [each.delivery_id for each in due_deliveries(session, "backup", at=AT + DAY, limit=9)], at=AT
    )
    assert endpoints_with_due(session, at=AT + DAY) == set()


def test_moments_of_other_time_zones_are_compared_as_moments(session: Session) -> None:
    store(session, 1, at=AT.astimezone(timezone(timedelta(hours=14))))
    assert due_ids(session, at=AT) == ["evt_1"]
    assert due_ids(session, at=AT - timedelta(microseconds=1)) == []


def test_what_the_future_put_off_is_brought_forward_and_nothing_else(session: Session) -> None:
    tomorrow = AT + timedelta(days=1)
    store(session, 1)
    refuse(session, at=AT, until=AT + 5 * MINUTE)  # by a clock that was right
    store(session, 2, at=tomorrow)  # fanned out, and never tried
    store(session, 3, at=tomorrow, to=["backup"])
    refuse(session, at=tomorrow, until=tomorrow + 5 * MINUTE, endpoint="backup")
    assert bring_forward(session, at=AT + MINUTE) == 2
    assert due_ids(session, "gallery", AT + MINUTE) == ["evt_2"]
    assert due_ids(session, "backup", AT + MINUTE) == ["evt_3"]
    assert due_ids(session, "gallery", AT + 5 * MINUTE) == ["evt_2", "evt_1"]
    assert bring_forward(session, at=AT + MINUTE) == 0


@pytest.mark.parametrize(
    ("text", "stored"),
    [("a\0b", "a\\0b"), ("\udc80", "\\udc80"), ("💾", "💾"), ("x" * 2000, "x" * 1000), ("", "")],
    ids=["nul", "surrogate", "emoji", "long", "empty"],
)
def test_whatever_others_say_can_be_stored(session: Session, text: str, stored: str) -> None:
    store(session, 1)
    (delivery,) = due_deliveries(session, "gallery", at=AT, limit=1)
    mark_refused(session, [Refusal(delivery.delivery_id, AT + MINUTE, text)], at=AT)
    assert only(session).last_error == storable(text) == stored


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(), ["evt_1", "evt_2", "evt_3", "evt_4"]),
        (Selection(ids=["evt_3", "evt_9"]), ["evt_3"]),
        (Selection(since=AT + 2 * MINUTE), ["evt_2", "evt_3", "evt_4"]),
        (Selection(since=AT + 2 * MINUTE, until=AT + 3 * MINUTE), ["evt_2"]),
        (Selection(types=["file.missing"]), ["evt_4"]),
        (Selection(types=["file.missing"], ids=["evt_1"]), []),
    ],
    ids=["all", "ids", "since", "range", "types", "all-of-them"],
)
def test_those_that_are_chosen_are_sent_again_to_whom_it_is_said(
    session: Session, selection: Selection, chosen: list[str]
) -> None:
    for number in (1, 2, 3):
        store(session, number, at=AT + number * MINUTE)
    store_event(
        session,
        FileMissingEvent(event_id="evt_4", occurred_at=AT + 4 * MINUTE, asset_id=1, sha256="aa", path="/a", root=None),
    )
    assert replay(session, selection, "other", only_missing=False, at=AT) == len(chosen)
    assert sorted(due_ids(session, "other")) == chosen


def test_what_was_taken_is_sent_again_as_if_for_the_first_time_unless_only_the_missing_are_wanted(
    session: Session,
) -> None:
    for number in (1, 2, 3):
        store(session, number)
    first, second, _ = due_deliveries(session, "gallery", at=AT, limit=9)
    mark_delivered(session, [first.delivery_id], at=AT)
    mark_refused(session, [Refusal(second.delivery_id, AT + MINUTE, "no")], at=AT)
    assert replay(session, Selection(), "gallery", only_missing=True, at=AT) == 0
    assert due_ids(session) == ["evt_3"]
    assert replay(session, Selection(), "gallery", only_missing=False, at=AT) == 3
    assert [(each.event.event_id, each.attempts) for each in due_deliveries(session, "gallery", at=AT, limit=9)] == [
        ("evt_1", 0),
        ("evt_2", 0),
        ("evt_3", 0),
    ]
