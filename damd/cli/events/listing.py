"""``damd events list`` and ``damd events show``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from damd.cli.application import ConfigOption, JsonOption, StateOption, load, open_existing, print_json, printable, say
from damd.cli.completion import endpoint_names
from damd.cli.events.asking import (
    MOST_EVENTS,
    SinceOption,
    TypeOption,
    UntilOption,
    check_endpoint,
    check_types,
    find_ids,
)
from damd.cli.events.telling import described, fate, local, tell
from damd.errors import DamdError

if TYPE_CHECKING:
    from damd.catalogue.announced import Question
    from damd.config import Config


def list_events(
    since: SinceOption = None,
    until: UntilOption = None,
    types: TypeOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=endpoint_names,
            help="Only what there is a delivery of to this endpoint, and how that went.",
        ),
    ] = None,
    owed: Annotated[bool, typer.Option("--owed", help="Only what is not delivered yet, and why.")] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=MOST_EVENTS, metavar="N", help="The most events: the newest ones.")
    ] = 50,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the events, the newest last.

    The columns: local time, type, path, id, and with --endpoint or --owed what became of the deliveries.
    """
    import anyio

    settings = load(config, state)
    from damd.catalogue.announced import Question
    from damd.catalogue.deliveries import Selection

    question = Question(Selection(since=since, until=until, types=types or ()), endpoint, owed)
    anyio.run(_list, settings, question, limit, as_json)


async def _list(config: Config, question: Question, limit: int, as_json: bool) -> None:
    from damd.catalogue.announced import newest_events
    from damd.catalogue.outbox import awaits_fan_out
    from damd.catalogue.store import Catalogue

    async with open_existing(config) as world:
        catalogue = world.get_resource(Catalogue)
        await check_types(catalogue, question.selection.types)
        if question.endpoint is not None:
            await check_endpoint(world, question.endpoint)
        revisions = await catalogue.read(partial(newest_events, question=question, limit=limit))
        async for event in described(catalogue, revisions):
            tell(event, _concerned(event, question), as_json=as_json)
        asks_for_deliveries = question.owed or question.endpoint is not None
        if asks_for_deliveries and await catalogue.read(awaits_fan_out):
            say("There are events whose deliveries are still to be made: damd run makes them")


def _concerned(event: dict[str, Any], question: Question) -> Iterator[dict[str, Any]]:
    """The deliveries that the question is about."""
    if question.owed or question.endpoint is not None:
        for delivery in event["deliveries"]:
            is_meant = question.endpoint in {None, delivery["endpoint"]}
            if is_meant and not (question.owed and delivery["state"] == "delivered"):
                yield delivery


def show(
    event: Annotated[str, typer.Argument(metavar="ID", help="The event's id, or the beginning of it.")],
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an event in full, and each of its deliveries."""
    import anyio

    anyio.run(_show, load(config, state), event, as_json)


async def _show(config: Config, event: str, as_json: bool) -> None:
    from damd.catalogue.announced import revision_of
    from damd.catalogue.store import Catalogue

    async with open_existing(config) as world:
        catalogue = world.get_resource(Catalogue)
        [event_id] = await find_ids(catalogue, [event])
        revision = await catalogue.read(partial(revision_of, event_id=event_id))
        found = [each async for each in described(catalogue, [revision] if revision is not None else [])]
    if not found:
        raise DamdError(f"The event {event_id} was forgotten just now")
    if as_json:
        print_json(found[0])
    else:
        typer.echo("\n".join(map(printable, _lines(found[0]))))


def _lines(event: dict[str, Any]) -> Iterator[str]:
    yield f"event_id   {event['event_id']}"
    yield f"type       {event['type']}"
    yield f"timestamp  {local(event['timestamp'])}"
    yield f"revision   {event['revision']}"
    first, *rest = json.dumps(event["data"], indent=2, ensure_ascii=False).split("\n")
    yield f"data       {first}"
    yield from rest
    for delivery in event["deliveries"]:
        yield f"delivery   {fate(delivery)}"
        if delivery["last_status"] is not None:
            yield f"  status   {delivery['last_status']}"
        if delivery["last_response"] is not None:
            yield f"  answer   {delivery['last_response']}"
    if not event["fanned_out"]:
        yield "Its deliveries are still to be made: damd run makes them."
    elif not event["deliveries"]:
        yield "No endpoint was to hear of it; damd events replay sends it to one."
