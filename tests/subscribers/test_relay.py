import random
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy import Engine, event
from sqlmodel import Session, select
from structlog.testing import capture_logs
from subscribers.receiver import SECRET, Gate, Receiver, closed_port, imported, status, webhook_settings

from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.outbox import store_event
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Delivery, StoredEvent
from damd.errors import DeliveryError
from damd.events import EVENTS, Event, FileImportedEvent
from damd.settings import Settings
from damd.subscribers.base import DEFAULT_RETRY, Subscriber
from damd.subscribers.log import LogSettings, LogSubscriber
from damd.subscribers.relay import JITTER, Relay, listen, next_wait
from damd.subscribers.webhook import WebhookSubscriber
from damd.world import World

pytestmark = pytest.mark.anyio

Result = TypeVar("Result")


class WatchedCatalogue(Catalogue):
    """A catalogue that can be waited for."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._touched = anyio.Event()
        self.asked = 0

    async def write(self, change: Callable[[Session], Result]) -> Result:
        self.asked += 1
        self._touch()
        try:
            return await super().write(change)
        finally:
            self._touch()

    def _touch(self) -> None:
        self._touched.set()
        self._touched = anyio.Event()

    async def until(self, is_so: Callable[[Sequence[Delivery]], bool]) -> None:
        """Wait for a state of the deliveries."""
        with anyio.fail_after(20):
            while True:
                touched = self._touched
                if is_so(await self.deliveries()):
                    return
                await touched.wait()

    async def until_asked(self, times: int) -> None:
        """Wait until so many writes were asked for, whether or not they are done."""
        with anyio.fail_after(20):
            while self.asked < times:
                await self._touched.wait()

    async def deliveries(self) -> Sequence[Delivery]:
        return await self.read(lambda session: session.exec(select(Delivery).order_by("id")).all())

    async def store(self, *events: Event) -> None:
        def change(session: Session) -> None:
            for each in events:
                store_event(session, each)

        await super().write(change)


class Clock:
    """The present moment, which goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


class SpoolSettings(Settings):
    pass


