"""The outbox: events as they were, and each owed to everybody who wants it or to nobody yet."""

import dataclasses
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial

import anyio
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from owing import owe
from sqlalchemy import Engine, insert, update
from sqlmodel import Session, select

from damd.catalogue.deliveries import Selection, due_deliveries, mark_delivered, replay
from damd.catalogue.endpoints import attach, disable
from damd.catalogue.outbox import (
    ForeignEvent,
    awaits_fan_out,
    fan_out,
    forget_events,
    last_revision,
    restore_event,
    store_event,
)
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Delivery, StoredEvent
from damd.events import FileImportedEvent, Subscription, body_of

pytestmark = pytest.mark.anyio

AT = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def imported(number: int = 1, *, occurred_at: datetime = AT) -> FileImportedEvent:
    return FileImportedEvent(
        event_id=f"evt_{number}",
        occurred_at=occurred_at,
        asset_id=number,
        path="/inbox/a.jpg",
        root=None,
        sha256="aa",
        size_bytes=3,
        mime_type=None,
        family=None,
        duration_s=0.5,
    )


def due_ids(session: Session, subscriber: str, at: datetime = AT, **more: int) -> list[str]:
    limit = more.get("limit", 100)
    return [delivery.event.event_id for delivery in due_deliveries(session, subscriber, at=at, limit=limit)]


def known(session: Session, *names: str) -> None:
    attach(session, dict.fromkeys(names, Subscription("webhook")), at=AT)


@pytest.fixture
def session(engine: Engine) -> Iterable[Session]:
    with Session(engine) as session:
        known(session, "gallery", "backup")
        yield session


TEXT = st.text(max_size=20).filter(lambda text: text.isprintable()) | st.sampled_from(["", "\0", "\ud800", "💾", '"\\'])
MOMENTS = st.datetimes(
    min_value=datetime(1900, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))])
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    event=st.builds(
        FileImportedEvent,
        event_id=st.uuids().map(lambda number: f"evt_{number.hex}"),
        occurred_at=MOMENTS,
        asset_id=st.integers(1, 2**63),
        path=TEXT,
        path_base64=st.none() | TEXT,
        root=st.none() | TEXT,
        sha256=TEXT,
        size_bytes=st.integers(0, 2**63),
        mime_type=st.none() | TEXT,
        family=st.none() | TEXT,
        duration_s=st.floats(0, 1e9),
    )
)
def test_an_event_survives_with_every_field(engine: Engine, event: FileImportedEvent) -> None:
    with Session(engine) as session:
        numbered = store_event(session, event)
        session.expire_all()
        restored = restore_event(session.exec(select(StoredEvent)).one())
    assert restored == numbered == dataclasses.replace(event, revision=numbered.revision)
    assert type(restored) is FileImportedEvent
    assert restored.occurred_at.tzinfo is UTC


def test_fields_that_this_version_does_not_know_are_left_out(session: Session) -> None:
    data = imported().own_data() | {"mood": "cheerful"}
    restored = restore_event(_stored(session, "file.imported", data))
    assert restored == dataclasses.replace(imported(), revision=restored.revision)


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("file.sung", {"version": 1, "song": "la"}),
        ("file.imported", {"version": 2, "asset_id": 1}),
        ("file.imported", {"version": 1, "asset_id": 1}),
    ],
    ids=["other-type", "other-version", "fields-missing"],
)
def test_an_event_that_this_version_does_not_know_is_told_as_it_was_stored(
    session: Session, event_type: str, data: dict[str, object]
) -> None:
    restored = restore_event(_stored(session, event_type, data))
    assert isinstance(restored, ForeignEvent)
    assert (restored.event_type, restored.event_id, restored.occurred_at) == (event_type, "evt_1", AT)
    assert restored.own_data() == data
    assert restored.data() == data | {"revision": restored.revision}


@pytest.mark.parametrize("damaged", ["", "[]", "7", "{", "null"])
def test_an_event_whose_data_is_damaged_still_has_its_id_and_its_type(session: Session, damaged: str) -> None:
    _stored(session, "file.imported", {})
    session.execute(update(StoredEvent).values(data=damaged))
    restored = restore_event(session.exec(select(StoredEvent)).one())
    assert (restored.event_id, restored.event_type, restored.own_data()) == ("evt_1", "file.imported", {})
    body_of(restored)


