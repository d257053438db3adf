"""What people are told of endpoints."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from subscribers.receiver import imported

from damd.catalogue.deliveries import due_deliveries, mark_delivered
from damd.catalogue.endpoints import (
    attach,
    disable,
    enable,
    endpoint_states,
    note_delivered,
    note_failed,
    oldest_owed_at,
)
from damd.catalogue.outbox import fan_out, store_event
from damd.catalogue.store import Catalogue
from damd.events import Subscription

pytestmark = pytest.mark.anyio

AT = datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)
NAMES = ("archive", "gallery")


@pytest.fixture
async def known(catalogue: Catalogue) -> Catalogue:
    """A catalogue that knows two endpoints, each of which is owed three events, the oldest of an hour ago."""

    async def happen(number: int) -> None:
        occurred_at = AT - timedelta(hours=number)
        await catalogue.write(lambda session: store_event(session, imported(number, occurred_at=occurred_at)))

    await catalogue.write(partial(attach, subscriptions=dict.fromkeys(NAMES, Subscription("webhook")), at=AT))
    for number in (0, 1, 0):
        await happen(number)
    await catalogue.write(partial(fan_out, at=AT))
    return catalogue


async def states(catalogue: Catalogue) -> dict[str, str]:
    return {each["name"]: each["state"] for each in await catalogue.read(endpoint_states)}


async def test_endpoints_are_told_with_what_they_are_owed(known: Catalogue) -> None:
    first, *_ = await known.read(partial(due_deliveries, endpoint="gallery", at=AT, limit=1))
    await known.write(partial(mark_delivered, delivery_ids=[first.delivery_id], at=AT))
    await known.write(partial(note_delivered, name="gallery", at=AT))
    archive, gallery = await known.read(endpoint_states)
    assert json.loads(json.dumps(gallery)) == gallery
    assert (archive["owed"], gallery["owed"]) == (3, 2)
    assert {key: value for key, value in gallery.items() if value is not None} == {
        "name": "gallery",
        "kind": "webhook",
        "state": "active",
        "owed": 2,
        "added_at": AT.isoformat(),
        "last_delivered_at": AT.isoformat(),
        "next_attempt_at": AT.isoformat(),
    }


async def test_an_endpoint_is_in_the_first_state_that_applies(known: Catalogue) -> None:
    assert await states(known) == {"archive": "active", "gallery": "active"}
    failed = partial(note_failed, name="gallery", error="it is full", disable_after=None)
    await known.write(lambda session: failed(session, at=AT))
    assert await states(known) == {"archive": "active", "gallery": "failing"}
    await known.write(partial(attach, subscriptions={"archive": Subscription("webhook")}, at=AT, sole=True))
    assert await states(known) == {"archive": "active", "gallery": "removed"}
    await known.write(partial(disable, name="gallery", because="it is full", at=AT))
    assert await states(known) == {"archive": "active", "gallery": "disabled"}
    await known.write(partial(attach, subscriptions={"gallery": Subscription("webhook")}, at=AT))
    await known.write(partial(enable, name="gallery", at=AT))
    assert await states(known) == {"archive": "active", "gallery": "active"}


async def test_the_oldest_of_what_is_owed_is_the_first_to_be_forgotten(known: Catalogue) -> None:
    assert await known.read(partial(oldest_owed_at, name="gallery")) == AT - timedelta(hours=1)
    due = await known.read(partial(due_deliveries, endpoint="gallery", at=AT, limit=9))
    await known.write(partial(mark_delivered, delivery_ids=[each.delivery_id for each in due], at=AT))
    assert await known.read(partial(oldest_owed_at, name="gallery")) is None
    assert await known.read(partial(oldest_owed_at, name="archive")) == AT - timedelta(hours=1)
