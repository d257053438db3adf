"""``damd ingest``."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from damd.cli.application import (
    EXIT_FILES_FAILED,
    ConfigOption,
    JsonOption,
    StateOption,
    console,
    load,
    print_json,
    printable,
    say,
)

if TYPE_CHECKING:
    from anyio.streams.memory import MemoryObjectReceiveStream
    from rich.progress import Progress

    from damd.config import Config
    from damd.results import IngestResult
    from damd.world import World

_PIECE = 1000
_FORETOLD = {"SUCCESS": "would import", "SKIPPED": "would skip", "FAILED": "would fail"}


def ingest(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", readable=False, help="Files, or folders with all that is in them.")
    ],
    config: ConfigOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be imported, and change nothing.")] = False,
) -> None:
    """Import files now; a daemon need not run, and may.

    The exit code is 0, or 3 if files failed; each of those is told with its reason.
    """
    import anyio

    from damd import logs
    from damd.catalogue.engine import catalogue_exists

    settings = load(config, state)
    logs.configure("warning", settings.logging.format)
    with tempfile.TemporaryDirectory() as scratch:
        if dry_run and not catalogue_exists(settings.catalogue, settings.state):
            # Nothing is known yet, and a dry run must not begin a catalogue.
            settings = settings.model_copy(update={"state": Path(scratch)})
        failed = anyio.run(Ingestion(settings, paths, as_json=as_json, dry_run=dry_run).run)
    if failed:
        raise typer.Exit(EXIT_FILES_FAILED)


class Ingestion:
    """Ingest what these paths name, telling each result as it comes."""

    def __init__(self, config: Config, paths: Sequence[Path], *, as_json: bool, dry_run: bool) -> None:
        self._config = config
        self._paths = paths
        self._as_json = as_json
        self._dry_run = dry_run
        self._outcomes: Counter[str] = Counter()
        self._progress: Progress | None = None

    async def run(self) -> int:
        """Ingest everything; returns how many files failed."""
        import anyio

        from damd.assembly import open_world, register_systems
        from damd.intake import COMMANDS_PER_WORKER
        from damd.sandbox import Sandbox

        began = time.monotonic()
        async with open_world(self._config, claims_roots=not self._dry_run) as world:
            register_systems(world)
            with await self._show_progress():
                send, receive = anyio.create_memory_object_stream[Path]()
                async with anyio.create_task_group() as tasks:
                    for _ in range(COMMANDS_PER_WORKER * world.get_resource(Sandbox).worker_count):
                        tasks.start_soon(self._work, world, receive.clone())
                    receive.close()
                    async with send:
                        async for path in self._find():
                            await send.send(path)
        self._sum_up(time.monotonic() - began)
        return self._outcomes["FAILED"]

    async def _work(self, world: World, paths: MemoryObjectReceiveStream[Path]) -> None:
        from damd.ingest.ingest_file import IngestFileCommand
        from damd.results import IngestResult

        async with paths:
            async for path in paths:
                if self._dry_run:
                    await self._report(world, path, await _foresee(world, path))
                    continue
                dispatched = await world.dispatch_command(IngestFileCommand(file_path=path))
                for result in dispatched.results:
                    if isinstance(result, IngestResult):
                        await self._report(world, path, result)

    async def _find(self) -> AsyncIterator[Path]:
        """Every file, in the order of the arguments, and of the bytes below each folder."""
        import anyio.to_thread

        walk = self._walk()
        while piece := await anyio.to_thread.run_sync(lambda: list(itertools.islice(walk, _PIECE))):
            for path in piece:
                yield path

    def _walk(self) -> Iterator[Path]:
        from damd.watch.ignore import IgnoreRules
        from damd.watch.tree import Tree

        for path in self._paths:
            # Not Path's own questions, which raise where a folder is closed or a name too long.
            if not os.path.isdir(path):  # noqa: PTH112 - see above
                # A link that is named is meant; one that is come across is not followed.
                yield path.resolve() if os.path.exists(path) else path.absolute()  # noqa: PTH110 - see above
                continue
            folder = os.fsencode(path.resolve())
            state = os.fsencode(self._config.state.resolve())
            tree = Tree(root="", folder=folder, recursive=True, rules=IgnoreRules(folder=folder), excluded=state)
            for files in tree.walk():
                for below, _ in files:
                    yield Path(os.fsdecode(tree.absolute(below)))

    async def _show_progress(self) -> AbstractContextManager[object]:
        """A bar where a person looks on and the lines of the results do not already tell."""
        import anyio.to_thread

        if not sys.stderr.isatty() or (sys.stdout.isatty() and self._as_json):
            return nullcontext()
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        total = await anyio.to_thread.run_sync(lambda: sum(1 for _ in self._walk()))
        columns = (TextColumn("ingesting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console(stderr=True), transient=True)
        self._progress.add_task("", total=total)
        return self._progress

    async def _report(self, world: World, path: Path, result: IngestResult) -> None:
        from damd.events import readable

        self._outcomes[result.status] += 1
        if self._progress is not None:
            self._progress.advance(self._progress.task_ids[0])
        if self._as_json:
            print_json(await _as_json(world, path, result))
        elif self._dry_run:
            typer.echo(printable(f"{_FORETOLD[result.status]}: {readable(path)}{_because(result)}"))
        elif result.status == "FAILED":
            words = printable(f"FAILED: {readable(path)}{_because(result)}")
            say(words) if self._progress is None else self._progress.console.print(words)

    def _sum_up(self, seconds: float) -> None:
        verb = "would be imported" if self._dry_run else "imported"
        counts = ((self._outcomes["SUCCESS"], verb), (self._outcomes["SKIPPED"], "skipped"))
        words = ", ".join(f"{count} {word}" for count, word in (*counts, (self._outcomes["FAILED"], "failed")))
        say(f"{words}, in {seconds:.1f} s")


def _because(result: IngestResult) -> str:
    return f": {result.reason}" if result.reason else ""


async def _as_json(world: World, path: Path, result: IngestResult) -> dict[str, Any]:
    from damd.catalogue.queries import family_and_preview
    from damd.catalogue.store import Catalogue
    from damd.events import readable_path
    from damd.thumbnails import Thumbnails

    text, path_base64 = readable_path(os.fsencode(path))
    family, thumbnail_path = result.family, result.thumbnail_path
    asset_id = result.asset_id
    if asset_id is not None and thumbnail_path is None:
        family, preview = await world.get_resource(Catalogue).read(
            lambda session: family_and_preview(session, asset_id)
        )
        thumbnail_path = str(world.get_resource(Thumbnails).folder / preview) if preview else None
    return {
        "path": text,
        **({"path_base64": path_base64} if path_base64 else {}),
        "status": result.status,
        "reason": result.reason,
        "asset_id": asset_id,
        "sha256": result.sha256,
        "family": family,
        "thumbnail_path": thumbnail_path,
    }


def _leads_somewhere(path: Path) -> bool:
    return os.path.islink(path) and os.path.exists(path)  # noqa: PTH114, PTH110 - these raise nothing


async def _foresee(world: World, path: Path) -> IngestResult:
    """What ingesting this file would come to, as far as can be known without reading pictures."""
    import anyio.to_thread

    from damd.catalogue.queries import does_hash_exist, find_path, is_path_imported
    from damd.catalogue.roots import Roots
    from damd.catalogue.store import Catalogue
    from damd.errors import FileError, UnsupportedTypeError
    from damd.filetype import get_mime_type
    from damd.fingerprint import calculate_hash, take_signature
    from damd.ingest.ingest_file import still_stands
    from damd.ingest.policy import RootPolicies
    from damd.media.base import Families
    from damd.results import DUPLICATE_HASH, LINK_NOT_FOLLOWED, PATH_ALREADY_IMPORTED, IngestResult, IngestStatus

    try:
        if await anyio.to_thread.run_sync(_leads_somewhere, path):
            return IngestResult(status=IngestStatus.SKIPPED, reason=LINK_NOT_FOLLOWED)
        signature = await anyio.to_thread.run_sync(take_signature, path)
        if await is_path_imported(world, path):
            return IngestResult(status=IngestStatus.SKIPPED, reason=PATH_ALREADY_IMPORTED)
        place = await anyio.to_thread.run_sync(world.get_resource(Roots).place, path)
        failure = (await world.get_resource(Catalogue).read(lambda session: find_path(session, place))).failure
        policy, families = world.get_resource(RootPolicies).of(place.root), world.get_resource(Families)
        if failure is not None and still_stands(failure, signature, policy, families):
            return IngestResult(status=IngestStatus.FAILED, reason=failure.reason)
        sha256 = await calculate_hash(path)
        if await does_hash_exist(world, sha256):
            return IngestResult(status=IngestStatus.SKIPPED, reason=DUPLICATE_HASH, sha256=sha256)
        mime_type = await anyio.to_thread.run_sync(get_mime_type, path)
        family = families.of(mime_type)
        if family is None and not policy.catalogue_unsupported:
            raise UnsupportedTypeError(mime_type=mime_type)
    except (FileError, OSError) as error:
        return IngestResult(status=IngestStatus.FAILED, reason=str(error))
    return IngestResult(status=IngestStatus.SUCCESS, sha256=sha256, family=family.name if family else None)