def _stored(session: Session, event_type: str, data: dict[str, object]) -> StoredEvent:
    values = {"id": "evt_1", "event_type": event_type, "occurred_at": AT, "data": json.dumps(data)}
    session.execute(insert(StoredEvent).values(values))
    return session.exec(select(StoredEvent)).one()


def test_an_event_becomes_a_delivery_for_each_that_asks_for_it(session: Session) -> None:
    asking = {
        "all": Subscription("webhook"),
        "imports": Subscription("webhook", ("file.imported", "file.moved")),
        "moves": Subscription("command", ("file.moved",)),
        "nothing": Subscription("webhook", ()),
    }
    attach(session, asking, at=AT, sole=True)
    store_event(session, imported(1))
    assert awaits_fan_out(session)
    assert fan_out(session, at=AT) == 1
    assert not awaits_fan_out(session)
    for subscriber in ("all", "imports"):
        ((delivery_id, attempts, event, *_),) = due_deliveries(session, subscriber, at=AT, limit=10)
        assert (attempts, event) == (0, dataclasses.replace(imported(1), revision=event.revision))
        assert delivery_id > 0
    assert [due_ids(session, name) for name in ("moves", "nothing", "gallery")] == [[], [], []]


def test_whoever_fans_out_an_endpoint_that_another_process_added_hears_of_it(session: Session) -> None:
    attach(session, {"late": Subscription("webhook", ("file.imported",))}, at=AT)
    store_event(session, imported(1))
    fan_out(session, at=AT)
    assert due_ids(session, "late") == ["evt_1"]


def test_an_event_is_fanned_out_once(session: Session) -> None:
    store_event(session, imported(1))
    assert fan_out(session, at=AT) == 1
    known(session, "late")
    assert fan_out(session, at=AT) == 0
    assert due_ids(session, "late") == []
    assert due_ids(session, "gallery") == ["evt_1"]


def test_what_was_asked_for_again_before_it_was_fanned_out_is_owed_once(session: Session) -> None:
    store_event(session, imported(1))
    assert replay(session, Selection(), "gallery", only_missing=True, at=AT) == 1
    assert fan_out(session, at=AT) == 1
    assert due_ids(session, "gallery") == due_ids(session, "backup") == ["evt_1"]


def test_an_event_that_nobody_wants_awaits_nobody(session: Session) -> None:
    attach(session, {}, at=AT, sole=True)
    store_event(session, imported(1))
    assert fan_out(session, at=AT) == 1
    assert not awaits_fan_out(session)
    assert not due_ids(session, "gallery")


