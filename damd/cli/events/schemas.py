"""``damd events schema``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer


def schema(
    event_type: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="The event's type; without one, all in one document.")
    ] = None,
) -> None:
    """Print the JSON Schema of what receivers are sent."""
    from damd.events import EVENTS, json_schema

    if event_type is not None and event_type not in EVENTS:
        raise typer.BadParameter(
            f"damd publishes no event {event_type!r}; it publishes {', '.join(EVENTS)}", param_hint="TYPE"
        )
    document = json_schema(EVENTS[event_type]) if event_type is not None else _of_all()
    typer.echo(json.dumps(document, indent=2))


def _of_all() -> dict[str, Any]:
    """One document that every event is valid by; what they share is defined at its end, where it is looked for."""
    from damd.events import EVENTS, json_schema

    schemas = [json_schema(event_type) for event_type in EVENTS.values()]
    dialects = {each.pop("$schema") for each in schemas}
    shared = {name: each for one in schemas for name, each in one.pop("$defs", {}).items()}
    return {
        "$schema": dialects.pop(),
        "title": "What damd sends",
        "oneOf": schemas,
        **({"$defs": shared} if shared else {}),
    }
