"""``damd webhooks list``, and what an endpoint is to the configuration and the catalogue together."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from damd.cli.application import ConfigOption, JsonOption, StateOption, load, open_existing, print_json, printable, say
from damd.cli.asking import ask_status
from damd.cli.completion import endpoint_names
from damd.cli.status.standing import trouble_of
from damd.cli.words import count_of_events, when

if TYPE_CHECKING:
    from damd.config import Config
    from damd.settings import Settings

_OF_CATALOGUE = (
    *("added_at", "removed_since", "disabled_since", "disabled_because", "failing_since"),
    *("last_error", "last_failed_at", "last_delivered_at", "next_attempt_at"),
)

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The endpoint's name, as damd webhooks list shows it.", autocompletion=endpoint_names
    ),
]


def list_endpoints(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List webhooks and commands.

    They are the endpoints: events are kept for each, until it has taken them. Each is shown with where it leads to,
    what it wants to hear of, how it fares, and how many events it is owed.
    """
    import anyio

    anyio.run(_list, load(config, state), as_json)


async def _list(config: Config, as_json: bool) -> None:
    endpoints = await describe(config)
    for endpoint in endpoints:
        if as_json:
            print_json(endpoint)
        else:
            typer.echo("\n".join(map(printable, _lines(endpoint))))
    if not endpoints:
        say("There are no webhooks and no commands yet: an entry of `subscribers:` in the configuration makes one")


async def describe(config: Config) -> list[dict[str, Any]]:
    """What there is to say of each endpoint, in the order of their names."""
    states, settings, served = await _states(config), configured(config), await served_now(config)
    return [
        described(name, settings.get(name), states.get(name), is_served=name in served)
        for name in sorted(states | settings)
    ]


async def served_now(config: Config) -> set[str]:
    """The endpoints that the running daemon serves: it may have a configuration that this command was not given."""
    daemon = await ask_status(config)
    return {each["name"] for each in (daemon or {}).get("endpoints", [])}


async def _states(config: Config) -> dict[str, dict[str, Any]]:
    from damd.catalogue.endpoints import endpoint_states
    from damd.catalogue.engine import catalogue_exists
    from damd.catalogue.store import Catalogue

    if not catalogue_exists(config.catalogue, config.state):
        return {}
    async with open_existing(config) as world:
        return {state["name"]: state for state in await world.get_resource(Catalogue).read(endpoint_states)}


def configured(config: Config) -> dict[str, Any]:
    """The settings of each endpoint that the configuration names, by its name."""
    named = ((getattr(settings, "name", ""), settings) for settings in config.subscribers)
    return {name: settings for name, settings in named if name in config.endpoints}


def described(
    name: str, settings: Settings | None, state: dict[str, Any] | None, *, is_served: bool = False
) -> dict[str, Any]:
    """An endpoint as the configuration and the catalogue know it together.

    Beside the catalogue's words for its ``state`` there is ``new``, for one of which the catalogue has not been told,
    or which it knows as removed.
    """
    events = getattr(settings, "events", None)
    from_settings = {
        "name": name,
        "kind": getattr(settings, "kind", None),
        "target": getattr(settings, "target", None),
        "events": None if events is None else list(events),
        "configured": settings is not None or is_served,
    }
    from_catalogue = dict.fromkeys(_OF_CATALOGUE) | {"state": "new", "owed": 0} | (state or {})
    if settings is None and not is_served and from_catalogue["state"] != "disabled":
        from_catalogue["state"] = "removed"
    elif settings is not None and from_catalogue["state"] == "removed":
        from_catalogue["state"] = "new"
    return from_settings | from_catalogue


def _lines(endpoint: dict[str, Any]) -> list[str]:
    target = f" {endpoint['target']}" if endpoint["target"] else ""
    lines = [f"{endpoint['name']}: {endpoint['kind']}{target} ({_state(endpoint)})"]
    parked = endpoint["state"] in {"disabled", "removed"}
    facts = [] if endpoint["events"] is None else [", ".join(endpoint["events"]) or "all events"]
    facts.append(f"{count_of_events(endpoint['owed'])} {'parked' if parked else 'owed'}{_next(endpoint, parked)}")
    if endpoint["last_delivered_at"] is not None:
        facts.append(f"took the last one {when(endpoint['last_delivered_at'])}")
    lines.append(f"  {'; '.join(facts)}")
    if (trouble := trouble_of(endpoint)) is not None:
        lines.append(f"  {trouble}")
    if endpoint["state"] == "disabled":
        lines.append(f"  To have it hear again: damd webhooks enable {endpoint['name']}")
    return lines


def _next(endpoint: dict[str, Any], parked: bool) -> str:
    at = endpoint.get("next_attempt_at")
    if parked or at is None:
        return ""
    return f" (next attempt {when(at)})" if datetime.fromisoformat(at) > datetime.now(UTC) else " (due)"


def _state(endpoint: dict[str, Any]) -> str:
    state: str = endpoint["state"]
    if state == "new":
        return "new: hears from the next start on"
    if state == "removed":
        since = endpoint["removed_since"]
        return "not configured: removed at the next start" if since is None else f"removed since {when(since)}"
    return state if endpoint["configured"] else f"{state}, not configured"


def unknown_endpoint(name: str, known: Iterable[str], where: str = "") -> typer.BadParameter:
    """What is raised, outside of any task group, where nobody knows an endpoint of this name."""
    names = ", ".join(sorted(known)) or "none"
    return typer.BadParameter(f"There is no endpoint {name}{where}; those there are: {names}", param_hint="NAME")
