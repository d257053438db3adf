"""Events that a receiver cannot take, among others that it can."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from relay.scene import Clock, Spool, WatchedCatalogue, down, many, running
from subscribers.receiver import imported

from damd.errors import DeliveryError
from damd.events import Event, FileImportedEvent
from damd.relay.waits import JITTER
from damd.subscribers.base import DEFAULT_RETRY

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
FAULTS = {
    "400": DeliveryError("no", status_code=400),
    "500": DeliveryError("broken", status_code=500),
    "timeout": down("did not answer within 20s"),
}


class Poisoned(Spool):
    """Takes all but the first `count` events."""

    def __init__(self, clock: Clock, error: Exception, count: int = 1) -> None:
        super().__init__()
        self._clock = clock
        self._error = error
        self._count = count
        self.attempts: dict[int, list[datetime]] = {}
        self.taken_at: dict[int, datetime] = {}

    async def receive(self, event: Event) -> None:
        assert isinstance(event, FileImportedEvent)
        if event.asset_id <= self._count:
            self.attempts.setdefault(event.asset_id, []).append(self._clock.now)
            raise self._error
        await super().receive(event)
        self.taken_at[event.asset_id] = self._clock.now


def keeps_the_schedule(attempts: list[datetime], *, looks_every: timedelta) -> bool:
    waits = [later - earlier for earlier, later in pairwise(attempts)]
    return all(
        planned * (1 - JITTER) <= wait <= planned * (1 + JITTER) + looks_every
        for wait, planned in zip(waits, DEFAULT_RETRY, strict=False)
    )


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("count", [1, 6])
async def test_an_event_that_is_never_taken_keeps_the_schedule_beside_others_that_are(
    catalogue: WatchedCatalogue, clock: Clock, fault: str, count: int
) -> None:
    spool = Poisoned(clock, FAULTS[fault], count)
    await catalogue.attach("spool")
    await catalogue.store(*many(20))
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until_idle()
        for number in range(36):
            clock.advance(10 * MINUTE)
            await catalogue.store(imported(100 + number))
            relay.wake()
            await catalogue.until_idle()
    assert len(spool.taken) == 20 - count + 36
    looks_like_an_outage = fault == "timeout"  # at first, until others are answered
    for attempts in spool.attempts.values():
        assert 4 <= len(attempts) <= 6
        assert looks_like_an_outage or keeps_the_schedule(attempts, looks_every=10 * MINUTE)


@pytest.mark.parametrize("fault", FAULTS)
async def test_many_events_that_are_never_taken_do_not_keep_the_others(
    catalogue: WatchedCatalogue, clock: Clock, fault: str
) -> None:
    spool = Poisoned(clock, FAULTS[fault], 60)
    await catalogue.attach("spool")
    await catalogue.store(*many(60))
    began = clock.now
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until_idle()
        clock.advance(SECOND)
        await catalogue.store(*many(50, first=100))
        while len(spool.taken) < 50 and clock.now < began + 10 * MINUTE:
            relay.wake()
            await catalogue.until_idle()
            clock.advance(SECOND)
        assert len(spool.taken) == 50
        stored = clock.now
        await catalogue.store(imported(1000))
        while 1000 not in spool.taken_at and clock.now < stored + 10 * MINUTE:
            relay.wake()
            await catalogue.until_idle()
            clock.advance(SECOND)
    assert spool.taken_at[1000] - stored <= MINUTE


async def test_an_endpoint_that_breaks_at_each_event_is_offered_each_of_them(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool()
    spool.usual = FAULTS["500"]
    await catalogue.attach("spool")
    await catalogue.store(*many(300))
    async with running(catalogue, spool, clock=clock):
        await catalogue.until_idle()
    assert {each.attempts for each in await catalogue.deliveries()} == {1}
