"""What is true of every kind of subscriber."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from subscribers.receiver import Receiver, imported, webhook_settings

from damd.catalogue.outbox import ForeignEvent
from damd.events import EVENTS, Event, FileChangedEvent, FileMissingEvent, FileMovedEvent
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import DEFAULT_RETRY, Subscriber, retry_schedule

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("kind", list(SUBSCRIBERS))]

SAMPLES: list[Event] = [
    imported(),
    FileMovedEvent(
        asset_id=1,
        path="/in/b�.jpg",
        path_base64="L2luL2L/LmpwZw==",
        root="in",
        previous_path="/out/a.jpg",
        previous_root=None,
        sha256="ab" * 32,
    ),
    FileChangedEvent(
        asset_id=2, sha256="cd" * 32, previous_asset_id=1, previous_sha256="ab" * 32, path="/in/a.jpg", root="in"
    ),
    FileMissingEvent(asset_id=1, sha256="ab" * 32, path="/in/a.jpg", root="in"),
    ForeignEvent(event_type="file.dreamt", stored={"version": 1, "of": ["sheep"]}),
]


@pytest.fixture
def entries(tmp_path: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """For each kind, an entry of the configuration that works."""
    with Receiver() as receiver:
        yield {"log": {}, "webhook": dict(webhook_settings(tmp_path, receiver.url))}


def subscriber_of(kind: str, entries: dict[str, dict[str, Any]], **others: Any) -> Subscriber:
    subscriber_type: Any = SUBSCRIBERS[kind]
    subscriber: Subscriber = subscriber_type(settings_of(kind, entries, **others))
    return subscriber


def settings_of(kind: str, entries: dict[str, dict[str, Any]], **others: Any) -> Settings:
    return SUBSCRIBERS[kind].settings_type.model_validate({"kind": kind} | entries[kind] | others)


def test_there_is_a_sample_of_every_event(kind: str) -> None:
    assert {type(sample) for sample in SAMPLES} >= set(EVENTS.values())


def test_it_is_known_by_the_word_in_its_settings(kind: str, entries: dict[str, dict[str, Any]]) -> None:
    assert SUBSCRIBERS[kind].kind == kind
    assert getattr(settings_of(kind, entries), "kind", None) == kind


def test_an_unknown_key_is_an_error(kind: str, entries: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ValidationError, match="sparkles"):
        settings_of(kind, entries, sparkles=True)


def test_its_settings_are_frozen(kind: str, entries: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings_of(kind, entries).events = ()  # type: ignore[attr-defined]  # every kind has them


def test_it_has_a_name_and_a_schedule(kind: str, entries: dict[str, dict[str, Any]]) -> None:
    subscriber = subscriber_of(kind, entries)
    assert subscriber.name
    assert retry_schedule(subscriber) == DEFAULT_RETRY


def test_it_wants_the_types_that_it_is_given_and_all_where_none_is(
    kind: str, entries: dict[str, dict[str, Any]]
) -> None:
    picky = subscriber_of(kind, entries, events=["file.imported"])
    assert picky.wants("file.imported")
    assert not picky.wants("file.dreamt")
    assert subscriber_of(kind, entries, events=[]).wants("file.dreamt")


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.event_type)
async def test_it_takes_every_event_and_takes_it_again(
    kind: str, entries: dict[str, dict[str, Any]], event: Event
) -> None:
    subscriber: Any = subscriber_of(kind, entries)
    async with AsyncExitStack() as stack:
        if hasattr(subscriber, "__aenter__"):
            await stack.enter_async_context(subscriber)
        await subscriber.receive(event)
        await subscriber.receive(event)
