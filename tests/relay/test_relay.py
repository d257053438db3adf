import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from relay.scene import Clock, Spool, WatchedCatalogue, all_delivered, many, posting, running
from sqlalchemy import Engine, event
from structlog.testing import capture_logs
from subscribers.receiver import Gate, Receiver, imported, status, webhook_settings

from damd.catalogue.tables import StoredEvent
from damd.events import Event
from damd.subscribers.log import LogSettings, LogSubscriber
from damd.subscribers.webhook import WebhookSubscriber
from damd.world import World

pytestmark = pytest.mark.anyio


async def test_events_from_before_the_relay_and_from_after_arrive(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    events = many(10)
    await catalogue.attach("gallery")
    await catalogue.store(*events[:5])
    async with posting(catalogue, tmp_path, receiver.url, clock=clock) as relay:
        await receiver.has_received(5)
        for each in events[5:]:
            await catalogue.store(each)
            relay.wake()
        await receiver.has_received(10)
        await catalogue.until(all_delivered(10))
    assert Counter(each.message_id for each in receiver.received) == Counter(each.event_id for each in events)
    assert {each.attempts for each in await catalogue.deliveries()} == {1}


async def test_what_other_processes_commit_is_found_by_polling(
    engine: Engine, catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool()
    await catalogue.attach("spool")
    async with running(catalogue, spool, clock=clock, poll_interval=timedelta(milliseconds=5)):
        elsewhere = WatchedCatalogue(engine)
        for number in range(3):
            await elsewhere.store(imported(number))
            await catalogue.until(all_delivered(number + 1))
    assert len(spool.taken) == 3


async def test_an_event_of_this_world_wakes_the_relay(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool, event = Spool(), imported()
    await catalogue.attach("spool")
    async with running(catalogue, spool, clock=clock) as relay, World() as world:
        relay.listen(world)
        await catalogue.until_idle()
        await catalogue.store(event)
        await world.dispatch_event(event)
        await catalogue.until(all_delivered(1))
    assert spool.taken_ids == {event.event_id: 1}


async def test_what_is_committed_within_the_interval_is_fetched_together(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool()
    await catalogue.attach("spool")
    async with running(catalogue, spool, clock=clock, min_interval=timedelta(hours=1)) as relay:
        await catalogue.until_idle()
        looked = catalogue.looked
        for number in range(20):
            await catalogue.store(imported(number))
            relay.wake()
        await catalogue.until_idle()
        assert catalogue.looked == looked
    async with running(catalogue, spool, clock=clock):
        await catalogue.until(all_delivered(20))


async def test_a_backlog_of_more_than_is_claimed_together_arrives(catalogue: WatchedCatalogue, clock: Clock) -> None:
    events = many(600)
    spools = [Spool("one"), Spool("two")]
    await catalogue.attach("one", "two")
    await catalogue.store(*events)
    async with running(catalogue, *spools, clock=clock):
        await catalogue.until_delivered(1200)
    for spool in spools:
        assert spool.taken_ids == Counter(each.event_id for each in events)


async def test_only_the_types_that_a_subscriber_wants_become_deliveries(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    await catalogue.attach("spool", "other")
    await catalogue.store(imported())
    other = webhook_settings(tmp_path, receiver.url, name="other", events=["file.moved"])
    async with WebhookSubscriber(other) as webhook, running(catalogue, webhook, Spool(), clock=clock):
        await catalogue.until(all_delivered(1))
    assert [each.subscriber for each in await catalogue.deliveries()] == ["spool"]
    assert not receiver.received


async def test_one_dead_endpoint_of_ten_delays_nobody(
    catalogue: WatchedCatalogue, clock: Clock, tmp_path: Path
) -> None:
    names = [f"hook-{number}" for number in range(10)]
    await catalogue.attach(*names)
    await catalogue.store(*many(30))
    async with AsyncExitStack() as stack:
        receivers = [stack.enter_context(Receiver()) for _ in names]
        receivers[0].usual = Gate(receivers[0], status(200))
        webhooks = [
            await stack.enter_async_context(
                WebhookSubscriber(webhook_settings(tmp_path, receiver.url, name=name, timeout="1h"))
            )
            for name, receiver in zip(names, receivers, strict=True)
        ]
        await stack.enter_async_context(running(catalogue, *webhooks, clock=clock))
        await catalogue.until_delivered(270)
        assert all(each.subscriber != "hook-0" for each in await catalogue.deliveries() if each.delivered_at)
        assert len(await receivers[0].has_received(8)) == 8  # as many as may be under way together


class Sleeper(Spool):
    """Never returns."""

    async def receive(self, event: Event) -> None:
        self.offered.append(event)
        await anyio.sleep_forever()


async def test_one_subscriber_that_never_returns_delays_no_other_and_no_later_event(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spools = [Spool(f"spool-{number}") for number in range(9)]
    sleeper = Sleeper("sleeper", concurrency=3)
    await catalogue.attach("sleeper", *[spool.name for spool in spools])
    await catalogue.store(*many(100))
    async with running(catalogue, sleeper, *spools, clock=clock) as relay:
        await catalogue.until_delivered(900)
        await catalogue.store(*many(5, first=1000))
        relay.wake()
        await catalogue.until_delivered(945)
        assert {len(spool.taken) for spool in spools} == {105}
        assert len(sleeper.offered) == 3


async def test_an_event_that_this_version_does_not_know_is_sent_as_it_was_stored(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "evt_a", "event_type": "file.dreamt", "data": '{"version": 1, "of": ["sheep"]}'},
        {"id": "evt_b", "event_type": "file.imported", "data": '{"version": 99, "paths": ["/a"]}'},
        {"id": "evt_c", "event_type": "file.imported", "data": '{"version": 1, "asset_id": 1}'},
    ]
    await catalogue.attach("gallery")
    await catalogue.write(lambda session: session.add_all([StoredEvent(**row, occurred_at=clock.now) for row in rows]))
    await catalogue.store(imported())
    async with posting(catalogue, tmp_path, receiver.url, clock=clock, events=[]):
        await catalogue.until(all_delivered(4))
    payloads = {each.message_id: each.payload for each in receiver.received}
    told: dict[str, dict[str, Any]] = {"evt_a": {"of": ["sheep"]}, "evt_b": {"paths": ["/a"]}, "evt_c": {"asset_id": 1}}
    assert payloads["evt_a"]["type"] == "file.dreamt"
    assert payloads["evt_b"]["data"]["version"] == 99
    for event_id, own in told.items():
        assert own.items() <= payloads[event_id]["data"].items()


async def test_without_durable_subscribers_events_wait_for_nobody(catalogue: WatchedCatalogue, clock: Clock) -> None:
    await catalogue.store(imported())
    async with running(catalogue, LogSubscriber(LogSettings()), clock=clock):
        await catalogue.until_idle()
    assert not await catalogue.deliveries()


@contextmanager
def occupied(engine: Engine, folder: Path) -> Iterator[sqlite3.Connection]:
    """Another process's connection to the database, for which nobody waits."""
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 1"))
    engine.dispose()
    with closing(sqlite3.connect(folder / "catalogue.sqlite3", isolation_level=None)) as other:
        yield other


async def test_a_catalogue_that_takes_nothing_for_a_while_only_delays(
    engine: Engine, catalogue: WatchedCatalogue, clock: Clock, tmp_path: Path
) -> None:
    spool = Spool()
    await catalogue.attach("spool")
    await catalogue.store(imported())
    with capture_logs() as logs, occupied(engine, tmp_path) as other:
        other.execute("BEGIN IMMEDIATE")
        async with running(catalogue, spool, clock=clock, poll_interval=timedelta(milliseconds=5)):
            await catalogue.until_asked(5)
            assert not await catalogue.deliveries()
            other.execute("ROLLBACK")
            await catalogue.until(all_delivered(1))
    assert [entry["event"] for entry in logs if entry["log_level"] != "debug"] == [
        "deliveries wait for the catalogue",
        "deliveries go on",
    ]


async def test_what_was_taken_while_nothing_could_be_marked_is_not_sent_again(
    engine: Engine, catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    gate = Gate(receiver, status(200))
    receiver.answers = [gate]
    await catalogue.attach("gallery")
    await catalogue.store(imported())
    options: dict[str, Any] = {"clock": clock, "poll_interval": timedelta(milliseconds=5)}
    with occupied(engine, tmp_path) as other:
        async with (
            WebhookSubscriber(webhook_settings(tmp_path, receiver.url)) as webhook,
            running(catalogue, webhook, **options),
        ):
            await receiver.has_received(1)
            other.execute("BEGIN IMMEDIATE")
            gate.open()
            await catalogue.until_asked(catalogue.asked + 5)
            other.execute("ROLLBACK")
            await catalogue.until(all_delivered(1))
    assert len(receiver.received) == 1
