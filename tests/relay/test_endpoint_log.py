"""What an administrator reads."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import anyio
import pytest
from relay.scene import Clock, Spool, WatchedCatalogue, all_delivered, all_refused, down, many, posting, running
from structlog.testing import capture_logs
from structlog.typing import EventDict
from subscribers.receiver import SECRET, Receiver, imported, status

from damd.errors import DeliveryError

pytestmark = pytest.mark.anyio


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as logs:
        yield logs


def loud(logs: list[EventDict]) -> list[tuple[str, str]]:
    return [(entry["log_level"], entry["event"]) for entry in logs if entry["log_level"] != "debug"]


async def test_the_log_tells_of_deliveries_and_refusals_and_never_the_secret(
    catalogue: WatchedCatalogue, receiver: Receiver, clock: Clock, tmp_path: Path, logs: list[EventDict]
) -> None:
    event = imported()
    receiver.answers = [status(500)]
    await catalogue.attach("gallery")
    await catalogue.store(event)
    async with posting(catalogue, tmp_path, receiver.url, clock=clock) as relay:
        await catalogue.until(all_refused(1))
        clock.advance(timedelta(seconds=10))
        relay.wake()
        await catalogue.until(all_delivered(1))
        await anyio.wait_all_tasks_blocked()
    refused, delivered, back = [entry for entry in logs if entry.get("subscriber") == "gallery"]
    assert (refused["event"], refused["log_level"]) == ("delivery failed", "warning")
    assert refused["error"] == "The receiver answered 500 Internal Server Error"
    assert refused["attempts"] == 1
    assert (delivered["event"], delivered["log_level"]) == ("delivery taken", "debug")
    assert delivered["attempts"] == 2
    assert {each["event_id"] for each in (refused, delivered)} == {event.event_id}
    assert (back["event"], back["log_level"]) == ("endpoint is back", "info")
    assert SECRET.removeprefix("whsec_") not in repr(logs)


async def test_of_a_dead_endpoint_the_log_tells_once_and_once_that_it_is_back(
    catalogue: WatchedCatalogue, clock: Clock, logs: list[EventDict]
) -> None:
    spool = Spool()
    spool.usual = down()
    await catalogue.attach("spool")
    await catalogue.store(*many(50))
    async with running(catalogue, spool, clock=clock) as relay:
        await catalogue.until_idle()
        for _ in range(60):
            clock.advance(timedelta(minutes=1))
            relay.wake()
            await catalogue.until_idle()
        spool.usual, refused = None, len(spool.offered)
        clock.advance(timedelta(minutes=1))
        relay.wake()
        await catalogue.until(all_delivered(50))
    assert loud(logs) == [("warning", "delivery failed"), ("info", "endpoint is back")]
    (back,) = [entry for entry in logs if entry["event"] == "endpoint is back"]
    assert (back["refused"], back["failed_for_s"]) == (refused, 61 * 60)


async def test_one_that_fails_now_and_then_does_not_flood_the_log(
    catalogue: WatchedCatalogue, clock: Clock, logs: list[EventDict]
) -> None:
    spool = Spool(concurrency=1)
    await catalogue.attach("spool")
    async with running(catalogue, spool, clock=clock) as relay:
        for number in range(60):
            spool.errors = [DeliveryError("not this one")] * (number % 2)
            await catalogue.store(imported(number))
            clock.advance(timedelta(seconds=2))
            relay.wake()
            await catalogue.until_idle()
    assert len(loud(logs)) <= 6


async def test_a_trouble_that_comes_soon_after_another_is_told_if_it_lasts(
    catalogue: WatchedCatalogue, clock: Clock, logs: list[EventDict]
) -> None:
    spool = Spool(concurrency=1, errors=[down()])
    await catalogue.attach("spool")
    async with running(catalogue, spool, clock=clock) as relay:
        for number in range(60):
            await catalogue.store(imported(number))
            clock.advance(timedelta(seconds=10))
            relay.wake()
            await catalogue.until_idle()
            if number == 3:
                spool.usual = down("again")
    assert loud(logs) == [
        ("warning", "delivery failed"),
        ("info", "endpoint is back"),
        ("warning", "delivery failed"),
    ]


async def test_the_traceback_of_a_bug_is_told_once(
    catalogue: WatchedCatalogue, clock: Clock, logs: list[EventDict]
) -> None:
    spool = Spool()
    spool.usual = KeyError("nothing of that name")
    await catalogue.attach("spool")
    await catalogue.store(*many(30))
    async with running(catalogue, spool, clock=clock):
        await catalogue.until(all_refused(30))
    assert loud(logs) == [("error", "subscriber failed"), ("warning", "delivery failed")]
    assert isinstance(logs[0]["exc_info"], KeyError)
