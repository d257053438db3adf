"""The guide is a contract: a program that makes its calls, with other import lines, gets what it promises."""

import shutil
import sys
import textwrap
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from pictures import make_picture
from PIL import Image

import damd.catalogue.queries as file_functions
import damd.catalogue.queries as hash_functions
import damd.thumbnails as thumbnail_functions
from damd.assembly import open_world, register_systems
from damd.catalogue.queries import find_asset
from damd.catalogue.store import Catalogue
from damd.config import Config, load_config
from damd.events import FileImportedEvent
from damd.ingest.ingest_file import IngestFileCommand
from damd.results import IngestResult, IngestStatus
from damd.world import BaseCommand, BaseEvent, CommandResult, World, handles_command, handles_event

pytestmark = pytest.mark.anyio


# What a reader of the guide writes: commands that are plain dataclasses, and three handlers that call one another.


@dataclass
class TakeInCommand(BaseCommand):
    file_path: Path


@dataclass
class SortByHashCommand(BaseCommand):
    file_path: Path
    file_hash: str


@dataclass
class ThumbnailCommand(BaseCommand):
    file_path: Path
    file_hash: str


@dataclass
class TakenInEvent(BaseEvent):
    file_path: Path


@handles_command(TakeInCommand)
async def take_in(cmd: TakeInCommand, world: World) -> Any:
    if await file_functions.is_path_imported(world, cmd.file_path):
        return {"status": "SKIPPED", "reason": "Path already imported"}
    file_hash = await hash_functions.calculate_hash(cmd.file_path)
    return await world.dispatch_command(SortByHashCommand(file_path=cmd.file_path, file_hash=file_hash))


@handles_command(SortByHashCommand)
async def sort_by_hash(cmd: SortByHashCommand, world: World) -> Any:
    if await hash_functions.does_hash_exist(world, cmd.file_hash):
        return {"status": "SKIPPED", "reason": "Duplicate hash"}
    file_type = file_functions.get_file_type(cmd.file_path)
    if file_type == "image":
        return await world.dispatch_command(ThumbnailCommand(file_path=cmd.file_path, file_hash=cmd.file_hash))
    return {"status": "FAILED", "reason": "Unsupported file type"}


@handles_command(ThumbnailCommand)
async def make_thumbnail(cmd: ThumbnailCommand) -> Any:
    thumbnail_path = await thumbnail_functions.generate(cmd.file_path)
    return {"status": "SUCCESS", "thumbnail_path": str(thumbnail_path)}


def setup_world(world: World) -> None:
    world.register_system(take_in, command_type=TakeInCommand)
    world.register_system(sort_by_hash, command_type=SortByHashCommand)
    world.register_system(make_thumbnail, command_type=ThumbnailCommand)


