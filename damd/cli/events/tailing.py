"""``damd events tail``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from damd.cli.application import ConfigOption, JsonOption, StateOption, load, open_existing
from damd.cli.events.asking import MOST_EVENTS, TypeOption, check_types
from damd.cli.events.telling import described, tell

if TYPE_CHECKING:
    from sqlmodel import Session

    from damd.catalogue.announced import Unseen
    from damd.config import Config

_POLL_S = 1.0


def tail(
    count: Annotated[
        int, typer.Option("-n", "--lines", min=0, max=MOST_EVENTS, metavar="N", help="How many past events first.")
    ] = 10,
    types: TypeOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the last events, then each as it happens.

    It goes on until Ctrl-C, whether or not a daemon runs: the events of every process are told once committed.
    """
    import anyio

    anyio.run(_tail, load(config, state), count, types or (), as_json)


async def _tail(config: Config, count: int, types: Sequence[str], as_json: bool) -> None:
    import anyio

    from damd.catalogue.announced import Unseen
    from damd.catalogue.store import Catalogue

    async with open_existing(config) as world:
        catalogue, unseen = world.get_resource(Catalogue), Unseen()
        await check_types(catalogue, types)
        revisions = await catalogue.read(partial(_begin, unseen=unseen, types=types, count=count))
        while True:
            async for event in described(catalogue, revisions, types=types):
                tell(event, as_json=as_json)
            await anyio.sleep(_POLL_S)
            revisions = await catalogue.read(unseen.look)


def _begin(session: Session, unseen: Unseen, types: Sequence[str], count: int) -> list[int]:
    """The last revisions; whatever is there then is not told again."""
    from damd.catalogue.announced import Question, newest_events
    from damd.catalogue.deliveries import Selection

    unseen.look(session)
    last = newest_events(session, Question(Selection(types=types)), limit=count)
    unseen.have_seen(last)  # one of them may have committed since that look
    return last