def test_events_are_fanned_out_a_few_at_a_time_the_oldest_first(session: Session) -> None:
    for number in (3, 1, 5, 2, 4):
        store_event(session, imported(number, occurred_at=AT + number * MINUTE))
    assert [fan_out(session, at=AT, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert due_ids(session, "gallery") == ["evt_3", "evt_1", "evt_5", "evt_2", "evt_4"]


async def test_an_event_gets_all_its_deliveries_or_none(catalogue: Catalogue) -> None:
    await catalogue.write(lambda session: known(session, "gallery", "backup"))
    for number in (1, 2):
        await catalogue.write(partial(store_event, event=imported(number)))

    def fail(session: Session) -> None:
        assert fan_out(session, at=AT) == 2
        raise InterruptedError

    with pytest.raises(InterruptedError):
        await catalogue.write(fail)
    assert await catalogue.read(awaits_fan_out)
    assert await catalogue.read(lambda session: session.exec(select(Delivery)).all()) == []
    assert await catalogue.write(lambda session: fan_out(session, at=AT)) == 2
    assert len(await catalogue.read(lambda session: session.exec(select(Delivery)).all())) == 4


async def test_two_that_share_a_catalogue_fan_out_each_event_once(catalogues: tuple[Catalogue, Catalogue]) -> None:
    def store(session: Session) -> None:
        known(session, "gallery", "backup")
        for number in range(200):
            store_event(session, imported(number))

    await catalogues[0].write(store)
    counts: list[int] = []

    async def relay(catalogue: Catalogue) -> None:
        while await catalogue.read(awaits_fan_out):
            counts.append(await catalogue.write(partial(fan_out, at=AT, limit=7)))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for catalogue in catalogues:
                group.start_soon(relay, catalogue)
    assert sum(counts) == 200
    assert len(await catalogues[0].read(lambda session: session.exec(select(Delivery)).all())) == 400


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_who_fans_out_meanwhile_leaves_alone_what_another_has_begun(engine: Engine) -> None:
    with Session(engine) as session:
        known(session, "gallery")
        store_event(session, imported(1))
        session.commit()
    with Session(engine) as first, Session(engine) as second:
        assert fan_out(first, at=AT) == 1
        second.execute(sqlalchemy.text("SET lock_timeout = '3s'"))
        assert fan_out(second, at=AT) == 0
        first.rollback()
        assert fan_out(second, at=AT) == 1
        second.commit()
    with Session(engine) as session:
        assert due_ids(session, "gallery") == ["evt_1"]


def test_an_endpoint_hears_of_what_happens_after_it_was_added(session: Session) -> None:
    store_event(session, imported(1))
    known(session, "late")
    store_event(session, imported(2))
    assert fan_out(session, at=AT) == 2
    assert due_ids(session, "gallery") == ["evt_1", "evt_2"]
    assert due_ids(session, "late") == ["evt_2"]
    assert due_ids(session, "unknown") == []


def test_a_number_is_never_given_twice(session: Session) -> None:
    assert last_revision(session) == 0
    numbers = []
    for number in range(3):
        stored = store_event(session, imported(number))
        assert last_revision(session) == stored.revision
        numbers.append(stored.revision)
        owe(session, at=AT)
        assert forget_events(session, before=AT + MINUTE).events == 1
    assert numbers == sorted(set(numbers))


def test_what_is_old_and_taken_is_forgotten_the_oldest_first(session: Session) -> None:
    for number in (1, 2, 3, 4):
        store_event(session, imported(number, occurred_at=AT - number * MINUTE))
    owe(session, "gallery", at=AT)
    mark_delivered(session, [each.delivery_id for each in due_deliveries(session, "gallery", at=AT, limit=9)], at=AT)
    assert forget_events(session, before=AT - MINUTE, limit=2) == (2, {})
    assert _event_ids(session) == ["evt_1", "evt_2"]
    assert forget_events(session, before=AT - MINUTE, limit=2) == (1, {})
    assert forget_events(session, before=AT - MINUTE, limit=2) == (0, {})
    assert _event_ids(session) == ["evt_1"]
    assert session.scalar(sqlalchemy.select(sqlalchemy.func.count()).select_from(Delivery)) == 1


def test_what_is_due_or_has_no_deliveries_yet_is_not_forgotten(session: Session) -> None:
    store_event(session, imported(1))
    assert forget_events(session, before=AT + MINUTE).events == 0
    fan_out(session, at=AT)
    assert forget_events(session, before=AT + MINUTE).events == 0
    (one,) = due_deliveries(session, "gallery", at=AT, limit=9)
    mark_delivered(session, [one.delivery_id], at=AT)
    assert forget_events(session, before=AT + MINUTE).events == 0


@pytest.mark.parametrize("how", ["disabled", "removed"])
def test_what_is_parked_is_forgotten_with_its_event_and_counted(session: Session, how: str) -> None:
    for number in (1, 2):
        store_event(session, imported(number))
    fan_out(session, at=AT)
    mark_delivered(session, [each.delivery_id for each in due_deliveries(session, "backup", at=AT, limit=9)], at=AT)
    if how == "disabled":
        disable(session, "gallery", because="it moves house", at=AT)
    else:
        attach(session, {"backup": Subscription("webhook")}, at=AT, sole=True)
    assert forget_events(session, before=AT + MINUTE) == (2, {"gallery": 2})
    assert _event_ids(session) == []


def _event_ids(session: Session) -> list[str]:
    return sorted(session.exec(select(StoredEvent.id)))
