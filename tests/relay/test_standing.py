"""Endpoints come, go, give up and are enabled again; what they are owed waits."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from relay.scene import Clock, Spool, WatchedCatalogue, all_delivered, all_refused, down, many, posting, running
from sqlmodel import Session
from structlog.testing import capture_logs
from subscribers.receiver import Receiver, imported, status

from damd.catalogue.endpoints import disable, enable, endpoint_states
from damd.errors import DeliveryError
from damd.relay.relay import Relay

pytestmark = pytest.mark.anyio

DISABLED = "endpoint is disabled: what it is owed waits"
ENABLED = "endpoint is enabled: it is sent what it is owed"


async def look(relay: Relay, catalogue: WatchedCatalogue) -> None:
    relay.wake()
    await catalogue.until_idle()


def told(logs: Sequence[Any]) -> list[tuple[str, str]]:
    return [(entry["log_level"], entry["event"]) for entry in logs if entry["log_level"] != "debug"]


def owed(session: Session) -> dict[str, int]:
    return {each["name"]: each["owed"] for each in endpoint_states(session) if each["owed"]}


async def test_an_endpoint_that_is_added_later_hears_nothing_from_before(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool, late, before, after = Spool(), Spool("late"), many(3), many(3, first=10)
    await catalogue.attach("spool")
    await catalogue.store(*before)
    async with running(catalogue, spool, late, clock=clock) as relay:
        await catalogue.until(all_delivered(3))
        await catalogue.store(*after)
        relay.wake()
        await catalogue.until(all_delivered(9))
    assert late.taken_ids == {each.event_id: 1 for each in after}
    assert spool.taken_ids == {each.event_id: 1 for each in [*before, *after]}


async def test_an_endpoint_that_was_removed_is_sent_what_it_was_owed_when_it_is_back(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool, other, before, meanwhile = Spool(), Spool("other"), many(3), many(3, first=10)
    spool.usual = DeliveryError("no")
    await catalogue.attach("spool", "other")
    await catalogue.store(*before)
    async with running(catalogue, spool, other, clock=clock):
        await catalogue.until(all_delivered(3))
        await catalogue.until(all_refused(6))
    async with running(catalogue, other, clock=clock):
        await catalogue.until_idle()
        await catalogue.store(*meanwhile)
    async with running(catalogue, other, clock=clock):
        await catalogue.until(all_delivered(6))
        assert (await catalogue.endpoint()).removed_at == clock.now
        assert await catalogue.read(owed) == {"spool": 3}
    clock.advance(timedelta(seconds=10))
    spool.usual = None
    async with running(catalogue, spool, other, clock=clock):
        await catalogue.until(all_delivered(9))
        assert (await catalogue.endpoint()).removed_at is None
    assert spool.taken_ids == {each.event_id: 1 for each in before}


async def test_an_endpoint_that_another_process_disables_is_sent_nothing_until_it_is_enabled(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool()
    await catalogue.attach("spool")
    with capture_logs() as logs:
        async with running(catalogue, spool, clock=clock) as relay:
            await catalogue.until_idle()
            await catalogue.write(partial(disable, name="spool", because="it moves house", at=clock.now))
            await catalogue.store(*many(5))
            for _ in range(3):
                await look(relay, catalogue)
            assert not spool.offered
            assert await catalogue.read(owed) == {"spool": 5}
            await catalogue.write(partial(enable, name="spool", at=clock.now))
            for _ in range(3):
                await look(relay, catalogue)
            await catalogue.until(all_delivered(5))
    assert told(logs) == [("warning", DISABLED), ("info", ENABLED)]
    assert "damd webhooks enable spool" in next(entry["advice"] for entry in logs if entry["event"] == DISABLED)


async def test_who_is_disabled_and_enabled_between_two_looks_is_sent_everything_at_once(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool(concurrency=1, errors=[down("slower", status_code=429, retry_after_s=3600)])
    await catalogue.attach("spool")
    await catalogue.store(*many(3))
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until(all_refused(1))
        await look(relay, catalogue)
        assert len(spool.offered) == 1
        await catalogue.write(partial(disable, name="spool", because="it moves house", at=clock.now))
        await catalogue.write(partial(enable, name="spool", at=clock.now))
        relay.wake()
        await catalogue.until(all_delivered(3))


async def test_an_endpoint_that_is_disabled_at_the_start_is_said_to_be(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    await catalogue.attach("spool")
    await catalogue.write(partial(disable, name="spool", because="it moves house", at=clock.now))
    await catalogue.store(imported())
    spool = Spool()
    with capture_logs() as logs:
        async with running(catalogue, spool, clock=clock):
            await catalogue.until_idle()
    assert told(logs) == [("warning", DISABLED)]
    assert not spool.offered


async def test_what_was_claimed_is_not_sent_to_an_endpoint_that_was_disabled_meanwhile(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool(concurrency=1, errors=[DeliveryError("no more", status_code=410, is_gone=True)])
    await catalogue.attach("spool")
    await catalogue.store(*many(200))
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until_idle()
        await look(relay, catalogue)
        offered = len(spool.offered)
        assert offered < 65
        await look(relay, catalogue)
        assert len(spool.offered) == offered
        await catalogue.write(partial(enable, name="spool", at=clock.now))
        relay.wake()
        await catalogue.until_delivered(200)


async def test_who_says_that_it_is_gone_is_disabled_and_stays_owed(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path
) -> None:
    receiver.answers = [status(410)]
    await catalogue.attach("gallery")
    await catalogue.store(imported())
    with capture_logs() as logs:
        async with posting(catalogue, tmp_path, receiver.url, clock=clock) as relay:
            await catalogue.until(all_refused(1))
            await catalogue.until_idle()
            endpoint = await catalogue.endpoint("gallery")
            assert endpoint.disabled_at == clock.now
            assert endpoint.disabled_because == "The receiver answered 410 Gone"
            await catalogue.write(partial(enable, name="gallery", at=clock.now))
            relay.wake()
            await catalogue.until(all_delivered(1))
    assert ("error", DISABLED) in told(logs)


async def test_after_days_of_nothing_but_failures_an_endpoint_is_disabled_and_the_log_says_what_to_do(
    catalogue: WatchedCatalogue, clock: Clock
) -> None:
    spool = Spool(disable_after=timedelta(days=2))
    spool.usual = down()
    await catalogue.attach("spool")
    await catalogue.store(*many(3))
    with capture_logs() as logs:
        async with running(catalogue, spool, clock=clock) as relay:
            await catalogue.until_idle()
            while (await catalogue.endpoint()).disabled_at is None:
                clock.advance(timedelta(hours=1))
                await look(relay, catalogue)
            for _ in range(30):
                clock.advance(timedelta(hours=1))
                await look(relay, catalogue)
    disabled = [entry for entry in logs if entry["event"] == DISABLED]
    assert [entry["log_level"] for entry in disabled] == ["error"]
    assert disabled[0]["because"] == "It has done nothing but fail for 2d; the last time: nobody answers"
    assert "damd webhooks enable spool" in disabled[0]["advice"]
    assert await catalogue.read(owed) == {"spool": 3}
    assert len([entry for entry in logs if entry["log_level"] != "debug"]) == 2


async def test_one_success_in_between_is_enough_to_stay_enabled(catalogue: WatchedCatalogue, clock: Clock) -> None:
    spool = Spool(disable_after=timedelta(days=2), concurrency=1)
    await catalogue.attach("spool")
    await catalogue.store(imported())
    async with running(catalogue, spool, clock=clock) as relay:
        for hour in range(100):
            spool.usual = None if hour % 40 == 30 else DeliveryError("no")
            await catalogue.store(imported(hour))
            clock.advance(timedelta(hours=1))
            await look(relay, catalogue)
        endpoint = await catalogue.endpoint()
    assert endpoint.disabled_at is None
    assert endpoint.last_delivered_at is not None
    assert endpoint.last_error == "no"
