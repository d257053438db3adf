"""What came of attempts, on its way into the catalogue: of many together, since each commit costs a flush."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import anyio
from sqlmodel import Session

from damd.catalogue.deliveries import Refusal, mark_delivered, mark_refused
from damd.catalogue.endpoints import bring_back, disable, note_delivered, note_failed
from damd.relay.ledger import Ledger

GATHERED = 32
GATHERED_FOR_S = 0.025
"""So many are written at once, or those of so long a time: each commit takes the disk from the imports."""


class Outcome(NamedTuple):
    """What came of an attempt: taken, where there is no refusal.

    Attributes:
        delivery_id: Which delivery.
        refusal: Why not, and when it is due again.
        is_gone: It was refused for ever: the endpoint is disabled.
        is_back: Until then the endpoint had been away.
        put_off_for: How long the delivery had waited for this attempt since the one before.
    """

    delivery_id: int
    refusal: Refusal | None = None
    is_gone: bool = False
    is_back: bool = False
    put_off_for: timedelta = timedelta(0)


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


class Outcomes:
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
        await self._until(1)
        with anyio.move_on_after(GATHERED_FOR_S):
            await self._until(GATHERED)
        together = tuple(self._outcomes)
        because = await self._ledger.write_until_done(partial(self._mark, outcomes=together))
        # Only what is durable is left out: a cancellation between two attempts leaves the rest to `finish`.
        del self._outcomes[: len(together)]
        is_more_due = any(outcome.is_back for outcome in together)
        return Written([outcome.delivery_id for outcome in together], is_more_due, because)

    async def _until(self, count: int) -> None:
        while len(self._outcomes) < count:
            self._added = anyio.Event()
            await self._added.wait()

    async def finish(self) -> None:
        """Write what is left, once, cancelled or not; what cannot be written in time is sent again."""
        if self._outcomes:
            change = partial(self._mark, outcomes=tuple(self._outcomes))
            await self._ledger.write_at_the_end(change)

    def _mark(self, session: Session, outcomes: Sequence[Outcome]) -> str | None:
        at = self._clock()  # of each attempt to write: the clock may be set in between
        refusals = [_by_the_clock(outcome.refusal, at) for outcome in outcomes if outcome.refusal is not None]
        mark_refused(session, refusals, at=at)
        if any(outcome.is_back for outcome in outcomes):  # which those that failed before it in this batch hear of, too
            bring_back(session, self._endpoint, at=at)
        taken = [outcome.delivery_id for outcome in outcomes if outcome.refusal is None]
        if taken:
            mark_delivered(session, taken, at=at)
            note_delivered(session, self._endpoint, at=at)
        because = self._note_failed(session, outcomes[-1], at)
        for outcome in outcomes:
            if outcome.is_gone and outcome.refusal is not None:
                because = outcome.refusal.reason
                disable(session, self._endpoint, because=because, at=at)
        return because

    def _note_failed(self, session: Session, last: Outcome, at: datetime) -> str | None:
        if last.refusal is None:
            return None
        return note_failed(
            session,
            self._endpoint,
            at=at,
            error=last.refusal.reason,
            disable_after=self._disable_after,
            waited=last.put_off_for,
        )


def _by_the_clock(refusal: Refusal, at: datetime) -> Refusal:
    """As long a wait from now on, where the refusal is of a moment to come: the clock went back since."""
    if refusal.attempted_at is None or refusal.attempted_at <= at:
        return refusal
    return refusal._replace(attempted_at=at, next_attempt_at=at + (refusal.next_attempt_at - refusal.attempted_at))
