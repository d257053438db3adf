"""``damd refresh``."""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing, nullcontext
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

    from damd.catalogue.outdated import FailedFile, Outdated
    from damd.config import Config
    from damd.results import IngestResult
    from damd.world import CommandResult, World

Result = TypeVar("Result")

_FAILED = "FAILED"
_IMPORTED = "IMPORTED"
_OUTDATED = "OUTDATED"
_UNCHANGED = "UNCHANGED"
_COUNT_S = 2.0  # to know beforehand how much there is to do; beyond that, nobody waits for it
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
        float, typer.Option("--rate", metavar="N", min=0.01, help="Open at most so many files a second.")
    ] = 10.0,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Open no more files than that, this time.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read again and why, and change nothing.")
    ] = False,
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read again what an older damd read, and make missing previews.

    Files of types that were not supported are tried again where they may be now. A daemon may run. Interrupted,
    it goes on where it was when it is started again. The exit code is 0, or 3 if files failed; each of those is
    told with its reason, keeps what was known of it, and is tried again by a newer reader only, or comes last the next
    time where it may have been a passing fault.
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
    """An asset to read again, or a file that failed, to import now."""

    path: Path
    why: str
    asset_id: int | None = None
    failed: FailedFile | None = None


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
            async with send, aclosing(self._find(world)) as found:
                started = 0
                async for task in found:
                    if not self._dry_run:
                        await anyio.sleep(self._pace.wait_s(anyio.current_time()))
                    await send.send(task)
                    started += 1
                    if started == self._limit:
                        break

    async def _find(self, world: World) -> AsyncGenerator[_Task]:
        """What is to be opened; what failed before comes last, lest it keep the rest from its turn."""
        from damd.catalogue.tables import now
        from damd.ingest.outdated import outdated_assets, unsupported_files

        begun_at = now()
        async with aclosing(self._present(world, outdated_assets(world))) as assets:
            async for task in assets:
                yield task
        async with aclosing(unsupported_files(world, ["", *self._config.roots])) as files:
            async for path, failed in files:
                yield _Task(path, "it failed, and may be read now", failed=failed)
        async with aclosing(self._present(world, outdated_assets(world, failed_before=begun_at))) as assets:
            async for task in assets:
                yield task

    async def _present(self, world: World, assets: AsyncGenerator[Outdated]) -> AsyncGenerator[_Task]:
        """Those of which a file is there; the others are told at once, since nothing of them can be opened."""
        from damd.catalogue.outdated import known_asset
        from damd.catalogue.store import Catalogue
        from damd.ingest.outdated import path_of
        from damd.ingest.refresh_asset import NOT_THERE, find_source

        async with aclosing(assets):
            async for asset_id, why in assets:
                query = functools.partial(known_asset, asset_id=asset_id)
                known = await world.get_resource(Catalogue).read(query)
                if known is None or not known.locations:
                    continue  # gone since it was listed
                source = await find_source(world, known)
                if source is not None:
                    yield _Task(source.path, why, asset_id)
                    continue
                path = path_of(world, known.locations[0][0])
                self._tell(_Outcome("UNREACHABLE", asset_id, path, NOT_THERE))

    async def _work(self, world: World, tasks: MemoryObjectReceiveStream[_Task]) -> None:
        async with tasks:
            async for task in tasks:
                if self._dry_run:
                    self._tell(_Outcome(_OUTDATED, task.asset_id, task.path, task.why))
                else:
                    self._tell(await self._do(world, task))

    async def _do(self, world: World, task: _Task) -> _Outcome:
        from damd.errors import UnsupportedTypeError
        from damd.ingest.ingest_file import IngestFileCommand
        from damd.ingest.outdated import is_still_unread, let_in
        from damd.ingest.refresh_asset import RefreshAssetCommand, RefreshResult
        from damd.results import IngestResult

        if task.asset_id is not None:
            command = RefreshAssetCommand(asset_id=task.asset_id)
            refreshed = _only(RefreshResult, await world.dispatch_command(command))
            return _Outcome(refreshed.status, refreshed.asset_id, refreshed.path, refreshed.reason)
        assert task.failed is not None  # noqa: S101 - a task is the one or the other
        if await is_still_unread(world, task.path, task.failed):
            return _Outcome(_UNCHANGED, None, task.path, str(UnsupportedTypeError()))
        await let_in(world, task.failed.place)
        ingested = await world.dispatch_command(IngestFileCommand(file_path=task.path))
        return _imported(task.path, _only(IngestResult, ingested))

    async def _show_progress(self, world: World) -> AbstractContextManager[object]:
        """A bar where a person looks on and the lines of the results do not already tell."""
        if not sys.stderr.isatty() or (sys.stdout.isatty() and (self._as_json or self._dry_run)):
            return nullcontext()
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from damd.ingest.outdated import count_outdated

        count = await count_outdated(world, within_s=_COUNT_S)
        total = min(count.number, self._limit or sys.maxsize) if count.complete else self._limit
        columns = (TextColumn("reading again"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console(stderr=True), transient=True)
        self._progress.add_task("", total=total)
        return self._progress

    def _tell(self, outcome: _Outcome) -> None:
        self._report(outcome)
        if self._progress is not None and outcome.asset_id is not None:
            self._progress.advance(self._progress.task_ids[0])

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
