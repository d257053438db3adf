from typing import ClassVar

import pytest
from relay.scene import Spool
from structlog.testing import capture_logs
from subscribers.receiver import imported

from damd.relay.listeners import Listeners
from damd.world import World

pytestmark = pytest.mark.anyio


async def test_volatile_subscribers_are_told_once_and_durable_ones_are_left_to_the_relay() -> None:
    class Volatile(Spool):
        durable: ClassVar[bool] = False

    class Picky(Volatile):
        def wants(self, event_type: str) -> bool:
            return False

    told, failing, picky, durable = Volatile(), Volatile(errors=[OSError("full")]), Picky(), Spool()
    event = imported()
    with capture_logs() as logs:
        async with World() as world:
            Listeners([failing, told, picky, durable]).listen(world)
            await world.dispatch_event(event)
    assert told.taken == [event]
    assert not failing.taken
    assert not picky.taken
    assert not durable.taken
    assert [entry["event"] for entry in logs] == ["event handler failed"]
