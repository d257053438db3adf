"""``damd refresh``."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import typer

from damd.cli.application import (
    EXIT_FILES_FAILED,
    ConfigOption,
    JsonOption,
    StateOption,
    console,
    load,
    open_existing,
    print_json,
    printable,
    say,
)

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream
    from rich.progress import Progress

    from damd.catalogue.roots import Place
    from damd.config import Config
    from damd.results import IngestResult
    from damd.world import CommandResult, World

Result = TypeVar("Result")

_FAILED = "FAILED"
_IMPORTED = "IMPORTED"
_OUTDATED = "OUTDATED"
_UNCHANGED = "UNCHANGED"
_WORDS = {
    "REFRESHED": "read again",
    _IMPORTED: "imported",
    _OUTDATED: "would be read again",
    _UNCHANGED: "still of no type that is read",
    "UNREACHABLE": "not there",
    _FAILED: "failed",
}


def refresh(
    rate: Annotated[
        float, typer.Option("--rate", metavar="N", min=0.01, help="Read at most so many files a second.")
    ] = 10.0,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Read no more files than that, this time.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read again and why, and change nothing.")
    ] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read again what an older damd read, and make missing previews.

    Files of types that were not supported are tried again where they are now. A daemon may run. Interrupted,
    it goes on where it was when it is started again. The exit code is 0, or 3 if files failed; each of those is
    told with its reason, and keeps what was known of it.
    """
    import anyio

    from damd import logs

    settings = load(config, state)
    logs.configure("warning", settings.logging.format)
    refreshing = Refreshing(settings, rate=rate, limit=limit, as_json=as_json, dry_run=dry_run)
    if anyio.run(refreshing.run):
        raise typer.Exit(EXIT_FILES_FAILED)


class Pace:
    """A steady pace: so many starts a second at most, and what was late is not made up for."""

    def __init__(self, rate: float) -> None:
        self._interval_s = 1 / rate
        self._next_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """For how long to wait until the next start, which then counts as made."""
        start_s = max(self._next_s, now_s)
        self._next_s = start_s + self._interval_s
        return start_s - now_s


class _Task(NamedTuple):
    """An asset to read again, or a file that failed for its type alone, to import now."""

    why: str
    asset_id: int | None = None
    path: Path | None = None
    place: Place | None = None
    is_counted: bool = True


class _Outcome(NamedTuple):
    """What became of a task."""

    status: str
    asset_id: int | None
    path: Path | None
    reason: str | None


