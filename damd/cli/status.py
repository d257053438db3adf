"""``damd status``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from damd.cli.application import ConfigOption, JsonOption, StateOption, load, print_json, printable

if TYPE_CHECKING:
    from damd.config import Config

_A_MINUTE_S = 60


def status(
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Print the daemon's metrics, in the text format of Prometheus.")
    ] = False,
) -> None:
    """Show what the running daemon is doing.

    Where none runs, the exit code is 69, and only what the catalogue holds is shown.
    """
    import anyio

    settings = load(config, state)
    anyio.run(_metrics if metrics else _status, settings, as_json)


async def _metrics(config: Config, _: bool) -> None:
    from damd import control

    answer = await control.ask(config.state, "metrics")
    typer.echo(answer["text"], nl=False)


async def ask_status(config: Config) -> dict[str, Any] | None:
    """What the running daemon says of itself; None where none runs."""
    from damd import control
    from damd.errors import DaemonUnreachableError

    try:
        return await control.ask(config.state, "status")
    except DaemonUnreachableError:
        return None


def how_long(seconds: float) -> str:
    """A time that has passed, or will, for people: ``12 s``, ``1h30m``."""
    from damd.settings import format_duration

    if seconds < _A_MINUTE_S:
        return f"{seconds:.0f} s"
    return format_duration(timedelta(minutes=round(seconds / _A_MINUTE_S)))


def when(moment: str) -> str:
    """A moment in ISO 8601, for people: ``2026-05-04 10:11:12 UTC``."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M:%S %Z")


def count_of_files(count: int) -> str:
    """``1 file``, ``2 files``."""
    return f"{count} file{'' if count == 1 else 's'}"


def count_of_events(count: int) -> str:
    """``1 event``, ``2 events``."""
    return f"{count} event{'' if count == 1 else 's'}"


def how_often(count: int) -> str:
    """``once``, ``2 times``."""
    return "once" if count == 1 else f"{count} times"


async def _status(config: Config, as_json: bool) -> None:
    from damd.errors import DaemonUnreachableError

    answer = await ask_status(config)
    if answer is not None:
        _show(answer, as_json=as_json)
        return
    catalogue = await _catalogue_alone(config)
    if catalogue is not None:
        _show({"catalogue": catalogue}, as_json=as_json)
    raise DaemonUnreachableError(str(config.state))


async def _catalogue_alone(config: Config) -> dict[str, int] | None:
    from damd.assembly import open_world
    from damd.catalogue.describe import summary
    from damd.catalogue.engine import catalogue_exists
    from damd.catalogue.store import Catalogue

    if not catalogue_exists(config.catalogue, config.state):
        return None  # a question does not begin a catalogue
    async with open_world(config, claims_roots=False) as world:
        return await world.get_resource(Catalogue).read(summary)


def _show(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    lines = []
    if "pid" in answer:
        lines.append(f"damd {answer['version']}, process {answer['pid']}, on {answer['state']}")
        for root in answer["roots"]:
            lines += _root_lines(root)
        for endpoint in answer.get("endpoints", []):  # an older daemon's answer has none
            lines += _endpoint_lines(endpoint)
        oldest = f" (the oldest for {how_long(answer['oldest_s'])})" if answer["waiting"] else ""
        lines.append(f"{answer['waiting']} waiting{oldest}, {answer['in_work']} in work")
        lines.append("since start: " + ", ".join(f"{count} {word}" for word, count in answer["since_start"].items()))
    catalogue = answer["catalogue"]
    lines.append("catalogue: " + ", ".join(f"{word.replace('_', ' ')} {count}" for word, count in catalogue.items()))
    typer.echo("\n".join(map(printable, lines)))


def _root_lines(root: dict[str, Any]) -> list[str]:
    lines = [f"  {root['name']}: {root['path']} ({at_work(root)})"]
    if root["held"] is not None:
        lines.append(f"    HELD, nothing in it is taken for deleted: {root['held']} (see damd roots list)")
    return lines


def _endpoint_lines(endpoint: dict[str, Any]) -> list[str]:
    lines = [f"  {endpoint['name']}: {endpoint['kind']} ({endpoint['state']}, {endpoint['owed']} owed)"]
    if (trouble := trouble_of(endpoint)) is not None:
        lines.append(f"    {trouble} (see damd webhooks list)")
    return lines


def trouble_of(endpoint: dict[str, Any]) -> str | None:
    """Why an endpoint is not brought what it is owed, since when, in a clause; None where all is well."""
    if endpoint["state"] == "disabled":
        return f"DISABLED since {when(endpoint['disabled_since'])}: {endpoint['disabled_because']}"
    if endpoint["state"] == "failing":
        return f"FAILING since {when(endpoint['failing_since'])}: {endpoint['last_error']}"
    return None


def at_work(root: dict[str, Any]) -> str:
    """What a daemon says that it does about a root, on a line."""
    facts = [root["backend"] or "not watched"]
    if root["waiting"]:
        facts.append(f"{root['waiting']} waiting")
    if root["scanning"]:
        facts.append("scanning")
    if root["unwatched"]:
        facts.append(f"polling {root['unwatched']} of its folders")
    if root["renewals"]:
        facts.append(f"watches renewed {how_often(root['renewals'])}")
    return ", ".join(facts)