class Spool:
    """A durable subscriber of another kind, without a schedule of its own."""

    kind: ClassVar[str] = "spool"
    settings_type: ClassVar[type[Settings]] = SpoolSettings
    durable: ClassVar[bool] = True

    def __init__(self, name: str = "spool", errors: Sequence[Exception] = ()) -> None:
        self._name = name
        self._errors = list(errors)
        self.taken: list[Event] = []

    @property
    def name(self) -> str:
        return self._name

    def wants(self, event_type: str) -> bool:
        return True

    async def receive(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        if self._errors:
            raise self._errors.pop(0)
        self.taken.append(event)


@pytest.fixture
def engine(tmp_path: Path, migrated: Path) -> Iterator[Engine]:
    shutil.copytree(migrated, tmp_path, dirs_exist_ok=True)
    engine = make_engine(CatalogueSettings(), tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def catalogue(engine: Engine) -> WatchedCatalogue:
    return WatchedCatalogue(engine)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@asynccontextmanager
async def running(catalogue: Catalogue, *subscribers: Subscriber, **options: Any) -> AsyncIterator[Relay]:
    """A relay at work, which polls so seldom that a test has to wake it unless it says otherwise."""
    relay = Relay(catalogue, subscribers, **{"poll_interval": timedelta(hours=1)} | options)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(relay.run)
        yield relay
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def posting(
    catalogue: Catalogue, folder: Path, url: str, *, clock: Clock, **settings: Any
) -> AsyncIterator[Relay]:
    """A relay with one webhook; each of its attempts is one second after the one before."""
    ticks = Clock()

    def next_second() -> datetime:
        ticks.advance(timedelta(seconds=1))
        return ticks.now

    async with (
        WebhookSubscriber(webhook_settings(folder, url, **settings), clock=next_second) as webhook,
        running(catalogue, webhook, clock=clock) as relay,
    ):
        yield relay


def all_delivered(count: int) -> Callable[[Sequence[Delivery]], bool]:
    return lambda deliveries: sum(each.delivered_at is not None for each in deliveries) == count


def all_refused(count: int, attempts: int = 1) -> Callable[[Sequence[Delivery]], bool]:
    return lambda deliveries: sum(each.attempts >= attempts for each in deliveries) == count


async def test_events_from_before_the_relay_and_from_after_arrive(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    events = [imported(number) for number in range(10)]
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
    async with running(catalogue, spool, clock=clock, poll_interval=timedelta(milliseconds=5)):
        elsewhere = WatchedCatalogue(engine)
        await elsewhere.store(imported())
        await catalogue.until(all_delivered(1))
    assert len(spool.taken) == 1


async def test_an_event_of_this_world_wakes_the_relay(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool, event = Spool(), imported()
    async with running(catalogue, spool, clock=clock) as relay, World() as world:
        relay.listen(world)
        await catalogue.store(event)
        await world.dispatch_event(event)
        await catalogue.until(all_delivered(1))
    assert spool.taken == [event]


async def test_a_backlog_of_more_than_is_claimed_together_arrives(catalogue: WatchedCatalogue, clock: Clock) -> None:
    events = [imported(number) for number in range(520)]
    await catalogue.store(*events)
    spools = [Spool("one"), Spool("two")]
    async with running(catalogue, *spools, clock=clock):
        await catalogue.until(all_delivered(1040))
    for spool in spools:
        assert Counter(each.event_id for each in spool.taken) == Counter(each.event_id for each in events)


async def test_only_the_types_that_a_subscriber_wants_become_deliveries(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVENTS, "file.other", FileImportedEvent)
    await catalogue.store(imported())
    other = webhook_settings(tmp_path, receiver.url, name="other", events=["file.other"])
    async with WebhookSubscriber(other) as webhook, running(catalogue, webhook, Spool(), clock=clock):
        await catalogue.until(all_delivered(1))
    assert [each.subscriber for each in await catalogue.deliveries()] == ["spool"]
    assert not receiver.received


async def test_a_receiver_that_was_down_gets_everything_once_it_is_up(
    catalogue: WatchedCatalogue, clock: Clock, tmp_path: Path
) -> None:
    events = [imported(number) for number in range(20)]
    with closed_port() as port:
        await catalogue.store(*events[:10])
        async with posting(catalogue, tmp_path, f"http://127.0.0.1:{port}/", clock=clock) as relay:
            await catalogue.until(all_refused(10))
            await catalogue.store(*events[10:])
            relay.wake()
            await catalogue.until(all_refused(20))
            assert {each.last_error for each in await catalogue.deliveries()} == {
                "The receiver cannot be reached: Connection refused"
            }
            with Receiver(port=port) as receiver:
                clock.advance(timedelta(seconds=6))
                relay.wake()
                await catalogue.until(all_delivered(20))
    assert {each.message_id for each in receiver.received} == {each.event_id for each in events}
    assert {each.last_error for each in await catalogue.deliveries()} == {None}


async def test_every_attempt_has_the_same_id_and_a_new_timestamp(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    event = imported()
    receiver.answers = [status(500), status(302, location="/"), status(400)]
    await catalogue.store(event)
    async with posting(catalogue, tmp_path, receiver.url, clock=clock) as relay:
        for attempts in (1, 2, 3):
            await catalogue.until(all_refused(1, attempts))
            clock.advance(timedelta(days=1))
            relay.wake()
        await catalogue.until(all_delivered(1))
    assert [each.message_id for each in receiver.received] == [event.event_id] * 4
    assert len({each.timestamp for each in receiver.received}) == 4
    assert len({each.body for each in receiver.received}) == 1
    (delivery,) = await catalogue.deliveries()
    assert delivery.attempts == 4


async def test_nothing_is_sent_again_before_its_time(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    receiver.answers = [status(503)]
    await catalogue.store(imported(1))
    async with posting(catalogue, tmp_path, receiver.url, clock=clock) as relay:
        await catalogue.until(all_refused(1))
        clock.advance(timedelta(seconds=3))
        await catalogue.store(imported(2))
        relay.wake()
        await catalogue.until(all_delivered(1))
        assert len(receiver.received) == 2
        clock.advance(timedelta(seconds=4))
        relay.wake()
        await catalogue.until(all_delivered(2))


@pytest.mark.parametrize(("asked_s", "wait_s"), [(3600, 3600), (1, 5)])
async def test_a_receivers_wish_to_wait_makes_the_wait_longer_never_shorter(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path, asked_s: int, wait_s: int
) -> None:
    receiver.usual = status(429, retry_after=str(asked_s))
    await catalogue.store(imported())
    async with posting(catalogue, tmp_path, receiver.url, clock=clock):
        await catalogue.until(all_refused(1))
    (delivery,) = await catalogue.deliveries()
    assert delivery.next_attempt_at is not None
    assert (delivery.next_attempt_at - clock.now).total_seconds() == pytest.approx(wait_s, rel=JITTER)


async def test_one_dead_endpoint_of_ten_delays_nobody(
    catalogue: WatchedCatalogue, clock: Clock, tmp_path: Path
) -> None:
    await catalogue.store(*[imported(number) for number in range(30)])
    async with AsyncExitStack() as stack:
        receivers = [stack.enter_context(Receiver()) for _ in range(10)]
        receivers[0].usual = Gate(receivers[0], status(200))
        webhooks = [
            await stack.enter_async_context(
                WebhookSubscriber(webhook_settings(tmp_path, receiver.url, name=f"hook-{number}", timeout="1h"))
            )
            for number, receiver in enumerate(receivers)
        ]
        await stack.enter_async_context(running(catalogue, *webhooks, clock=clock))
        await catalogue.until(all_delivered(270))
        assert all(each.subscriber != "hook-0" for each in await catalogue.deliveries() if each.delivered_at)
        assert len(await receivers[0].has_received(8)) == 8  # as many as may be under way together


async def test_what_was_sent_but_not_marked_is_sent_again_with_the_same_id(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    event, gate = imported(), Gate(receiver, status(200))
    receiver.answers = [gate]
    await catalogue.store(event)
    async with posting(catalogue, tmp_path, receiver.url, clock=clock):
        await receiver.has_received(1)
    (delivery,) = await catalogue.deliveries()
    assert delivery.attempts == 0
    async with posting(catalogue, tmp_path, receiver.url, clock=clock):
        await catalogue.until(all_delivered(1))
    assert [each.message_id for each in receiver.received] == [event.event_id] * 2


async def test_what_was_taken_is_marked_although_the_relay_is_cancelled(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    gate, is_held, let_go = Gate(receiver, status(200)), threading.Event(), threading.Event()
    receiver.answers = [gate]
    await catalogue.store(imported())

    def hold(session: Session) -> None:
        is_held.set()
        assert let_go.wait(20)

    async def let_go_when_the_relay_has_heard() -> None:
        await anyio.wait_all_tasks_blocked()
        let_go.set()

    async with (
        WebhookSubscriber(webhook_settings(tmp_path, receiver.url)) as webhook,
        anyio.create_task_group() as outside,
        anyio.create_task_group() as relay_tasks,
    ):
        relay_tasks.start_soon(Relay(catalogue, [webhook], clock=clock).run)
        await receiver.has_received(1)
        outside.start_soon(catalogue.write, hold)
        await anyio.to_thread.run_sync(is_held.wait)
        asked = catalogue.asked
        gate.open()
        await catalogue.until_asked(asked + 1)
        relay_tasks.cancel_scope.cancel()
        outside.start_soon(let_go_when_the_relay_has_heard)
    (delivery,) = await catalogue.deliveries()
    assert delivery.delivered_at is not None


async def test_an_event_that_this_version_does_not_know_is_sent_as_it_was_stored(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "evt_a", "event_type": "file.dreamt", "data": '{"version": 1, "of": ["sheep"]}'},
        {"id": "evt_b", "event_type": "file.imported", "data": '{"version": 99, "paths": ["/a"]}'},
        {"id": "evt_c", "event_type": "file.imported", "data": '{"version": 1, "asset_id": 1}'},
    ]
    await catalogue.write(lambda session: session.add_all([StoredEvent(**row, occurred_at=clock.now) for row in rows]))
    await catalogue.store(imported())
    async with posting(catalogue, tmp_path, receiver.url, clock=clock, events=[]):
        await catalogue.until(all_delivered(4))
    payloads = {each.message_id: each.payload for each in receiver.received}
    assert payloads["evt_a"]["type"] == "file.dreamt"
    assert payloads["evt_a"]["data"] == {"version": 1, "of": ["sheep"]}
    assert payloads["evt_b"]["data"] == {"version": 99, "paths": ["/a"]}
    assert payloads["evt_c"]["data"] == {"version": 1, "asset_id": 1}


async def test_whatever_a_subscriber_raises_is_a_refusal(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool = Spool(errors=[OSError("odd \0 \udc80"), DeliveryError("no", retry_after_s=float("inf"))])
    await catalogue.store(imported())
    async with running(catalogue, spool, clock=clock) as relay:
        with capture_logs() as logs:
            await catalogue.until(all_refused(1, 1))
            (delivery,) = await catalogue.deliveries()
            assert delivery.last_error == "OSError: odd \\0 \\udc80"
            assert delivery.next_attempt_at is not None
            assert (delivery.next_attempt_at - clock.now) / DEFAULT_RETRY[0] == pytest.approx(1, abs=JITTER)
            clock.advance(timedelta(days=1))
            relay.wake()
            await catalogue.until(all_refused(1, 2))
            clock.advance(timedelta(days=366))
            relay.wake()
            await catalogue.until(all_delivered(1))
    assert [entry["event"] for entry in logs if entry["log_level"] in {"warning", "error"}] == [
        "subscriber failed",
        "delivery refused",
        "delivery refused",
    ]


async def test_a_catalogue_that_takes_nothing_for_a_while_only_delays(
    engine: Engine, catalogue: WatchedCatalogue, clock: Clock, tmp_path: Path
) -> None:
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 1"))
    engine.dispose()
    spool = Spool()
    await catalogue.store(imported())
    with (
        capture_logs() as logs,
        closing(sqlite3.connect(tmp_path / "catalogue.sqlite3", isolation_level=None)) as other,
    ):
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
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 1"))
    engine.dispose()
    gate = Gate(receiver, status(200))
    receiver.answers = [gate]
    await catalogue.store(imported())
    options: dict[str, Any] = {"clock": clock, "poll_interval": timedelta(milliseconds=5)}
    with closing(sqlite3.connect(tmp_path / "catalogue.sqlite3", isolation_level=None)) as other:
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


async def test_without_durable_subscribers_events_wait_for_nobody(catalogue: WatchedCatalogue, clock: Clock) -> None:
    await catalogue.store(imported())
    async with running(catalogue, LogSubscriber(LogSettings()), clock=clock):
        await catalogue.until_asked(1)
    assert not await catalogue.deliveries()


async def test_the_log_tells_of_deliveries_and_refusals_and_never_the_secret(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    event = imported()
    receiver.answers = [status(500)]
    await catalogue.store(event)
    with capture_logs() as logs:
        async with posting(catalogue, tmp_path, receiver.url, clock=clock) as relay:
            await catalogue.until(all_refused(1))
            clock.advance(timedelta(seconds=10))
            relay.wake()
            await catalogue.until(all_delivered(1))
            await anyio.wait_all_tasks_blocked()
    refused, delivered = logs
    assert refused["event"] == "delivery refused"
    assert refused["log_level"] == "warning"
    assert refused["error"] == "The receiver answered 500 Internal Server Error"
    assert refused["attempts"] == 1
    assert delivered["event"] == "delivery taken"
    assert delivered["log_level"] == "debug"
    assert delivered["attempts"] == 2
    assert {(each["subscriber"], each["event_id"]) for each in logs} == {("gallery", event.event_id)}
    assert SECRET.removeprefix("whsec_") not in repr(logs)


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - jitter is no secret


def test_waits_follow_the_schedule_with_jitter_and_the_last_one_repeats() -> None:
    rng = seeded(7)
    for attempts, planned in enumerate([*DEFAULT_RETRY, DEFAULT_RETRY[-1], DEFAULT_RETRY[-1]]):
        factors = [next_wait(DEFAULT_RETRY, attempts, retry_after_s=None, rng=rng) / planned for _ in range(1000)]
        assert 1 - JITTER <= min(factors) < 1 - 0.9 * JITTER
        assert 1 + JITTER >= max(factors) > 1 + 0.9 * JITTER


def test_the_same_seed_gives_the_same_waits() -> None:
    waits = [
        [next_wait(DEFAULT_RETRY, 0, retry_after_s=None, rng=rng) for _ in range(5)]
        for rng in (seeded(1), seeded(1), seeded(2))
    ]
    assert waits[0] == waits[1] != waits[2]


@pytest.mark.parametrize("retry_after_s", [None, 0.0, -5.0, 1e300, float("inf"), float("nan")])
def test_no_wait_is_too_long_to_be_a_date(retry_after_s: float | None) -> None:
    wait = next_wait([timedelta.max], 3, retry_after_s=retry_after_s, rng=seeded(1))
    assert timedelta(days=200) < wait < timedelta(days=500)


async def test_volatile_subscribers_are_told_once_and_durable_ones_are_left_to_the_relay() -> None:
    class Volatile(Spool):
        durable: ClassVar[bool] = False

    class Picky(Volatile):
        def wants(self, event_type: str) -> bool:
            return False

    told, failing, picky, durable = Volatile(), Volatile(errors=[OSError("full")]), Picky(), Spool()
    event = imported()
    with capture_logs() as logs:
        async with World() as world:
            listen(world, [failing, told, picky, durable])
            await world.dispatch_event(event)
    assert told.taken == [event]
    assert not failing.taken
    assert not picky.taken
    assert not durable.taken
    assert [entry["event"] for entry in logs] == ["event handler failed"]
