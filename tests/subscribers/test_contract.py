"""What is true of every kind of subscriber."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import ValidationError
from subscribers.receiver import SECRET, imported
from subscribers.sinks import EVENTS_TO_TELL, SAMPLES, TOLD, Heard, Sample, until

from damd.errors import DeliveryError
from damd.events import EVENTS, Event
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import policy_of

pytestmark = pytest.mark.anyio

DURABLE = [name for name, sample in SAMPLES.items() if SUBSCRIBERS[sample.kind].durable]


@pytest.fixture(params=list(SAMPLES))
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sample]:
    with SAMPLES[request.param](tmp_path) as sample:
        yield sample


@pytest.fixture(params=DURABLE)
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sample]:
    with SAMPLES[request.param](tmp_path) as sample:
        yield sample


def belongings() -> set[str]:
    """What this process holds that it could fail to give back: files, pipes, sockets, children, threads."""
    pooled = ("AnyIO worker thread", "asyncio_")
    held = {thread.name for thread in threading.enumerate() if not thread.name.startswith(pooled)}
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # threads end meanwhile
            held |= {f"child {pid}" for pid in (task / "children").read_text().split()}
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            held.add(str(descriptor.readlink()))
    return held


def told(heard: Heard) -> dict[str, Any]:
    return {name: heard.data.get(name) for name in TOLD}


@pytest.mark.parametrize("kind", list(SUBSCRIBERS))
def test_every_kind_has_a_sample(kind: str) -> None:
    assert kind in {sample.kind for sample in SAMPLES.values()}, f"add a sample of the kind {kind} to SAMPLES"


@pytest.mark.parametrize("event_type", list(EVENTS))
def test_every_event_is_told(event_type: str) -> None:
    assert event_type in {event.event_type for event in EVENTS_TO_TELL}, f"add a {event_type} to EVENTS_TO_TELL"


def test_it_says_what_it_is(sample: Sample) -> None:
    subscriber_type = SUBSCRIBERS[sample.kind]
    assert subscriber_type.kind == sample.kind
    assert issubclass(subscriber_type.settings_type, Settings)
    assert isinstance(subscriber_type.durable, bool)
    assert getattr(sample.settings(), "kind", None) == sample.kind


def test_an_unknown_key_is_an_error(sample: Sample) -> None:
    with pytest.raises(ValidationError, match="sparkles"):
        sample.settings(sparkles=True)


def test_an_event_that_damd_does_not_publish_is_an_error(sample: Sample) -> None:
    with pytest.raises(ValidationError, match=r"damd publishes no event 'file\.dreamt'"):
        sample.settings(events=["file.dreamt"])


def test_its_settings_are_frozen(sample: Sample) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        sample.settings().events = ()  # type: ignore[attr-defined]  # every kind has them


def test_its_settings_survive_the_configuration(sample: Sample) -> None:
    settings = sample.settings()
    assert type(settings).model_validate(settings.model_dump(mode="json")) == settings


def test_it_has_the_same_name_each_time(sample: Sample) -> None:
    assert sample.subscriber().name == sample.subscriber().name != ""


def test_a_durable_one_says_how_patiently_it_is_served(durable: Sample) -> None:
    policy = policy_of(durable.subscriber(retry=["1s"], concurrency=3, disable_after=None))
    assert (len(policy.retry), policy.concurrency, policy.disable_after) == (1, 3, None)


def test_it_wants_the_types_that_it_is_given_and_all_where_none_is(sample: Sample) -> None:
    picky = sample.subscriber(events=["file.imported"])
    assert picky.wants("file.imported")
    assert not picky.wants("file.moved")
    assert sample.subscriber(events=[]).wants("file.dreamt")


@pytest.mark.parametrize("event", EVENTS_TO_TELL, ids=lambda event: event.event_type)
async def test_it_takes_every_event_and_takes_it_again(sample: Sample, event: Event) -> None:
    async with sample.entered() as subscriber:
        await subscriber.receive(event)
        await subscriber.receive(event)
    once, again = sample.heard()
    assert (once.event_id, once.event_type) == (event.event_id, event.event_type)
    assert told(once) == {name: event.data().get(name) for name in TOLD}
    assert once == again


async def test_twenty_at_the_same_time_arrive_once_each(sample: Sample) -> None:
    events = [imported(number) for number in range(20)]
    async with sample.entered() as subscriber, anyio.create_task_group() as tasks:
        for event in events:
            tasks.start_soon(subscriber.receive, event)
    assert sorted(heard.event_id for heard in sample.heard()) == sorted(event.event_id for event in events)


async def test_nothing_is_left_of_it(sample: Sample) -> None:
    before = belongings()
    async with sample.entered() as subscriber:
        await subscriber.receive(imported())
    await until(lambda: belongings() <= before)


async def test_it_can_be_entered_again(sample: Sample) -> None:
    for number in range(2):
        async with sample.entered() as subscriber:
            await subscriber.receive(imported(number))
    assert len(sample.heard()) == 2


async def test_one_that_fails_says_so_in_a_sentence_without_a_secret(
    durable: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    durable.fail()
    async with durable.entered() as subscriber:
        for event in EVENTS_TO_TELL[:2]:
            with pytest.raises(DeliveryError) as caught:
                await subscriber.receive(event)
            shown = f"{caught.value} {caught.value!r} {caught.value.response} {subscriber!r}"
            assert SECRET.removeprefix("whsec_") not in shown
            assert 10 < len(str(caught.value)) < 300
            assert str(caught.value).isprintable()


async def test_one_that_hangs_is_left_in_time(durable: Sample) -> None:
    before = belongings()
    durable.hang()
    async with durable.entered(timeout="300ms") as subscriber:
        with anyio.fail_after(10), pytest.raises(DeliveryError, match="within 300ms"):
            await subscriber.receive(imported())
    durable.recover()
    await until(lambda: belongings() <= before)


async def test_a_cancelled_attempt_leaves_nothing_behind_and_the_next_one_succeeds(durable: Sample) -> None:
    before = belongings()
    durable.hang()
    async with durable.entered() as subscriber:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(subscriber.receive, imported(1))
            await durable.hangs()
            tasks.cancel_scope.cancel()
        durable.recover()
        await subscriber.receive(imported(2))
    await until(lambda: belongings() <= before)
    assert {heard.data["asset_id"] for heard in durable.heard()} >= {2}
