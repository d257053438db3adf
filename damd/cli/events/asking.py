"""How events are asked for on the command line: the options, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from damd.errors import DamdError

if TYPE_CHECKING:
    from damd.catalogue.store import Catalogue
    from damd.world import World


MOST_EVENTS = 1_000_000
"""Asked for at once: more would be read by nobody, and too large a number by no database."""
_LONGEST_ID = 64


def parse_when(text: str) -> datetime:
    """A moment in ISO 8601, in the local time zone where it names none, or a duration ago.

    Raises:
        typer.BadParameter: It is neither.
    """
    from damd.settings import parse_duration

    with suppress(ValueError, OverflowError):
        return datetime.now(UTC) - parse_duration(text)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is no moment: write a date (2026-05-04), a date and a time (2026-05-04T10:30, "
            "local unless it ends with a time zone such as Z or +02:00), or how long ago (30m, 2h, 7d)"
        ) from None


SinceOption = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        parser=parse_when,
        metavar="WHEN",
        help="Only what happened then or later: a date, a date and a time (local without a zone), or how long ago: 2h.",
    ),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option("--until", parser=parse_when, metavar="WHEN", help="Only what happened before; written likewise."),
]
TypeOption = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="TYPE", help="Only events of this type, such as file.imported; may be repeated."),
]


async def check_types(catalogue: Catalogue, types: Sequence[str]) -> None:
    """Refuse a type that damd does not publish, unless the catalogue has such events, a plugin's.

    Raises:
        typer.BadParameter: With all the types there are.
    """
    from damd.catalogue.announced import stored_types
    from damd.catalogue.deliveries import Selection
    from damd.events import EVENTS

    if all(name in EVENTS for name in types):
        return
    known = dict.fromkeys([*EVENTS, *await catalogue.read(lambda session: stored_types(session, Selection()))])
    for name in types:
        if name not in known:
            raise typer.BadParameter(
                f"there are no events of the type {name!r}; there are {', '.join(known)}", param_hint="--type"
            )


async def check_endpoint(world: World, name: str) -> None:
    """Refuse the name of an endpoint that neither the catalogue nor the configuration knows.

    Raises:
        typer.BadParameter: With those that they know.
    """
    from damd.catalogue.endpoints import known_endpoints
    from damd.catalogue.store import Catalogue
    from damd.config import Config

    configured = world.get_resource(Config).endpoints
    stored = await world.get_resource(Catalogue).read(known_endpoints)
    refuse_unknown(name, sorted({*configured, *(each.name for each in stored)}))


def refuse_unknown(name: str, known: Sequence[str]) -> None:
    """Refuse an endpoint that is not among those.

    Raises:
        typer.BadParameter: With those that are.
    """
    if name not in known:
        there_are = f"there are {', '.join(known)}" if known else "there is none: `subscribers:` names them"
        raise typer.BadParameter(f"there is no endpoint {name!r}; {there_are}", param_hint="--endpoint")


async def find_ids(catalogue: Catalogue, beginnings: Sequence[str]) -> list[str]:
    """The ids of the events that a person means by these, or by their beginnings.

    Raises:
        DamdError: There is no such event, or there are several.
    """
    from damd.catalogue.announced import find_events

    # Arguments may hold bytes that are no text, which no database takes.
    askable = [each for each in beginnings if each and len(each) <= _LONGEST_ID and each.isprintable()]
    no_ids: dict[str, list[str]] = {each: [] for each in beginnings}
    found = no_ids | await catalogue.read(partial(find_events, beginnings=askable))
    for beginning, ids in found.items():
        if not ids:
            raise DamdError(
                f"No event is {beginning[:_LONGEST_ID]!r}: give its id, or its beginning, as damd events list shows"
            )
        if len(ids) > 1:
            raise DamdError(f"The ids of several events begin with {beginning!r}: give more of it")
    return [event_id for [event_id] in found.values()]
