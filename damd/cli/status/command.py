"""``damd status``, once or again and again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from damd.cli.application import (
    ConfigOption,
    JsonOption,
    StateOption,
    console,
    note_missing_state,
    print_json,
    printable,
)
from damd.cli.asking import ask_daemon, load_to_ask
from damd.cli.status.asking import ask_again_and_again, catalogue_alone
from damd.cli.status.drawing import drawing
from damd.cli.status.standing import Line, lines
from damd.errors import DaemonUnreachableError

if TYPE_CHECKING:
    from rich.console import Console

    from damd.config import Config

_DRAWN_EACH_S = 1.0
_PRINTED_EACH_S = 2.0


def status(
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show it again and again until Ctrl-C, whether or not the daemon goes and comes."),
    ] = False,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Print the daemon's metrics, in the text format of Prometheus.")
    ] = False,
) -> None:
    """Show what the running daemon is doing.

    The JSON is the daemon's own answer. Where none runs, the exit code is 69, and only what the catalogue holds is
    shown: then there is nothing but its counts in the JSON, under the key catalogue.
    """
    import anyio

    if watch and metrics:
        raise typer.BadParameter("it goes with no other way of showing", param_hint="--metrics")
    settings = load_to_ask(config, state)
    show = _metrics if metrics else _watch if watch else _status
    anyio.run(show, settings, as_json)


async def _metrics(config: Config, _: bool) -> None:
    answer = await ask_daemon(config, "metrics")
    typer.echo(answer["text"], nl=False)


async def _status(config: Config, as_json: bool) -> None:
    from damd import control

    try:
        _show(await control.ask(config.state, "status"), as_json=as_json)
    except DaemonUnreachableError as error:
        absence = error
    else:
        return
    catalogue = await catalogue_alone(config)
    if catalogue is not None:
        _show({"catalogue": catalogue}, as_json=as_json)
    note_missing_state(config)
    raise absence


def _show(answer: dict[str, Any], *, as_json: bool) -> None:
    out = console()
    if as_json:
        print_json(answer)
    elif out.is_terminal:
        out.print(drawing(answer, datetime.now(UTC), width=out.width))
    else:
        typer.echo(_block(lines(answer, datetime.now(UTC))))


def _block(told: Iterable[Line]) -> str:
    return "\n".join(" " * line.indent + printable(line.text) for line in told)


async def _watch(config: Config, as_json: bool) -> None:
    out = console()
    if out.is_terminal and not as_json:
        await _draw(config, out)
        return
    async for answer in ask_again_and_again(config, pause_s=_PRINTED_EACH_S):
        if as_json:
            print_json(answer)
            continue
        at = datetime.now(UTC)
        typer.echo(
            _block([Line(f"{at:%Y-%m-%d %H:%M:%S %Z}"), *_absence(config, answer), *lines(answer, at), Line("")])
        )


async def _draw(config: Config, out: Console) -> None:
    """On a screen of its own, which leaves the terminal as it was."""
    from rich.live import Live

    with Live(console=out, screen=True, auto_refresh=False) as live:
        async for answer in ask_again_and_again(config, pause_s=_DRAWN_EACH_S):
            at = datetime.now(UTC)
            live.update(drawing(answer, at, width=out.width, before=_absence(config, answer)), refresh=True)


def _absence(config: Config, answer: dict[str, Any]) -> list[Line]:
    if "pid" in answer:
        return []
    return [Line(f"{DaemonUnreachableError(str(config.state))}. It is waited for.", style="bold yellow")]