class Refreshing:
    """Read again what is outdated, telling each outcome as it comes."""

    def __init__(self, config: Config, *, rate: float, limit: int | None, as_json: bool, dry_run: bool) -> None:
        self._config = config
        self._pace = Pace(rate)
        self._limit = limit
        self._as_json = as_json
        self._dry_run = dry_run
        self._outcomes: Counter[str] = Counter()
        self._progress: Progress | None = None

    async def run(self) -> int:
        """Refresh everything; returns how many files failed."""
        from damd.assembly import register_systems

        async with open_existing(self._config) as world:
            register_systems(world)
            try:
                with await self._show_progress(world):
                    await self._refresh(world)
            finally:  # also where it was interrupted: what is done is done
                self._sum_up()
        return self._outcomes[_FAILED]

    async def _refresh(self, world: World) -> None:
        import anyio

        from damd.sandbox import Sandbox

        send, receive = anyio.create_memory_object_stream[_Task]()
        async with anyio.create_task_group() as tasks:
            for _ in range(world.get_resource(Sandbox).worker_count):
                tasks.start_soon(self._work, world, receive.clone())
            receive.close()
            async with send:
                started = 0
                async for task in self._find(world):
                    if not self._dry_run:
                        await anyio.sleep(self._pace.wait_s(anyio.current_time()))
                    await send.send(task)
                    started += 1
                    if started == self._limit:
                        break

    async def _find(self, world: World) -> AsyncIterator[_Task]:
        from damd.ingest.outdated import outdated_assets, unsupported_files

        async for outdated in outdated_assets(world):
            yield _Task(outdated.why, outdated.asset_id, is_counted=outdated.certain)
        async for path, place in unsupported_files(world, ["", *self._config.roots]):
            yield _Task("its type is read now", path=path, place=place, is_counted=False)

    async def _work(self, world: World, tasks: MemoryObjectReceiveStream[_Task]) -> None:
        async with tasks:
            async for task in tasks:
                outcome = await (self._foresee if self._dry_run else self._do)(world, task)
                self._report(outcome)
                if self._progress is not None and task.is_counted:
                    self._progress.advance(self._progress.task_ids[0])

    async def _do(self, world: World, task: _Task) -> _Outcome:
        from damd.ingest.ingest_file import IngestFileCommand
        from damd.ingest.outdated import let_in
        from damd.ingest.refresh_asset import RefreshAssetCommand, RefreshResult
        from damd.results import IngestResult

        if task.asset_id is not None:
            command = RefreshAssetCommand(asset_id=task.asset_id)
            refreshed = _only(RefreshResult, await world.dispatch_command(command))
            return _Outcome(refreshed.status, refreshed.asset_id, refreshed.path, refreshed.reason)
        assert task.path is not None and task.place is not None  # noqa: S101, PT018 - a task is the one or the other
        await let_in(world, task.place)
        ingested = await world.dispatch_command(IngestFileCommand(file_path=task.path))
        return _imported(task.path, _only(IngestResult, ingested))

    async def _foresee(self, world: World, task: _Task) -> _Outcome:
        from damd.catalogue.outdated import known_asset
        from damd.catalogue.store import Catalogue
        from damd.ingest.refresh_asset import path_of

        asset_id = task.asset_id
        if asset_id is None:
            return _Outcome(_OUTDATED, None, task.path, task.why)
        known = await world.get_resource(Catalogue).read(lambda session: known_asset(session, asset_id))
        path = path_of(world, known.locations[0][0]) if known and known.locations else None
        return _Outcome(_OUTDATED, asset_id, path, task.why)

    async def _show_progress(self, world: World) -> AbstractContextManager[object]:
        """A bar where a person looks on and the lines of the results do not already tell."""
        if not sys.stderr.isatty() or (sys.stdout.isatty() and (self._as_json or self._dry_run)):
            return nullcontext()
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from damd.ingest.outdated import count_outdated

        total = min(await count_outdated(world), self._limit or sys.maxsize)
        columns = (TextColumn("reading again"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console(stderr=True), transient=True)
        self._progress.add_task("", total=total)
        return self._progress

    def _report(self, outcome: _Outcome) -> None:
        from damd.events import readable, readable_path

        self._outcomes[outcome.status] += 1
        path = None if outcome.path is None else os.fsencode(outcome.path)
        if self._as_json:
            text, path_base64 = (None, None) if path is None else readable_path(path)
            spelt = {"path": text} | ({"path_base64": path_base64} if path_base64 else {})
            print_json({"asset_id": outcome.asset_id, **spelt, "status": outcome.status, "reason": outcome.reason})
            return
        what = f"asset {outcome.asset_id}" if path is None else readable(path)
        if self._dry_run:
            typer.echo(printable(f"would read again: {what}: {outcome.reason}"))
        elif outcome.status in {_FAILED, "UNREACHABLE"}:
            words = printable(f"{outcome.status}: {what}: {outcome.reason}")
            say(words) if self._progress is None else self._progress.console.print(words)

    def _sum_up(self) -> None:
        verb = _OUTDATED if self._dry_run else "REFRESHED"
        told = [verb, *(status for status in _WORDS if status != verb and self._outcomes[status])]
        say(", ".join(f"{self._outcomes[status]} {_WORDS[status]}" for status in told))


def _only(kind: type[Result], answer: CommandResult) -> Result:
    """Its result of this kind; a plugin's systems may have given others."""
    return next(result for result in answer.results if isinstance(result, kind))


def _imported(path: Path, result: IngestResult) -> _Outcome:
    """What became of a file whose type was not read before."""
    from damd.errors import UnsupportedTypeError

    status = _IMPORTED
    if result.status == _FAILED:
        refused = (result.reason or "").startswith(str(UnsupportedTypeError()))
        status = _UNCHANGED if refused else _FAILED
    return _Outcome(status, result.asset_id, path, result.reason)
