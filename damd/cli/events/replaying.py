"""``damd events replay``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from damd.cli.application import (
    EXIT_FAILURE,
    ConfigOption,
    JsonOption,
    StateOption,
    load,
    open_existing,
    print_json,
    printable,
    say,
)
from damd.cli.completion import endpoint_names
from damd.cli.events.asking import (
    SinceOption,
    TypeOption,
    UntilOption,
    check_types,
    find_ids,
    refuse_unknown,
)
from damd.errors import DaemonUnreachableError, DamdError

if TYPE_CHECKING:
    from sqlmodel import Session

    from damd.catalogue.deliveries import Selection
    from damd.catalogue.store import Catalogue
    from damd.catalogue.tables import Endpoint
    from damd.config import Config
    from damd.events import Subscription


@dataclass(frozen=True, kw_only=True)
class _Asked:
    selection: Selection
    endpoint: str | None
    only_missing: bool
    dry_run: bool


class _Endpoint(NamedTuple):
    """To whom it goes; `asks` is None where it is not configured."""

    name: str
    asks: Subscription | None
    takes_any_type: bool
    parked_because: str | None

    def wants(self, event_type: str) -> bool:
        """Whether it is sent this type."""
        return self.takes_any_type or self.asks is None or self.asks.wants(event_type)


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    endpoint: str
    events: int
    unwanted_types: list[str]
    parked_because: str | None
    dry_run: bool


def replay(
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="These events, by their ids or the beginnings of them."),
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    types: TypeOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            autocompletion=endpoint_names,
            help="To this endpoint alone; without it, to every one.",
        ),
    ] = None,
    missing: Annotated[
        bool,
        typer.Option("--missing", help="Only what an endpoint never had, such as what happened before it was added."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many events that would be.")] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have events sent again, under the ids that they have.

    An endpoint is sent only types that it subscribed to, unless both are named. The daemon sends them.
    """
    import anyio

    from damd.catalogue.deliveries import Selection

    if not (ids or since or until or types or missing):
        raise typer.BadParameter("say which: give ids, or --since, --until, --type or --missing", param_hint="ID")
    selection = Selection(ids=ids or (), since=since, until=until, types=types or ())
    asked = _Asked(selection=selection, endpoint=endpoint, only_missing=missing, dry_run=dry_run)
    anyio.run(_replay, load(config, state), asked, as_json)


async def _replay(config: Config, asked: _Asked, as_json: bool) -> None:
    from damd.catalogue.endpoints import known_endpoints
    from damd.catalogue.store import Catalogue

    async with open_existing(config) as world:
        catalogue = world.get_resource(Catalogue)
        stored = {each.name: each for each in await catalogue.read(known_endpoints)}
        await check_types(catalogue, asked.selection.types)
        endpoints = list(_endpoints(config, stored, asked))
        selection = asked.selection._replace(ids=await find_ids(catalogue, asked.selection.ids))
        outcomes = []
        for endpoint in endpoints:
            outcomes.append(await _replay_to(endpoint, catalogue, selection, asked))
            _tell(outcomes[-1], as_json=as_json)
    if not outcomes:
        raise typer.Exit(EXIT_FAILURE)  # why was said
    if not asked.dry_run and any(each.events for each in outcomes) and not await _daemon_runs(config):
        say(f"No damd runs on {config.state}: damd run sends them")


def _endpoints(config: Config, stored: Mapping[str, Endpoint], asked: _Asked) -> Iterator[_Endpoint]:
    """Those that it goes to; what cannot be decided is said.

    Raises:
        typer.BadParameter: There is none of that name.
        DamdError: There is none at all.
    """
    attached = {name for name, each in stored.items() if each.removed_at is None}
    if asked.endpoint is not None:
        refuse_unknown(asked.endpoint, sorted({*config.endpoints, *stored}))
    elif not config.endpoints and not attached:
        raise DamdError("There is no endpoint to send anything to: `subscribers:` in the configuration names them")
    # Who names both means just that; of who is not configured, only the catalogue's own words are known.
    is_explicit = asked.endpoint is not None and bool(asked.selection.types or asked.selection.ids)
    takes_any_type = asked.endpoint is not None and bool(asked.selection.types)
    for name in sorted({*config.endpoints, *attached}) if asked.endpoint is None else [asked.endpoint]:
        asks = config.endpoints.get(name)
        if asks is None and not is_explicit:
            say(
                f"{name} is not in this configuration, so that it is not known what it subscribed to: "
                "give the configuration with --config, or name both --endpoint and --type"
            )
            continue
        parked_because = _why_parked(stored.get(name), is_configured=name in config.endpoints)
        yield _Endpoint(name, asks, takes_any_type, parked_because)


async def _replay_to(endpoint: _Endpoint, catalogue: Catalogue, selection: Selection, asked: _Asked) -> _Outcome:
    from damd.catalogue.announced import count_of_replay, stored_types

    wanted: list[str] = []
    unwanted: list[str] = []
    for event_type in await catalogue.read(partial(stored_types, selection=selection)):
        (wanted if endpoint.wants(event_type) else unwanted).append(event_type)
    its_own = selection._replace(types=wanted)
    events = 0
    if wanted and asked.dry_run:
        count = partial(count_of_replay, selection=its_own, endpoint=endpoint.name, only_missing=asked.only_missing)
        events = await catalogue.read(count)
    elif wanted:
        events = await catalogue.write(partial(_send, endpoint=endpoint, selection=its_own, asked=asked))
    return _Outcome(
        endpoint=endpoint.name,
        events=events,
        unwanted_types=unwanted,
        parked_because=endpoint.parked_because,
        dry_run=asked.dry_run,
    )


def _send(session: Session, endpoint: _Endpoint, selection: Selection, asked: _Asked) -> int:
    from damd.catalogue.deliveries import replay as replay_events
    from damd.catalogue.endpoints import attach
    from damd.catalogue.tables import now

    at = now()
    if endpoint.asks is not None:
        attach(session, {endpoint.name: endpoint.asks}, at=at)  # what nobody known is owed might be forgotten
    return replay_events(session, selection, endpoint.name, only_missing=asked.only_missing, at=at)


def _why_parked(endpoint: Endpoint | None, *, is_configured: bool) -> str | None:
    """Why an endpoint's deliveries wait, whether or not damd runs."""
    if endpoint is None or endpoint.removed_at is not None:
        return "new" if is_configured else "removed"
    return "disabled" if endpoint.disabled_at is not None else None


async def _daemon_runs(config: Config) -> bool:
    from damd.cli.asking import ask_status

    try:
        return await ask_status(config) is not None
    except DaemonUnreachableError:
        return False
    except DamdError:
        return True  # it is another user's


_WAITING = {
    "disabled": "it is disabled: they wait until damd webhooks enable {name}",
    "removed": "it was removed from the configuration: they wait until it is back",
    "new": "it is new to the catalogue: a damd that runs already sends them after its next start",
}


def _tell(outcome: _Outcome, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(outcome))
        return
    events = "1 event" if outcome.events == 1 else f"{outcome.events} events"
    said = [f"{outcome.endpoint}: {events} {'would be' if outcome.dry_run else 'will be'} sent"]
    if outcome.unwanted_types:
        said.append(f"it did not subscribe to {', '.join(outcome.unwanted_types)}")
    if outcome.events and outcome.parked_because:
        said.append(_WAITING[outcome.parked_because].format(name=outcome.endpoint))
    typer.echo(printable("; ".join(said)))
