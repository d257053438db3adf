"""Events and their deliveries as people ask for them."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy
from owing import owe
from sqlalchemy import Engine
from sqlmodel import Session

from damd.catalogue.announced import (
    LOOK_BACK,
    Question,
    Unseen,
    count_of_replay,
    describe_events,
    find_events,
    newest_events,
    revision_of,
    stored_types,
)
from damd.catalogue.deliveries import Refusal, Selection, due_deliveries, mark_delivered, mark_refused, replay
from damd.catalogue.endpoints import attach, disable
from damd.catalogue.outbox import fan_out, store_event
from damd.catalogue.tables import StoredEvent, table_of
from damd.events import Event, FileMissingEvent, RootHeldEvent, Subscription, body_of

AT = datetime(2026, 5, 4, 10, 11, 12, 345678, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def missing(number: int, **fields: Any) -> FileMissingEvent:
    return FileMissingEvent(
        event_id=f"evt_{number:04x}",
        occurred_at=AT + number * MINUTE,
        path=f"/inbox/{number}.jpg",
        root="inbox",
        asset_id=number,
        sha256="aa",
        **fields,
    )


def held(number: int) -> RootHeldEvent:
    return RootHeldEvent(
        event_id=f"evt_{number:04x}",
        occurred_at=AT + number * MINUTE,
        root="inbox",
        path="/inbox",
        reason="it is not there",
        missing_files=None,
    )


def store(session: Session, *events: Event) -> list[int]:
    stored = [store_event(session, event) for event in events]
    session.commit()
    return [event.revision for event in stored if event.revision is not None]


def announce(session: Session, *endpoints: str) -> None:
    attach(session, dict.fromkeys(endpoints, Subscription("webhook")), at=AT)
    session.commit()


def deliver(session: Session, endpoint: str, *, at: datetime = AT) -> None:
    due = due_deliveries(session, endpoint, at=at, limit=100)
    mark_delivered(session, [each.delivery_id for each in due], at=at)


def states(session: Session, revisions: Sequence[int]) -> list[dict[str, str]]:
    described = describe_events(session, revisions)
    return [{each["endpoint"]: each["state"] for each in event["deliveries"]} for event in described]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


def test_the_newest_are_listed_last_and_as_many_as_are_asked_for(session: Session) -> None:
    revisions = store(session, *map(missing, range(5)))
    assert newest_events(session, Question(), limit=3) == revisions[2:]


def test_events_are_chosen_by_time_and_type(session: Session) -> None:
    first, second, third, fourth = store(session, missing(1), held(2), missing(3), held(4))

    def chosen(**wanted: Any) -> list[int]:
        return newest_events(session, Question(Selection(**wanted)), limit=10)

    assert chosen(since=AT + 2 * MINUTE) == [second, third, fourth], "that moment is meant, too"
    assert chosen(until=AT + 3 * MINUTE) == [first, second], "that moment is not"
    assert chosen(types=["root.held"], since=AT + 3 * MINUTE) == [fourth]
    assert chosen(types=["root.held", "file.missing"]) == [first, second, third, fourth]


def test_an_endpoint_is_asked_for_what_it_has_a_delivery_of_and_what_of_that_it_is_owed(session: Session) -> None:
    before = store(session, missing(1))
    announce(session, "gallery")
    taken, waiting = store(session, missing(2), missing(3))
    fan_out(session, at=AT)
    announce(session, "archive")
    [first, _] = due_deliveries(session, "gallery", at=AT, limit=10)
    mark_delivered(session, [first.delivery_id], at=AT)

    assert newest_events(session, Question(endpoint="gallery"), limit=10) == [taken, waiting]
    assert newest_events(session, Question(endpoint="archive"), limit=10) == []
    for endpoint in ("gallery", None):
        assert newest_events(session, Question(endpoint=endpoint, owed=True), limit=10) == [waiting]
    assert newest_events(session, Question(), limit=10) == [*before, taken, waiting]


def test_an_event_is_described_as_its_receivers_are_told_of_it(session: Session) -> None:
    [revision] = store(session, missing(1))
    [described] = describe_events(session, [revision])
    event = missing(1, revision=revision)
    assert described["event_id"] == event.event_id
    assert described["revision"] == revision
    told = {name: described[name] for name in ("type", "timestamp", "data")}
    assert json.loads(body_of(event)) == told
    assert (described["fanned_out"], described["deliveries"]) == (False, [])


def test_a_delivery_tells_how_far_it_is_and_why_it_waits(session: Session) -> None:
    announce(session, "gallery", "archive", "former", "broken")
    revisions = store(session, missing(1))
    owe(session, "gallery", "archive", "former", "broken", at=AT)
    deliver(session, "gallery", at=AT + MINUTE)
    [refused] = due_deliveries(session, "archive", at=AT, limit=1)
    refusal = Refusal(refused.delivery_id, AT + 5 * MINUTE, "The receiver answered 503", 503, "come back\nlater")
    mark_refused(session, [refusal], at=AT)
    disable(session, "broken", because="It has done nothing but fail", at=AT)
    attach(session, dict.fromkeys(("gallery", "archive", "broken"), Subscription("webhook")), at=AT, sole=True)

    [event] = describe_events(session, revisions)
    assert event["fanned_out"]
    archive, broken, former, gallery = event["deliveries"]
    assert gallery["state"] == "delivered"
    assert gallery["delivered_at"] == (AT + MINUTE).isoformat()
    assert archive == {
        "endpoint": "archive",
        "state": "owed",
        "parked_because": None,
        "attempts": 1,
        "delivered_at": None,
        "next_attempt_at": (AT + 5 * MINUTE).isoformat(),
        "last_attempt_at": AT.isoformat(),
        "last_error": "The receiver answered 503",
        "last_status": 503,
        "last_response": "come back\nlater",
    }
    assert (broken["state"], broken["parked_because"]) == ("parked", "disabled")
    assert (former["state"], former["parked_because"]) == ("parked", "removed")


def test_what_was_forgotten_meanwhile_is_left_out_and_types_may_be_chosen(session: Session) -> None:
    first, second = store(session, missing(1), held(2))
    assert [each["revision"] for each in describe_events(session, [first, second, 4711])] == [first, second]
    assert [each["revision"] for each in describe_events(session, [first, second], types=["root.held"])] == [second]


def test_an_event_of_another_program_is_described_as_it_was_stored(session: Session) -> None:
    row = {"id": "evt_p", "event_type": "plugin.sold", "occurred_at": AT, "data": '{"version": 3, "price": 7}'}
    session.execute(sqlalchemy.insert(table_of(StoredEvent)).values(**row))
    [revision] = newest_events(session, Question(Selection(types=["plugin.sold"])), limit=1)
    [described] = describe_events(session, [revision])
    assert described["type"] == "plugin.sold"
    assert described["data"] == {"version": 3, "revision": revision, "price": 7}
    assert stored_types(session, Selection()) == ["plugin.sold"]
    assert stored_types(session, Selection(since=AT + MINUTE)) == []


def test_an_id_is_found_by_its_beginning(session: Session) -> None:
    store(session, missing(0x10), missing(0x1F), missing(0x20))
    found = find_events(session, ["evt_0010", "evt_002", "evt_001", "evt_9", "evt%", "_vt_0010"])
    assert found.pop("evt_001") == ["evt_0010", "evt_001f"]
    assert found == {"evt_0010": ["evt_0010"], "evt_002": ["evt_0020"], "evt_9": [], "evt%": [], "_vt_0010": []}


def test_a_whole_id_is_meant_even_where_others_begin_with_it(session: Session) -> None:
    row = {"event_type": "plugin.sold", "occurred_at": AT, "data": "{}"}
    for event_id in ("sold", "sold_too"):
        session.execute(sqlalchemy.insert(table_of(StoredEvent)).values(id=event_id, **row))
    assert find_events(session, ["sold"]) == {"sold": ["sold"]}
    assert revision_of(session, "sold") is not None
    assert revision_of(session, "sol") is None


def test_the_first_look_finds_nothing_new_and_each_later_one_what_committed_since(session: Session) -> None:
    store(session, missing(1))
    unseen = Unseen()
    assert unseen.look(session) == []
    assert unseen.look(session) == []
    fresh = store(session, missing(2), missing(3))
    assert unseen.look(session) == fresh
    assert unseen.look(session) == []


def test_what_commits_late_is_told_although_its_number_is_lower(session: Session) -> None:
    unseen = Unseen()
    unseen.look(session)
    rows = [
        {"revision": revision, "id": f"evt_{revision}", "event_type": "t", "occurred_at": AT, "data": "{}"}
        for revision in (LOOK_BACK + 10, 11, 12)
    ]
    for row, told in zip(rows, ([LOOK_BACK + 10], [11], [12]), strict=True):
        session.execute(sqlalchemy.insert(table_of(StoredEvent)).values(**row))
        assert unseen.look(session) == told
    assert unseen.look(session) == []


def test_what_was_seen_otherwise_is_not_told_again(session: Session) -> None:
    unseen = Unseen()
    unseen.look(session)
    first, second = store(session, missing(1), missing(2))
    unseen.have_seen([first])
    assert unseen.look(session) == [second]


def test_it_is_counted_beforehand_what_a_replay_will_send(session: Session) -> None:
    store(session, missing(1))
    announce(session, "gallery")
    store(session, missing(2), held(3), missing(4))
    fan_out(session, at=AT)
    deliver(session, "gallery")
    for selection, only_missing, count in (
        (Selection(types=["file.missing"], since=AT + 2 * MINUTE), False, 2),
        (Selection(), True, 1),
        (Selection(), True, 0),
        (Selection(), False, 4),
    ):
        assert count_of_replay(session, selection, "gallery", only_missing=only_missing) == count
        assert replay(session, selection, "gallery", only_missing=only_missing, at=AT) == count


def test_a_replay_of_two_thousand_events_makes_them_due_at_once(session: Session) -> None:
    store(session, *map(missing, range(2000)))
    announce(session, "gallery")
    assert replay(session, Selection(since=AT), "gallery", only_missing=True, at=AT) == 2000
    assert len(due_deliveries(session, "gallery", at=AT, limit=6000)) == 2000
    assert states(session, newest_events(session, Question(), limit=2)) == [{"gallery": "owed"}] * 2


def test_what_was_replayed_before_its_deliveries_were_made_has_one_of_them(session: Session) -> None:
    announce(session, "gallery", "archive")
    revisions = store(session, missing(1))
    assert replay(session, Selection(since=AT), "gallery", only_missing=False, at=AT) == 1
    assert fan_out(session, at=AT) == 1
    assert states(session, revisions) == [{"gallery": "owed", "archive": "owed"}]
