import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from relay.scene import Clock, Spool, WatchedCatalogue, all_delivered, all_refused, down, many, posting, running
from subscribers.receiver import Receiver, closed_port, imported, status

from damd.catalogue.deliveries import Refusal
from damd.catalogue.outbox import fan_out
from damd.errors import DeliveryError
from damd.events import Event
from damd.relay.courier import MOST_UNMARKED
from damd.relay.ledger import Ledger
from damd.relay.outcomes import Outcome, Outcomes
from damd.relay.relay import Relay
from damd.relay.throttle import FAILURES_IN_A_ROW
from damd.relay.waits import JITTER
from damd.subscribers.base import DEFAULT_RETRY

pytestmark = pytest.mark.anyio

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


async def go_on(relay: Relay, catalogue: WatchedCatalogue, clock: Clock, by: timedelta, step: timedelta) -> None:
    """Let the time pass as the relay sees it, looking now and then."""
    await catalogue.until_idle()
    end = clock.now + by
    while clock.now < end:
        clock.advance(step)
        relay.wake()
        await catalogue.until_idle()


async def test_a_receiver_that_was_down_gets_everything_once_it_is_up(
    catalogue: WatchedCatalogue, clock: Clock, tmp_path: Path
) -> None:
    events = many(20)
    await catalogue.attach("gallery")
    with closed_port() as port:
        await catalogue.store(*events[:10])
        async with posting(catalogue, tmp_path, f"http://127.0.0.1:{port}/", clock=clock) as relay:
            await catalogue.until(lambda deliveries: sum(each.attempts for each in deliveries) >= FAILURES_IN_A_ROW)
            await catalogue.until_idle()
            tried = [each for each in await catalogue.deliveries() if each.attempts]
            assert 0 < len(tried) <= 8  # the others need not try that for themselves
            assert {each.last_error for each in tried} == {"The receiver cannot be reached: Connection refused"}
            await catalogue.store(*events[10:])
            relay.wake()
            await catalogue.until_idle()
            assert not any(each.delivered_at for each in await catalogue.deliveries())
            with Receiver(port=port) as receiver:
                clock.advance(MINUTE)
                relay.wake()
                await catalogue.until(all_delivered(20))
    assert {each.message_id for each in receiver.received} == {each.event_id for each in events}
    assert {each.last_error for each in await catalogue.deliveries()} == {None}


@pytest.mark.parametrize("count", [3, 300])
async def test_who_was_away_for_ten_minutes_gets_everything_within_a_minute_of_being_back(
    catalogue: WatchedCatalogue, clock: Clock, count: int
) -> None:
    spool, events = Spool(), many(count)
    spool.usual = down()
    await catalogue.attach("spool")
    await catalogue.store(*events)
    async with running(catalogue, spool, clock=clock) as relay:
        await go_on(relay, catalogue, clock, 10 * MINUTE, 5 * SECOND)
        assert len(spool.offered) < 60
        spool.usual = None
        await go_on(relay, catalogue, clock, MINUTE * (1 + JITTER), 4 * SECOND)
        await catalogue.until_delivered(count)
    assert spool.taken_ids == {each.event_id: 1 for each in events}


