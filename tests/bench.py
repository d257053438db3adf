"""A bench: a World with somebody who looks on, and may meddle; for every test of ingesting."""

import inspect
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import sqlalchemy
from pictures import make_picture
from sqlmodel import Session, col, select

from damd.assembly import open_world, register_systems
from damd.catalogue.components import Preview
from damd.catalogue.queries import KnownPath, find_path
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import ContentHash, Entity, Failure, FileProperties, Location
from damd.config import Config
from damd.events import FileChangedEvent, FileImportedEvent, FileMovedEvent
from damd.ingest.ingest_file import IngestFileCommand
from damd.ingest.process_by_hash import ProcessFileByHashCommand
from damd.media.image import ProcessImageCommand
from damd.results import IngestResult
from damd.thumbnails import Thumbnails
from damd.world import BaseCommand, CommandResult, World

_serials = count()


class Bench:
    """A World with an onlooker at the two places where a file could change unseen: hashed, and about to be read.

    Attributes:
        folder: A root (``inbox``); types that nobody reads fail there.
        shelf: Another one (``shelf``), where they are catalogued.
        outside: A folder outside every root.
        hashed: The commands that went out after a file was hashed.
        read: The commands that went out before a picture is decoded.
        told: The imports that were announced.
        moved: The moves.
        changed: The changes in place.
        after_hashing: Called, and awaited, with each of `hashed`; may raise what it likes.
        before_reading: The same, with each of `read`.
    """

    def __init__(self, world: World, folder: Path, shelf: Path, outside: Path) -> None:
        self.world = world
        self._folders = folder, shelf, outside
        self.folder, self.shelf, self.outside = self._folders
        self.catalogue = world.get_resource(Catalogue)
        self.thumbnails = world.get_resource(Thumbnails)
        self.reset()

    def move_to(self, name: str) -> None:
        """Take a new folder of this name in each of the roots, and outside."""
        self.folder, self.shelf, self.outside = (folder / name for folder in self._folders)
        for folder in (self.folder, self.shelf, self.outside):
            folder.mkdir()

    def reset(self) -> None:
        """Forget what was seen, and stop meddling."""
        self.hashed: list[ProcessFileByHashCommand] = []
        self.read: list[ProcessImageCommand] = []
        self.told: list[FileImportedEvent] = []
        self.moved: list[FileMovedEvent] = []
        self.changed: list[FileChangedEvent] = []
        self.after_hashing: Callable[[ProcessFileByHashCommand], Any] = lambda command: None
        self.before_reading: Callable[[ProcessImageCommand], Any] = lambda command: None

    async def look_on_hashed(self, command: ProcessFileByHashCommand) -> CommandResult:
        self.hashed.append(command)
        return await _call(self.after_hashing, command)

    async def look_on_read(self, command: ProcessImageCommand) -> CommandResult:
        self.read.append(command)
        return await _call(self.before_reading, command)

    async def hear(self, event: FileImportedEvent) -> None:
        self.told.append(event)

    async def hear_of_move(self, event: FileMovedEvent) -> None:
        self.moved.append(event)

    async def hear_of_change(self, event: FileChangedEvent) -> None:
        self.changed.append(event)

    def picture(self, name: str, **options: Any) -> Path:
        """A JPEG that no other test has."""
        return make_picture(self.folder / name, comment=f"number {next(_serials)}", **options)

    async def ingest(self, path: Path, *, moved_from: Path | None = None) -> IngestResult:
        command = IngestFileCommand(file_path=path, moved_from=moved_from)
        result = (await self.world.dispatch_command(command)).one()
        assert isinstance(result, IngestResult)
        await anyio.wait_all_tasks_blocked()  # until it has been told
        return result

    async def known(self, path: Path) -> KnownPath:
        place = self.world.get_resource(Roots).place(path)
        return await self.catalogue.read(lambda session: find_path(session, place))

    async def asset_at(self, path: Path) -> int | None:
        location = (await self.known(path)).location
        return location.asset_id if location else None

    async def failure(self, path: Path) -> Failure | None:
        place = self.world.get_resource(Roots).place(path)
        statement = select(Failure).where(Failure.root == place.root, Failure.path == place.path)
        return await self.catalogue.read(lambda session: session.exec(statement).first())

    async def locations(self, asset_id: int | None) -> set[bytes]:
        """The names of the files that hold an asset's bytes."""
        statement = select(Location.path).where(Location.entity_id == asset_id)
        paths = await self.catalogue.read(lambda session: session.exec(statement).all())
        return {os.path.basename(path) for path in paths}  # noqa: PTH119 - bytes

    async def count(self, table: type[Any]) -> int:
        statement = sqlalchemy.select(sqlalchemy.func.count()).select_from(table)
        return await self.catalogue.read(lambda session: int(session.execute(statement).scalar_one()))

    def previews(self, sha256: str) -> list[Path]:
        """This content's previews that lie in their places."""
        sizes = self.thumbnails.settings.sizes
        return [path for path in (self.thumbnails.path(sha256, size) for size in sizes) if path.exists()]

    async def check(self) -> None:
        """Nothing half done, whatever the test has done to it."""
        drafts = self.thumbnails.folder / ".drafts"
        assert list(drafts.iterdir()) == []
        assert await self.catalogue.read(_half_assets) == []
        for path in await self.catalogue.read(lambda session: session.exec(select(Preview.path)).all()):
            assert (self.thumbnails.folder / path).exists()


async def _call(onlooker: Callable[[Any], Any], command: BaseCommand) -> CommandResult:
    answer = onlooker(command)
    if inspect.isawaitable(answer):
        await answer
    return CommandResult(results=[])  # it looks on; only damd's own systems answer


def _half_assets(session: Session) -> list[int]:
    statement = (
        sqlalchemy.select(col(Entity.id))
        .outerjoin(ContentHash, col(ContentHash.entity_id) == Entity.id)
        .outerjoin(FileProperties, col(FileProperties.entity_id) == Entity.id)
        .where(col(ContentHash.sha256).is_(None) | col(FileProperties.size_bytes).is_(None))
    )
    return list(session.scalars(statement))


@asynccontextmanager
async def open_bench(folder: Path, **fields: Any) -> AsyncIterator[Bench]:
    """A bench of its own, for a test that leaves its World in another state than it was."""
    inbox, shelf, outside = (folder / name for name in ("inbox", "shelf", "outside"))
    for each in (inbox, shelf, outside):
        each.mkdir(exist_ok=True)
    watch = [{"path": inbox}, {"path": shelf, "unsupported": "catalogue"}]
    config = Config.model_validate({"state": folder / "state", "watch": watch, "ingest": {"workers": 2}} | fields)
    async with open_world(config) as world:
        bench = Bench(world, inbox, shelf, outside)
        world.register_system(bench.look_on_hashed, command_type=ProcessFileByHashCommand)
        world.register_system(bench.look_on_read, command_type=ProcessImageCommand)
        world.register_system(bench.hear, event_type=FileImportedEvent)
        world.register_system(bench.hear_of_move, event_type=FileMovedEvent)
        world.register_system(bench.hear_of_change, event_type=FileChangedEvent)
        register_systems(world)
        yield bench
