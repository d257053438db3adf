from collections.abc import Iterator
from datetime import timedelta
from functools import partial

import pytest
from pydantic import ValidationError
from relay.scene import Clock, Spool, WatchedCatalogue, all_delivered, all_refused, many, running
from sqlmodel import Session, func, select
from structlog.testing import capture_logs
from structlog.typing import EventDict

from damd.catalogue.endpoints import disable
from damd.catalogue.tables import StoredEvent
from damd.errors import DeliveryError
from damd.relay.retention import FORGOTTEN_TOGETHER
from damd.relay.settings import KEEP, LONGEST_KEEP, EventSettings

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as logs:
        yield logs


def count_events(session: Session) -> int:
    return session.exec(select(func.count()).select_from(StoredEvent)).one()


def test_events_are_kept_for_thirty_days_unless_told_otherwise_and_an_hour_at_least() -> None:
    assert EventSettings().keep == KEEP == 30 * DAY
    assert EventSettings.model_validate({"keep": "90d"}).keep == 90 * DAY
    for keep in ("59m", "800000d"):
        with pytest.raises(ValidationError):
            EventSettings.model_validate({"keep": keep})


async def test_the_longest_time_that_may_be_asked_for_can_be_counted_back(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    await catalogue.store(*many(1))
    async with running(catalogue, clock=clock, keep=LONGEST_KEEP):
        await catalogue.until_idle()
    assert await catalogue.read(count_events) == 1


async def test_what_was_delivered_is_forgotten_when_it_is_old(
    catalogue: WatchedCatalogue, clock: Clock, logs: list[EventDict]
) -> None:
    await catalogue.attach("spool")
    await catalogue.store(*many(3))
    async with running(catalogue, Spool(), clock=clock, keep=7 * DAY) as relay:
        await catalogue.until(all_delivered(3))
        for days, left in ((6, 3), (2, 0)):
            clock.advance(days * DAY)
            relay.wake()
            await catalogue.until_idle()
            assert await catalogue.read(count_events) == left
    assert not await catalogue.deliveries()
    assert [(entry["log_level"], entry["events"]) for entry in logs if "forgotten" in entry["event"]] == [("info", 3)]


async def test_at_the_start_it_is_done_whatever_the_hour(catalogue: WatchedCatalogue, clock: Clock) -> None:
    events = 2 * FORGOTTEN_TOGETHER + 10
    await catalogue.store(*many(events))
    async with running(catalogue, clock=clock):
        await catalogue.until_idle()
        assert await catalogue.read(count_events) == events
    clock.advance(31 * DAY)
    async with running(catalogue, clock=clock):
        await catalogue.until_idle()
        assert await catalogue.read(count_events) == 0


async def test_it_is_done_once_an_hour(catalogue: WatchedCatalogue, clock: Clock) -> None:
    async with running(catalogue, clock=clock) as relay:
        await catalogue.until_idle()
        asked = catalogue.asked
        for minutes, more in ((30, 0), (31, 1), (30, 0), (31, 1), (-600, 2)):  # with the clock goes what was put off
            clock.advance(timedelta(minutes=minutes))
            relay.wake()
            await catalogue.until_idle()
            asked += more
            assert catalogue.asked == asked


async def test_what_is_still_due_is_never_forgotten(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool = Spool(disable_after=None)
    spool.usual = DeliveryError("no")
    await catalogue.attach("spool")
    await catalogue.store(*many(3))
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until(all_refused(3))
        for _ in range(10):
            clock.advance(40 * DAY)
            relay.wake()
            await catalogue.until_idle()
        spool.usual = None
        clock.advance(DAY)
        relay.wake()
        await catalogue.until(all_delivered(3))


async def test_what_was_parked_is_forgotten_with_a_warning(
    catalogue: WatchedCatalogue, clock: Clock, logs: list[EventDict]
) -> None:
    await catalogue.attach("spool", "other")
    await catalogue.write(partial(disable, name="spool", because="it moves house", at=clock.now))
    await catalogue.store(*many(3))
    async with running(catalogue, Spool(), Spool("other"), clock=clock) as relay:
        await catalogue.until(all_delivered(3))
        clock.advance(31 * DAY)
        relay.wake()
        await catalogue.until_idle()
    assert not await catalogue.deliveries()
    (entry,) = [entry for entry in logs if entry["event"] == "forgotten before it was delivered"]
    assert (entry["log_level"], entry["subscriber"], entry["deliveries"]) == ("warning", "spool", 3)