async def test_one_answer_is_enough_for_all_that_failed_while_it_was_away(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool(concurrency=1, errors=[down()] * FAILURES_IN_A_ROW)
    await catalogue.attach("spool")
    await catalogue.store(*many(FAILURES_IN_A_ROW + 1))
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until_idle()
        assert len(spool.offered) == FAILURES_IN_A_ROW
        clock.advance(SECOND)
        relay.wake()
        await catalogue.until_delivered(FAILURES_IN_A_ROW + 1)


async def test_who_was_away_and_is_back_after_a_restart_gets_everything_too(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool, events = Spool(), many(12)
    spool.usual = down()
    await catalogue.attach("spool")
    await catalogue.store(*events)
    async with running(catalogue, spool, clock=clock) as relay:
        await go_on(relay, catalogue, clock, timedelta(hours=5), 10 * MINUTE)
    spool.offered.clear()
    spool.usual = None
    async with running(catalogue, spool, clock=clock) as relay:
        await go_on(relay, catalogue, clock, timedelta(minutes=30) * (1 + JITTER), 10 * MINUTE)
        await catalogue.until(all_delivered(12))
    assert spool.taken_ids == {each.event_id: 1 for each in events}


async def test_an_event_refused_for_its_own_sake_delays_no_other(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool = Spool(errors=[DeliveryError("not that one", status_code=422) for _ in range(20)])
    await catalogue.attach("spool")
    await catalogue.store(*many(40))
    async with running(catalogue, spool, clock=clock):
        await catalogue.until(all_delivered(20))
        refused = [each for each in await catalogue.deliveries() if not each.delivered_at]
    assert {(each.attempts, each.last_status) for each in refused} == {(1, 422)}
    for each in refused:
        assert each.next_attempt_at is not None
        assert (each.next_attempt_at - clock.now) / DEFAULT_RETRY[0] == pytest.approx(1, abs=JITTER)


async def test_one_that_asks_for_time_is_left_alone_with_everything(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool = Spool(concurrency=1, errors=[down("slower", status_code=429, retry_after_s=1800)])
    await catalogue.attach("spool")
    await catalogue.store(*many(5))
    async with running(catalogue, spool, clock=clock) as relay:
        await go_on(relay, catalogue, clock, 29 * MINUTE, 10 * SECOND)
        assert len(spool.offered) == 1
        await go_on(relay, catalogue, clock, 2 * MINUTE, 10 * SECOND)
        await catalogue.until(all_delivered(5))
    assert len(spool.offered) == 6


async def test_a_rest_ends_when_the_clock_goes_back(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool = Spool(concurrency=1, errors=[down("later", status_code=503, retry_after_s=3600)])
    await catalogue.attach("spool")
    await catalogue.store(*many(3))
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until(all_refused(1))
        await catalogue.until_idle()
        assert len(spool.offered) == 1
        clock.advance(-timedelta(days=400))
        relay.wake()
        await catalogue.until(all_delivered(3))


async def test_every_attempt_has_the_same_id_and_a_new_timestamp(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    event = imported()
    receiver.answers = [status(500), status(302, location="/"), status(400)]
    await catalogue.attach("gallery")
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
    receiver.answers = [status(500)]
    await catalogue.attach("gallery")
    await catalogue.store(imported(1))
    async with posting(catalogue, tmp_path, receiver.url, clock=clock) as relay:
        await catalogue.until(all_refused(1))
        clock.advance(3 * SECOND)
        await catalogue.store(imported(2))
        relay.wake()
        await catalogue.until(all_delivered(1))
        assert len(receiver.received) == 2
        clock.advance(4 * SECOND)
        relay.wake()
        await catalogue.until(all_delivered(2))


@pytest.mark.parametrize(("asked_s", "wait_s"), [(3600, 3600), (1, 5)])
async def test_what_a_receiver_asks_for_makes_the_wait_longer_never_shorter(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path, asked_s: int, wait_s: int
) -> None:
    receiver.usual = status(429, retry_after=str(asked_s))
    await catalogue.attach("gallery")
    await catalogue.store(imported())
    async with posting(catalogue, tmp_path, receiver.url, clock=clock):
        await catalogue.until(all_refused(1))
    (delivery,) = await catalogue.deliveries()
    assert delivery.next_attempt_at is not None
    assert (delivery.next_attempt_at - clock.now).total_seconds() == pytest.approx(wait_s, rel=JITTER)


async def test_whatever_a_subscriber_raises_is_a_refusal(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool = Spool(errors=[OSError("odd \0 \udc80"), DeliveryError("no", retry_after_s=float("inf"))])
    await catalogue.attach("spool")
    await catalogue.store(imported())
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until(all_refused(1, 1))
        (delivery,) = await catalogue.deliveries()
        assert delivery.last_error == "OSError: odd \\0 \\udc80"
        assert delivery.next_attempt_at is not None
        assert (delivery.next_attempt_at - clock.now) / DEFAULT_RETRY[0] == pytest.approx(1, abs=JITTER)
        clock.advance(timedelta(days=1))
        relay.wake()
        await catalogue.until(all_refused(1, 2))
        clock.advance(timedelta(days=1))
        relay.wake()
        await catalogue.until(all_delivered(1))


async def test_what_comes_of_many_attempts_is_marked_together(catalogue: WatchedCatalogue, clock: Clock) -> None:
    await catalogue.attach("spool")
    await catalogue.store(*many(400))
    async with running(catalogue, Spool(concurrency=64), clock=clock):
        await catalogue.until_delivered(400)
        assert catalogue.asked < 60


async def test_no_more_is_sent_than_a_crash_may_repeat(catalogue: WatchedCatalogue, clock: Clock) -> None:
    most = 0

    class Counting(Spool):
        async def receive(self, event: Event) -> None:
            await super().receive(event)
            nonlocal most
            sent = len(self.offered)
            marked = sum(each.delivered_at is not None for each in await catalogue.deliveries())
            most = max(most, sent - marked)

    await catalogue.attach("spool")
    await catalogue.store(*many(200))
    async with running(catalogue, Counting(concurrency=64), clock=clock):
        await catalogue.until_delivered(200)
    assert most <= MOST_UNMARKED


class Wordless(Exception):  # noqa: N818 - somebody else's
    def __str__(self) -> str:
        raise RuntimeError("no words")


class WordlessDeliveryError(DeliveryError):
    def __init__(self) -> None:
        """As of somebody who forgot what it is made of."""

    __str__ = Wordless.__str__


def spoilt() -> DeliveryError:
    error = DeliveryError("no")
    error.response = b"\xff"  # type: ignore[assignment]  # a plugin's mistake
    error.status_code = 2**70
    return error


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (Wordless(), ("Wordless", None, None)),
        (WordlessDeliveryError(), ("", None, None)),
        (DeliveryError("no", response=b"a\xff"), ("no", None, "a\ufffd")),
        (DeliveryError("no", retry_after_s="3"), ("no", None, None)),  # type: ignore[arg-type]  # a plugin's mistake
        (DeliveryError("no", status_code=2**70), ("no", None, None)),
        (spoilt(), ("no", None, "\ufffd")),
        (asyncio.CancelledError(), ("CancelledError", None, None)),
    ],
    ids=["wordless", "wordless-refusal", "bytes", "text", "number", "set-later", "cancellation"],
)
async def test_whatever_a_plugins_subscriber_raises_costs_no_more_than_the_attempt(
    catalogue: WatchedCatalogue, clock: Clock, error: Exception, kept: tuple[str, int | None, str | None]
) -> None:
    spool = Spool(errors=[error])
    await catalogue.attach("spool")
    await catalogue.store(imported())
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until(all_refused(1))
        (delivery,) = await catalogue.deliveries()
        assert (delivery.last_error, delivery.last_status, delivery.last_response) == kept
        assert delivery.next_attempt_at is not None
        assert (delivery.next_attempt_at - clock.now) / DEFAULT_RETRY[0] == pytest.approx(1, abs=JITTER)
        clock.advance(timedelta(days=1))
        relay.wake()
        await catalogue.until(all_delivered(1))


@pytest.mark.parametrize("code", [429, 503, None])
async def test_what_was_asked_for_later_comes_later_whatever_else_was_answered(
    catalogue: WatchedCatalogue, clock: Clock, code: int | None
) -> None:
    spool = Spool(concurrency=1, errors=[down("later", status_code=code, retry_after_s=6 * 3600)])
    await catalogue.attach("spool")
    await catalogue.store(*many(5))
    async with running(catalogue, spool, clock=clock) as relay:
        await go_on(relay, catalogue, clock, timedelta(hours=2), 20 * MINUTE)
        await catalogue.until(all_delivered(4))
        (late,) = [each for each in await catalogue.deliveries() if each.delivered_at is None]
        assert late.next_attempt_at == clock.now + timedelta(hours=4)


async def test_a_time_that_was_asked_for_is_kept_although_what_was_under_way_is_taken(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool(concurrency=8, errors=[down("slower", status_code=429, retry_after_s=1800)])
    await catalogue.attach("spool")
    await catalogue.store(*many(50))
    async with running(catalogue, spool, clock=clock) as relay:
        await go_on(relay, catalogue, clock, 29 * MINUTE, MINUTE)
        assert len(spool.offered) == 8
        await go_on(relay, catalogue, clock, 2 * MINUTE, MINUTE)
        await catalogue.until_delivered(50)


async def test_what_failed_in_the_batch_that_says_that_it_is_back_is_sent_at_once(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    await catalogue.attach("spool")
    await catalogue.store(*many(2))
    await catalogue.write(lambda session: fan_out(session, at=clock.now))
    first, second = [each.id for each in await catalogue.deliveries()]
    assert first is not None
    assert second is not None
    outcomes = Outcomes(Ledger(catalogue, 1), "spool", None, clock)
    refusal = Refusal(first, clock.now + 30 * MINUTE, "down", attempted_at=clock.now, until_back=True)
    outcomes.add(Outcome(first, refusal))
    outcomes.add(Outcome(second, is_back=True))
    written = await outcomes.write()
    assert written.is_more_due
    assert [each.next_attempt_at for each in await catalogue.deliveries()] == [clock.now, None]
