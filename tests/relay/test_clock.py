"""What is due, where the clock jumps."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import pytest
from relay.scene import Clock, Spool, WatchedCatalogue, all_delivered, all_refused, many, running
from sqlmodel import Session
from structlog.testing import capture_logs
from subscribers.receiver import imported

from damd.errors import CatalogueUnavailableError, DeliveryError
from damd.events import Event
from damd.relay.waits import JITTER
from damd.subscribers.base import DEFAULT_RETRY

Result = TypeVar("Result")

pytestmark = pytest.mark.anyio

YEARS = timedelta(days=3000)


@pytest.mark.parametrize("is_restarted", [False, True], ids=["running", "restarted"])
async def test_what_was_put_off_by_a_clock_that_was_ahead_is_due_when_it_is_right(
    catalogue: WatchedCatalogue, clock: Clock, is_restarted: bool
) -> None:
    spool = Spool(errors=[DeliveryError("no") for _ in range(3)])
    await catalogue.attach("spool")
    await catalogue.store(*many(3))
    clock.advance(YEARS)
    with capture_logs() as logs:
        async with running(catalogue, spool, clock=clock) as relay:
            await catalogue.until(all_refused(3))
            await catalogue.until_idle()
            clock.advance(-YEARS)
            if not is_restarted:
                relay.wake()
                await catalogue.until(all_delivered(3))
        async with running(catalogue, spool, clock=clock):
            await catalogue.until(all_delivered(3))
    (entry,) = [entry for entry in logs if entry["event"].startswith("the clock went back")]
    assert (entry["log_level"], entry["count"]) == ("warning", 3)


async def test_what_a_clock_that_was_ahead_made_due_and_nobody_tried_is_due_when_it_is_right(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool(concurrency=1, errors=[DeliveryError("wait", is_down=True, retry_after_s=600)])
    await catalogue.attach("spool")
    await catalogue.store(*many(4))
    clock.advance(YEARS)
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until(all_refused(1))
        await catalogue.until_idle()
        clock.advance(-YEARS)
        relay.wake()
        await catalogue.until(all_delivered(4))


async def test_a_clock_that_jumps_ahead_only_makes_things_due_early(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool = Spool(errors=[DeliveryError("no") for _ in range(3)])
    await catalogue.attach("spool")
    await catalogue.store(*many(3))
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until(all_refused(3))
        clock.advance(YEARS)
        relay.wake()
        await catalogue.until(all_delivered(3))
        await catalogue.store(imported(9))
        clock.advance(-YEARS)
        relay.wake()
        await catalogue.until(all_delivered(4))


async def test_a_clock_that_is_set_right_by_little_brings_nothing_forward(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool(errors=[DeliveryError("no")])
    await catalogue.attach("spool")
    await catalogue.store(imported())
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until(all_refused(1))
        clock.advance(timedelta(seconds=-3))
        relay.wake()
        await catalogue.until_idle()
        assert len(spool.offered) == 1
        clock.advance(timedelta(seconds=-3))  # now it is more, little by little
        relay.wake()
        await catalogue.until(all_delivered(1))


async def test_what_failed_while_the_clock_was_ahead_and_is_marked_when_it_is_right_waits_as_long_as_was_meant(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    class UntilTheClockIsRight(Spool):
        async def receive(self, event: Event) -> None:
            self.offered.append(event)
            raise DeliveryError("no")

    class LateCatalogue(WatchedCatalogue):
        """The clock goes back between the refusal and its transaction."""

        async def write(self, change: Callable[[Session], Result]) -> Result:
            if spool.offered and clock.now > right:
                clock.now = right
                raise CatalogueUnavailableError("locked")
            return await super().write(change)

    spool, right, late = UntilTheClockIsRight(), clock.now, LateCatalogue(catalogue.engine)
    await catalogue.attach("spool")
    await catalogue.store(imported())
    clock.advance(YEARS)
    async with running(late, spool, clock=clock, poll_interval=timedelta(milliseconds=5)):
        await late.until(all_refused(1))
    (delivery,) = await catalogue.deliveries()
    assert delivery.last_attempt_at == right
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at - right <= DEFAULT_RETRY[0] * (1 + JITTER)
