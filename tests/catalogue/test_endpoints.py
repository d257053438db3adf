"""Endpoints: from when on each hears, how it fares, and when it is given up."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from owing import owe
from sqlalchemy import Engine
from sqlmodel import Session, select

from damd.catalogue.deliveries import Refusal, due_deliveries, mark_delivered, mark_refused
from damd.catalogue.endpoints import (
    LONGEST_GAP,
    are_attached,
    attach,
    bring_back,
    disable,
    enable,
    endpoint_states,
    known_endpoints,
    note_delivered,
    note_failed,
)
from damd.catalogue.outbox import last_revision, store_event
from damd.catalogue.tables import Delivery, Endpoint
from damd.events import FileMissingEvent, Subscription

AT = datetime(2024, 2, 29, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


def store(session: Session, count: int, *, to: str = "gallery") -> None:
    for _ in range(count):
        store_event(session, FileMissingEvent(asset_id=1, sha256="aa", path="/a", root=None))
    owe(session, to, at=AT)


def known(session: Session, name: str = "gallery") -> Endpoint:
    session.expire_all()
    return {each.name: each for each in known_endpoints(session)}[name]


def fail(
    session: Session, *, at: datetime, disable_after: timedelta | None = 5 * DAY, waited: timedelta = DAY
) -> str | None:
    return note_failed(session, "gallery", at=at, error="503 \0", disable_after=disable_after, waited=waited)


def test_an_endpoint_hears_from_when_it_was_added(session: Session) -> None:
    store_event(session, FileMissingEvent(asset_id=1, sha256="aa", path="/a", root=None))
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    endpoint = known(session)
    assert (endpoint.kind, endpoint.added_at, endpoint.from_revision) == ("webhook", AT, last_revision(session))
    assert (endpoint.disabled_at, endpoint.removed_at, endpoint.failing_since) == (None, None, None)


def test_what_a_known_endpoint_asks_for_is_for_who_is_sole_to_say(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    store(session, 2)
    fail(session, at=AT)
    asks = Subscription("command", ("file.moved",))
    attach(session, {"gallery": asks}, at=AT + HOUR)
    assert (known(session).kind, known(session).events) == ("webhook", None)
    attach(session, {"gallery": asks}, at=AT + HOUR, sole=True)
    endpoint = known(session)
    assert (endpoint.kind, endpoint.events, endpoint.added_at) == ("command", ["file.moved"], AT)
    assert (endpoint.from_revision, endpoint.failing_since) == (0, AT)


def test_one_that_is_back_has_not_failed_yet(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    for days in range(5):
        assert fail(session, at=AT + days * DAY, disable_after=None) is None
    attach(session, {}, at=AT + 5 * DAY, sole=True)
    attach(session, {"gallery": Subscription("webhook")}, at=AT + 200 * DAY)
    assert fail(session, at=AT + 200 * DAY) is None
    assert known(session).failing_since == AT + 200 * DAY


def test_who_is_sole_removes_the_others_who_hear_anew_when_they_are_back(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook"), "backup": Subscription("command")}, at=AT)
    attach(session, {"backup": Subscription("command")}, at=AT + MINUTE)
    assert known(session).removed_at is None
    attach(session, {"backup": Subscription("command")}, at=AT + MINUTE, sole=True)
    attach(session, {"backup": Subscription("command")}, at=AT + HOUR, sole=True)
    assert known(session).removed_at == AT + MINUTE
    assert known(session, "backup").removed_at is None
    store_event(session, FileMissingEvent(asset_id=1, sha256="aa", path="/a", root=None))
    attach(session, {"gallery": Subscription("webhook"), "backup": Subscription("command")}, at=AT + HOUR, sole=True)
    assert (known(session).removed_at, known(session).from_revision) == (None, last_revision(session))
    assert known(session, "backup").from_revision == 0


def test_it_is_known_beforehand_whether_there_is_anything_to_tell(session: Session) -> None:
    kinds = {"gallery": Subscription("webhook"), "backup": Subscription("command")}
    assert not are_attached(known_endpoints(session), kinds)
    attach(session, kinds, at=AT)
    endpoints = known_endpoints(session)
    assert are_attached(endpoints, kinds)
    assert are_attached(endpoints, {"backup": Subscription("command")})
    assert not are_attached(endpoints, kinds | {"other": Subscription("webhook")})
    attach(session, {"backup": Subscription("command")}, at=AT, sole=True)
    session.expire_all()
    assert not are_attached(known_endpoints(session), kinds)


def test_after_so_long_a_time_of_nothing_but_failures_it_is_disabled(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    for hours in range(0, 120, 12):
        assert fail(session, at=AT + hours * HOUR) is None
    assert known(session).disabled_at is None
    because = fail(session, at=AT + 5 * DAY)
    assert because == "It has done nothing but fail for 5d; the last time: 503 \0"
    endpoint = known(session)
    assert (endpoint.disabled_at, endpoint.failing_since, endpoint.last_failed_at) == (AT + 5 * DAY, AT, AT + 5 * DAY)
    assert endpoint.disabled_because == because.replace("\0", "\\0")
    assert endpoint.last_error == "503 \\0"
    assert fail(session, at=AT + 6 * DAY) is None  # said once


def test_whatever_it_takes_begins_the_time_anew(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    for days in range(4):
        fail(session, at=AT + days * DAY)
    note_delivered(session, "gallery", at=AT + 4 * DAY)
    endpoint = known(session)
    assert (endpoint.last_delivered_at, endpoint.failing_since, endpoint.failing_s) == (AT + 4 * DAY, None, 0.0)
    assert fail(session, at=AT + 9 * DAY) is None
    assert fail(session, at=AT + 10 * DAY) is None
    assert known(session).failing_since == AT + 9 * DAY


@pytest.mark.parametrize("jump", [-3000 * DAY, 3000 * DAY], ids=["back", "ahead"])
def test_a_clock_that_jumps_and_days_of_which_nobody_knows_disable_nobody(session: Session, jump: timedelta) -> None:
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    for at in (AT, AT + HOUR, AT + jump, AT + jump + HOUR, AT):
        assert fail(session, at=at, waited=HOUR) is None
    assert 0 <= known(session).failing_s <= (LONGEST_GAP + 2 * HOUR).total_seconds()


def test_days_on_which_nobody_tried_count_no_more_than_was_planned_to_be_waited(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    for hours in range(97):
        assert fail(session, at=AT + hours * HOUR, waited=5 * MINUTE) is None
    assert fail(session, at=AT + 7 * DAY, waited=10 * HOUR) is None
    assert known(session).failing_s == (106 * HOUR).total_seconds()
    assert fail(session, at=AT + 8 * DAY, waited=5 * MINUTE) is None
    assert known(session).failing_s == (106 * HOUR + LONGEST_GAP).total_seconds()


def test_one_that_may_fail_for_ever_and_one_that_nobody_knows_are_not_disabled(session: Session) -> None:
    assert fail(session, at=AT) is None
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    assert [fail(session, at=AT + days * DAY, disable_after=None) for days in range(30)] == [None] * 30


def test_what_is_disabled_once_is_not_disabled_again(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    assert disable(session, "gallery", because="first", at=AT)
    assert not disable(session, "gallery", because="second", at=AT + HOUR)
    assert not disable(session, "nobody", because="third", at=AT)
    assert (known(session).disabled_because, known(session).disabled_at) == ("first", AT)


def test_who_is_enabled_is_owed_everything_at_once_and_has_all_the_time_again(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    store(session, 2)
    (first, _) = due_deliveries(session, "gallery", at=AT, limit=9)
    mark_refused(session, [Refusal(first.delivery_id, AT + DAY, "no")], at=AT)
    fail(session, at=AT)
    fail(session, at=AT + DAY, disable_after=DAY)
    assert enable(session, "gallery", at=AT + HOUR)
    assert len(due_deliveries(session, "gallery", at=AT + HOUR, limit=9)) == 2
    endpoint = known(session)
    assert (endpoint.disabled_at, endpoint.disabled_because, endpoint.failing_since) == (None, None, None)
    assert fail(session, at=AT + 9 * DAY, disable_after=DAY) is None
    assert not enable(session, "gallery", at=AT)
    assert not enable(session, "nobody", at=AT)


def test_who_is_back_is_owed_at_once_what_failed_while_it_was_away(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook"), "other": Subscription("webhook")}, at=AT)
    store(session, 4)
    store(session, 1, to="other")
    before, while_away, asked_later, _ = due_deliveries(session, "gallery", at=AT, limit=9)
    (others,) = due_deliveries(session, "other", at=AT, limit=9)
    later = AT + DAY
    mark_refused(session, [Refusal(before.delivery_id, later, "no", 422)], at=AT)
    note_delivered(session, "gallery", at=AT)
    away = [
        Refusal(while_away.delivery_id, later, "nobody answers", until_back=True),
        Refusal(asked_later.delivery_id, later, "no", 503),
        Refusal(others.delivery_id, later, "nobody answers", until_back=True),
    ]
    mark_refused(session, away, at=AT + HOUR)
    fail(session, at=AT + HOUR)
    bring_back(session, "gallery", at=AT + 2 * HOUR)
    put_off = session.exec(select(Delivery.id).where(Delivery.next_attempt_at == later))
    assert set(put_off) == {before.delivery_id, asked_later.delivery_id, others.delivery_id}
    (due, _) = sorted(due_deliveries(session, "gallery", at=AT + 2 * HOUR, limit=9))
    assert due.delivery_id == while_away.delivery_id


def test_to_bring_back_one_that_did_not_fail_changes_nothing(session: Session) -> None:
    attach(session, {"gallery": Subscription("webhook")}, at=AT)
    store(session, 1)
    (delivery,) = due_deliveries(session, "gallery", at=AT, limit=9)
    mark_refused(session, [Refusal(delivery.delivery_id, AT + DAY, "no")], at=AT)
    bring_back(session, "gallery", at=AT + HOUR)
    assert due_deliveries(session, "gallery", at=AT + HOUR, limit=9) == []


def test_what_is_owed_is_what_was_not_delivered_parked_or_not(session: Session) -> None:
    def owed() -> dict[str, int]:
        return {each["name"]: each["owed"] for each in endpoint_states(session)}

    attach(session, {"gallery": Subscription("webhook"), "backup": Subscription("command")}, at=AT)
    assert owed() == {"gallery": 0, "backup": 0}
    store(session, 3)
    store(session, 1, to="backup")
    (first, _, _) = due_deliveries(session, "gallery", at=AT, limit=9)
    mark_delivered(session, [first.delivery_id], at=AT)
    disable(session, "backup", because="it moves house", at=AT)
    assert owed() == {"gallery": 2, "backup": 1}
