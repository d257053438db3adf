"""What came of attempts, on its way into the catalogue: of many together, since each commit costs a flush."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import anyio
from sqlmodel import Session

from damd.catalogue.deliveries import Refusal, mark_delivered, mark_refused
from damd.catalogue.endpoints import bring_back, disable, note_delivered, note_failed
from damd.errors import CatalogueUnavailableError
from damd.relay.ledger import Ledger


class Outcome(NamedTuple):
    """What came of an attempt: taken, where there is no refusal.

    Attributes:
        delivery_id: Which delivery.
        refusal: Why not, and when it is due again.
        is_gone: It was refused for ever: the endpoint is disabled.
        is_back: Until then the endpoint had been away.
    """

    delivery_id: int
    refusal: Refusal | None = None
    is_gone: bool = False
    is_back: bool = False


class Written(NamedTuple):
    """What is durable now.

    Attributes:
        delivery_ids: The deliveries that are marked.
        is_more_due: What had been put off was brought forward.
        because: Why the endpoint is disabled, if it is from now on.
    """

    delivery_ids: list[int]
    is_more_due: bool
    because: str | None


class Marks:
    """What came of the attempts upon one endpoint, until it is durable.

    Args:
        ledger: Where it is written.
        endpoint: The endpoint's name.
        disable_after: As in its `DeliveryPolicy`.
        clock: The present moment.
    """

    def __init__(
        self, ledger: Ledger, endpoint: str, disable_after: timedelta | None, clock: Callable[[], datetime]
    ) -> None:
        self._ledger = ledger
        self._endpoint = endpoint
        self._disable_after = disable_after
        self._clock = clock
        self._outcomes: list[Outcome] = []
        self._added = anyio.Event()

    def __len__(self) -> int:
        """How many are not durable yet."""
        return len(self._outcomes)

    def add(self, outcome: Outcome) -> None:
        """Have this written with the next ones."""
        self._outcomes.append(outcome)
        self._added.set()

    async def write(self) -> Written:
        """Wait until there is something, and write all that there is, as often as it takes."""
        while not self._outcomes:
            self._added = anyio.Event()
            await self._added.wait()
        together = tuple(self._outcomes)
        because = await self._ledger.insist(partial(self._mark, outcomes=together, at=self._clock()))
        # Only what is durable is left out: a cancellation between two attempts leaves the rest to `finish`.
        del self._outcomes[: len(together)]
        is_more_due = any(outcome.is_back for outcome in together)
        return Written([outcome.delivery_id for outcome in together], is_more_due, because)

    async def finish(self) -> None:
        """Write what is left, once, cancelled or not."""
        if self._outcomes:
            change = partial(self._mark, outcomes=tuple(self._outcomes), at=self._clock())
            with anyio.CancelScope(shield=True), suppress(CatalogueUnavailableError):
                await self._ledger.write(change)

    def _mark(self, session: Session, outcomes: Sequence[Outcome], at: datetime) -> str | None:
        if any(outcome.is_back for outcome in outcomes):
            bring_back(session, self._endpoint, at=at)
        taken = [outcome.delivery_id for outcome in outcomes if outcome.refusal is None]
        if taken:
            mark_delivered(session, taken, at=at)
            note_delivered(session, self._endpoint, at=at)
        mark_refused(session, [outcome.refusal for outcome in outcomes if outcome.refusal is not None], at=at)
        last = outcomes[-1].refusal
        because = None
        if last is not None:
            because = note_failed(session, self._endpoint, at=at, error=last.reason, disable_after=self._disable_after)
        for outcome in outcomes:
            if outcome.is_gone and outcome.refusal is not None:
                because = outcome.refusal.reason
                disable(session, self._endpoint, because=because, at=at)
        return because