async def test_a_program_of_the_guides_shape_gets_the_end_of_its_chain(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.jpg")
    async with open_world(Config(state=tmp_path / "state")) as world:
        setup_world(world)
        result = await world.dispatch_command(TakeInCommand(file_path=picture))
        thumbnail = result.results[0]["thumbnail_path"]
        assert result.results == [{"status": "SUCCESS", "thumbnail_path": thumbnail}]
        assert isinstance(result, CommandResult)
        assert result.one() == result.results[0]
        with Image.open(thumbnail) as preview:
            assert preview.size == (160, 120)
        assert await world.dispatch_command(TakeInCommand(picture)) == result, "it records nothing, so it does it again"


async def test_a_program_of_the_guides_shape_learns_what_damd_has_imported(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.jpg")
    copy, text = Path(shutil.copy(picture, tmp_path / "copy.jpg")), tmp_path / "text.jpg"
    text.write_text("no picture")
    async with open_world(Config(state=tmp_path / "state")) as world:
        register_systems(world)
        setup_world(world)
        await world.dispatch_command(IngestFileCommand(file_path=picture))
        answers = [(await world.dispatch_command(TakeInCommand(path))).results for path in (picture, copy, text)]
    assert answers == [
        [{"status": "SKIPPED", "reason": "Path already imported"}],
        [{"status": "SKIPPED", "reason": "Duplicate hash"}],
        [{"status": "FAILED", "reason": "Unsupported file type"}],
    ]


async def test_damds_own_chain_answers_in_the_guides_words(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.jpg")
    copy, text = Path(shutil.copy(picture, tmp_path / "copy.jpg")), tmp_path / "text.jpg"
    text.write_text("no picture")
    async with open_world(Config(state=tmp_path / "state")) as world:
        register_systems(world)

        async def ingest(path: Path) -> IngestResult:
            (result,) = (await world.dispatch_command(IngestFileCommand(file_path=path))).results
            assert isinstance(result, IngestResult)
            return result

        first = await ingest(picture)
        assert (first.status, first.reason) == (IngestStatus.SUCCESS, None)
        assert first.sha256 == await hash_functions.calculate_hash(picture)
        with Image.open(first.thumbnail_path or "") as preview:
            assert preview.format == "WEBP"
        others = [await ingest(path) for path in (picture, copy, copy, text)]
    assert [(result.status, result.reason) for result in others] == [
        ("SKIPPED", "Path already imported"),
        ("SKIPPED", "Duplicate hash"),
        ("SKIPPED", "Path already imported"),
        ("FAILED", "Unsupported file type"),
    ]
    assert [result.asset_id for result in others] == [first.asset_id] * 3 + [None]


async def test_a_path_with_other_content_is_not_imported_and_one_that_is_gone_is_known_by_its_name(
    tmp_path: Path,
) -> None:
    picture = make_picture(tmp_path / "a.jpg")
    async with open_world(Config(state=tmp_path / "state")) as world:
        register_systems(world)
        assert not await file_functions.is_path_imported(world, picture)
        await world.dispatch_command(IngestFileCommand(file_path=picture))
        assert await file_functions.is_path_imported(world, str(picture))
        make_picture(picture, size=(90, 60))
        assert not await file_functions.is_path_imported(world, picture)
        picture.unlink()
        assert await file_functions.is_path_imported(world, picture)
        assert not await hash_functions.does_hash_exist(world, "0" * 64)


async def test_an_event_is_told_without_anybody_waiting_for_it() -> None:
    heard: list[Path] = []
    may_hear = anyio.Event()

    @handles_event(TakenInEvent)
    async def hear(event: TakenInEvent) -> None:
        await may_hear.wait()
        heard.append(event.file_path)

    async with World() as world:
        world.register_system(hear, event_type=TakenInEvent)
        await world.dispatch_event(TakenInEvent(Path("a.jpg")))
        assert heard == []
        may_hear.set()
    assert heard == [Path("a.jpg")]


async def test_who_asks_to_know_of_imports_hears_of_them_when_they_have_committed(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.jpg")
    heard: list[tuple[FileImportedEvent, int | None]] = []

    @handles_event(FileImportedEvent)
    async def hear(event: FileImportedEvent, catalogue: Catalogue) -> None:
        heard.append((event, await catalogue.read(lambda session: find_asset(session, event.sha256))))

    async with open_world(Config(state=tmp_path / "state")) as world:
        register_systems(world)
        world.register_system(hear)
        for _ in range(2):
            await world.dispatch_command(IngestFileCommand(file_path=picture))
    ((event, asset_id),) = heard
    assert (event.path, event.asset_id, event.root) == (str(picture), asset_id, None)
    with pytest.raises(FrozenInstanceError):
        event.asset_id = 0  # type: ignore[misc]


PLUGIN = """
    from dataclasses import dataclass
    from pathlib import Path

    from damd.events import FileImportedEvent
    from damd.ingest.ingest_file import IngestFileCommand
    from damd.world import BaseCommand, World, handles_command, handles_event

    heard = []

    @dataclass
    class GreetCommand(BaseCommand):
        name: str

    @handles_command(GreetCommand)
    def greet(cmd: GreetCommand) -> str:
        return f"Hello, {cmd.name}"

    @handles_event(FileImportedEvent)
    async def on_import(event: "FileImportedEvent", world: "World") -> None:
        greeting = await world.dispatch_command(GreetCommand(Path(event.path).name))
        heard.extend(greeting.results)

    def setup(world: World) -> None:
        world.register_system(greet, command_type=GreetCommand)
        world.register_system(on_import)
"""


async def test_a_plugin_named_in_the_configuration_hears_of_imports_and_brings_its_own_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "plugin_of_the_guide.py").write_text(textwrap.dedent(PLUGIN))
    monkeypatch.syspath_prepend(modules)
    settings = tmp_path / "config.yaml"
    settings.write_text(f"state: {tmp_path / 'state'}\nplugins: [plugin_of_the_guide]\n")
    picture = make_picture(tmp_path / "a.jpg")
    try:
        config = load_config(settings)
        plugin: Any = sys.modules["plugin_of_the_guide"]
        async with open_world(config) as world:
            register_systems(world)
            result = await world.dispatch_command(IngestFileCommand(file_path=picture))
            assert (await world.dispatch_command(plugin.GreetCommand("you"))).results == ["Hello, you"]
    finally:
        sys.modules.pop("plugin_of_the_guide", None)
    assert result.one().status == "SUCCESS"
    assert plugin.heard == ["Hello, a.jpg"]
