"""What the kinds of subscriber have in common, without any of them."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from damd.events import EVENTS
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import DEFAULT_RETRY, DeliveryPolicy, DurableSettings, policy_of
from damd.subscribers.log import LogSettings, LogSubscriber


def test_a_kind_is_known_by_the_word_in_the_configuration() -> None:
    assert {"log", "webhook", "command"} <= SUBSCRIBERS.keys()
    assert all(kind == subscriber.kind for kind, subscriber in SUBSCRIBERS.items())


def test_a_durable_one_is_sent_imports_patiently_unless_it_is_told_otherwise() -> None:
    settings = DurableSettings(name="gallery")
    assert settings.events == ("file.imported",)
    assert settings.policy == DeliveryPolicy(retry=DEFAULT_RETRY, concurrency=8, disable_after=timedelta(days=5))


def test_one_that_says_nothing_is_served_as_all_are() -> None:
    assert policy_of(LogSubscriber(LogSettings())) == DeliveryPolicy()


def test_every_event_that_damd_publishes_can_be_asked_for() -> None:
    assert DurableSettings(name="gallery", events=tuple(EVENTS)).events == tuple(EVENTS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "a b"),
        ("name", "x" * 65),
        ("events", ["file.dreamt"]),
        ("retry", []),
        ("retry", ["5"]),
        ("concurrency", 0),
        ("concurrency", 65),
        ("disable_after", "0s"),
        ("sparkles", True),
    ],
)
def test_what_means_nothing_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=key):
        DurableSettings.model_validate({"name": "gallery", key: value})
