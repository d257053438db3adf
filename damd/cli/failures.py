"""``damd failures``."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from damd.cli.application import (
    EXIT_FILES_FAILED,
    ConfigOption,
    JsonOption,
    StateOption,
    load,
    open_existing,
    print_json,
    printable,
)
from damd.cli.words import when

if TYPE_CHECKING:
    from damd.config import Config

_PAGE = 200

failures = typer.Typer(
    no_args_is_help=True, help="List the files that failed, or try them again.", rich_markup_mode=None
)


@failures.command("list")
def list_failures(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the files that failed, and why."""
    import anyio

    anyio.run(_list, load(config, state), as_json)


@failures.command()
def retry(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]", readable=False, help="These files; all that failed, if none is named."),
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try failed files again now, final or not.

    The exit code is 0, or 3 if files failed again; each of those is told with its reason.
    """
    import anyio

    from damd import logs
    from damd.cli.ingest import Ingestion

    settings = load(config, state)
    logs.configure("warning", settings.logging.format)
    again = anyio.run(_forget, settings, paths or [])
    if anyio.run(Ingestion(settings, again, as_json=as_json, dry_run=False).run):
        raise typer.Exit(EXIT_FILES_FAILED)


async def _list(config: Config, as_json: bool) -> None:
    from damd.catalogue.describe import failure_page
    from damd.catalogue.roots import Roots
    from damd.catalogue.store import Catalogue

    async with open_existing(config) as world:
        page = functools.partial(failure_page, roots=world.get_resource(Roots), limit=_PAGE)
        after = 0
        while failed := await world.get_resource(Catalogue).read(functools.partial(page, after=after)):
            for failure in failed:
                if as_json:
                    print_json(failure)
                    continue
                then = "final" if failure["permanent"] else f"again at {when(failure['next_attempt_at'])}"
                kind = f", {failure['mime_type']}" if failure["mime_type"] else ""
                typer.echo(printable(f"{failure['path']}: {failure['reason']} ({then}{kind})"))
            after = failed[-1]["failure_id"]


async def _forget(config: Config, paths: list[Path]) -> list[Path]:
    """Forget the failures of these paths, or of all; returns what is to be tried again."""
    import anyio.to_thread

    from damd.catalogue.describe import failing_paths
    from damd.catalogue.failing import forget_failures
    from damd.catalogue.roots import Roots
    from damd.catalogue.store import Catalogue

    async with open_existing(config) as world:
        catalogue, roots = world.get_resource(Catalogue), world.get_resource(Roots)
        if not paths:
            paths = [
                Path(os.fsdecode(path)) for path in await catalogue.read(functools.partial(failing_paths, roots=roots))
            ]
        places = await anyio.to_thread.run_sync(lambda: [roots.place(path) for path in paths])
        await catalogue.write(functools.partial(forget_failures, places=places))
    return paths
