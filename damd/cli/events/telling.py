"""An event and its deliveries as lines for people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from damd.cli.application import print_json, printable
from damd.cli.words import how_often

if TYPE_CHECKING:
    from damd.catalogue.store import Catalogue

_PAGE = 200
_TYPE = 19  # columns, as many as the longest of damd's own has


async def described(
    catalogue: Catalogue, revisions: Sequence[int], *, types: Sequence[str] = ()
) -> AsyncIterator[dict[str, Any]]:
    """What there is to say of the events of these revisions, a page at a time."""
    from damd.catalogue.announced import describe_events

    for start in range(0, len(revisions), _PAGE):
        page = partial(describe_events, revisions=revisions[start : start + _PAGE], types=types)
        for event in await catalogue.read(page):
            yield event


def tell(event: dict[str, Any], deliveries: Iterable[dict[str, Any]] = (), *, as_json: bool) -> None:
    """An event on a line of standard output, with what became of these deliveries of it."""
    if as_json:
        print_json(event)
        return
    data = event["data"]
    where = str(data.get("path") or data.get("root") or "-")
    if data.get("previous_path"):
        where = f"{data['previous_path']} -> {where}"
    if data.get("reason"):
        where = f"{where}: {data['reason']}"
    facts = [
        local(event["timestamp"]),
        f"{event['type']:<{_TYPE}}",
        where,
        event["event_id"],
        *map(fate, deliveries),
    ]
    typer.echo(printable("  ".join(facts)))


def local(moment: str) -> str:
    """A moment in ISO 8601 as the local time: ``2026-05-04 10:11:12+02:00``."""
    return datetime.fromisoformat(moment).astimezone().isoformat(" ", "seconds")


def fate(delivery: dict[str, Any]) -> str:
    """What became of a delivery so far."""
    name, attempts = delivery["endpoint"], delivery["attempts"]
    if delivery["state"] == "delivered":
        return f"{name}: delivered {local(delivery['delivered_at'])}"
    tried = f"tried {how_often(attempts)}" if attempts else "not tried yet"
    error = f": {delivery['last_error']}" if delivery["last_error"] else ""
    if delivery["state"] == "parked":
        why = "is disabled" if delivery["parked_because"] == "disabled" else "was removed"
        return f"{name}: parked, since it {why} ({tried}{error})"
    due = f", next {local(delivery['next_attempt_at'])}" if delivery["next_attempt_at"] else ""
    return f"{name}: owed ({tried}{due}{error})"
