"""``damd webhooks disable`` and ``enable``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from damd.cli.application import ConfigOption, JsonOption, StateOption, load, open_existing, print_json, say
from damd.cli.webhooks.listing import NameArgument, configured, describe, described, served_now, unknown_endpoint
from damd.cli.words import count_of_events, when

if TYPE_CHECKING:
    from sqlmodel import Session

    from damd.config import Config

_BY_HAND = "damd webhooks disable asked for it"


def disable(
    name: NameArgument, config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Offer an endpoint nothing, until it is enabled.

    What it is owed waits for it, and so does what happens from now on, for as long as events are kept.
    """
    import anyio

    anyio.run(_disable, load(config, state), name, as_json)


def enable(
    name: NameArgument, config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False
) -> None:
    """Offer a disabled endpoint again what it is owed, at once."""
    import anyio

    anyio.run(_enable, load(config, state), name, as_json)


class _Switched(NamedTuple):
    """How an endpoint stands after somebody asked to disable or to enable it."""

    is_changed: bool
    endpoint: dict[str, Any]
    oldest_owed_at: datetime | None


async def _disable(config: Config, name: str, as_json: bool) -> None:
    from damd.catalogue import endpoints

    asked = {name: config.endpoints[name]} if name in config.endpoints else {}

    def change(session: Session, at: datetime) -> bool:
        endpoints.attach(session, asked, at=at)  # one that is new must not be offered anything at the next start
        return endpoints.disable(session, name, because=_BY_HAND, at=at)

    switched = await _switch(config, name, change)
    if as_json:
        print_json(switched.endpoint | {"changed": switched.is_changed})
        return
    if switched.is_changed:
        say(f"{name} is disabled: from now on it is offered nothing.")
    else:
        since = when(switched.endpoint["disabled_since"])
        say(f"{name} is disabled already, since {since}: {switched.endpoint['disabled_because']}")
    say(_what_waits(config, switched))


async def _enable(config: Config, name: str, as_json: bool) -> None:
    from damd.catalogue import endpoints

    def change(session: Session, at: datetime) -> bool:
        return endpoints.enable(session, name, at=at)

    switched = await _switch(config, name, change)
    if as_json:
        print_json(switched.endpoint | {"changed": switched.is_changed})
        return
    say(f"{name} is enabled." if switched.is_changed else f"{name} was not disabled.")
    say(await _what_is_offered(config, switched.endpoint))


async def _switch(config: Config, name: str, change: Callable[[Session, datetime], bool]) -> _Switched:
    """Make the change in the catalogue.

    Raises:
        typer.BadParameter: Neither the configuration nor the catalogue knows the endpoint.
    """
    from damd.catalogue.endpoints import endpoint_states, oldest_owed_at
    from damd.catalogue.store import Catalogue
    from damd.catalogue.tables import now

    known = {endpoint["name"] for endpoint in await describe(config)}
    if name not in known:
        raise unknown_endpoint(name, known)
    async with open_existing(config) as world:
        catalogue = world.get_resource(Catalogue)
        at = now()
        is_changed = await catalogue.write(lambda session: change(session, at))
        states = {state["name"]: state for state in await catalogue.read(endpoint_states)}
        oldest = await catalogue.read(lambda session: oldest_owed_at(session, name))
    settings, served = configured(config).get(name), await served_now(config)
    return _Switched(is_changed, described(name, settings, states.get(name), is_served=name in served), oldest)


def _what_waits(config: Config, switched: _Switched) -> str:
    from damd.settings import format_duration

    owed, keep = switched.endpoint["owed"], config.events.keep
    waiting = f"{count_of_events(owed)} wait{'s' if owed == 1 else ''} for it" if owed else "Nothing waits for it"
    if switched.oldest_owed_at is not None:
        waiting += f", the oldest until {when((switched.oldest_owed_at + keep).isoformat())}"
    return (
        f"{waiting}. What it wants to hear of from now on waits, too, as long as events are kept: "
        f"{format_duration(keep)} (events.keep).\n"
        f"To have it hear again: damd webhooks enable {switched.endpoint['name']}"
    )


async def _what_is_offered(config: Config, endpoint: dict[str, Any]) -> str:
    if endpoint["state"] == "new":
        return "It is new: it hears from the next start of `damd run` on."
    if not endpoint["configured"]:
        return f"It hears nothing until it is in the configuration; {count_of_events(endpoint['owed'])} kept for it."
    if not endpoint["owed"]:
        return "It is owed nothing."
    owed = f"It is owed {count_of_events(endpoint['owed'])}"
    who = "the daemon" if endpoint["name"] in await served_now(config) else "the next `damd run`"
    return f"{owed}: {who} offers what is due at once."
