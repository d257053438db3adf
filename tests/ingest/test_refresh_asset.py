"""Reading an asset's file again, and what is found to be read again."""

import dataclasses
import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench import Bench
from pictures import make_picture
from sqlalchemy import delete, update
from sqlmodel import col, select

from damd.catalogue.components import Description, PerceptualHash, Preview, ReaderVersion
from damd.catalogue.describe import describe_assets
from damd.catalogue.outdated import FILETYPE
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Component, Failure, FileProperties, now
from damd.ingest.ingest_file import IngestFileCommand
from damd.ingest.outdated import count_outdated, is_still_unread, outdated_assets, unsupported_files
from damd.ingest.refresh_asset import RefreshAssetCommand, RefreshResult
from damd.media.base import (
    Facts,
    Families,
    Family,
    ProcessMediaCommand,
    begin,
    conclude,
    process,
    read_media,
)
from damd.media.document import DocumentProperties
from damd.media.image import ImageProperties
from damd.results import IngestResult
from damd.sandbox import Sandbox
from damd.thumbnails import Thumbnails
from damd.world import World

pytestmark = pytest.mark.anyio
OpenWorld = Callable[..., Awaitable[World]]


@dataclass(frozen=True, kw_only=True)
class ProcessVerseCommand(ProcessMediaCommand):
    """Make an asset of a poem."""


def verse_rows(facts: Facts) -> list[Component]:
    return [DocumentProperties(encrypted=False, pages=facts["lines"])]


async def handle_process_verse(cmd: ProcessVerseCommand, world: World) -> IngestResult:
    return await process(world, cmd, VERSE)


async def handle_with_a_title(cmd: ProcessVerseCommand, world: World) -> IngestResult:
    signature = await begin(cmd)
    async with world.get_resource(Thumbnails).drafts(cmd.file_hash) as drafts:
        reading = await read_media(world, VERSE, cmd.file_path, cmd.mime_type, drafts)
        found = [*reading.components, Description(title="asked of a service")]
        return await conclude(world, cmd, signature, "verse", reading._replace(components=found))


VERSE = Family(
    name="verse",
    mime_types=frozenset({"text/plain"}),
    command=ProcessVerseCommand,
    handler=handle_process_verse,
    reader="verse",
    rows=verse_rows,
    tables=(DocumentProperties,),
)
READS_VERSE = """
from damd.errors import UnsupportedTypeError
def read(path, **options):
    text = open(path).read()
    if text.startswith("prose"):
        raise UnsupportedTypeError("it is prose")
    return {"lines": len(text.splitlines())}
"""
READS_ONLY_ONE_SIZE = """
from PIL import Image
from damd.readers.previews import write_previews
def read(path, *, previews, format, quality, max_pixels):
    page = Image.new("RGB", (40, 30))
    return {"lines": 1, "previews": write_previews(page, previews[:1], format, quality)}
"""
READS_NOTHING = """
from damd.errors import BrokenFileError
def read(path, **options):
    raise BrokenFileError("It is no verse")
"""
MEDDLES = """
from damd.readers import image
def read(path, **options):
    facts = image.read(path, **options)
    open(path, "ab").write(b"more")
    return facts
"""


async def ingest(world: World, path: Path) -> int:
    result = (await world.dispatch_command(IngestFileCommand(file_path=path))).one()
    assert result.status == "SUCCESS", result
    return int(result.asset_id)


async def refresh(world: World, asset_id: int | None) -> RefreshResult:
    assert asset_id is not None
    result = (await world.dispatch_command(RefreshAssetCommand(asset_id=asset_id))).one()
    assert isinstance(result, RefreshResult)
    return result


async def describe(world: World, asset_id: int) -> dict[str, Any]:
    roots, folder = world.get_resource(Roots), world.get_resource(Thumbnails).folder
    catalogue = world.get_resource(Catalogue)
    [described] = await catalogue.read(lambda session: describe_assets(session, [asset_id], roots, folder))
    return described


async def outdated(world: World) -> list[int]:
    return [each.asset_id async for each in outdated_assets(world)]


async def spoil(world: World, asset_id: int) -> None:
    """Leave what an older reader could have left."""
    changes = (
        update(ImageProperties).where(col(ImageProperties.entity_id) == asset_id).values(width=1),
        delete(PerceptualHash).where(col(PerceptualHash.entity_id) == asset_id),
        delete(ReaderVersion).where(col(ReaderVersion.entity_id) == asset_id),
    )
    await world.get_resource(Catalogue).write(lambda session: [session.execute(change) for change in changes])


def use(world: World, folder: Path, code: str, *, name: str, version: int) -> None:
    """Have a further reader, whose code is this; workers that run already do not find it."""
    module = f"reader_{name}_{folder.name}"
    (folder / f"{module}.py").write_text(code)
    world.get_resource(Sandbox).add_reader(name, module, version)


async def test_what_is_read_again_is_as_if_it_were_new_and_nothing_is_announced(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    asset_id = await ingest(bench.world, path)
    as_new = await describe(bench.world, asset_id)
    await spoil(bench.world, asset_id)
    assert asset_id in await outdated(bench.world)
    told = len(bench.told)

    result = await refresh(bench.world, asset_id)
    assert (result.status, result.path, result.reason) == ("REFRESHED", path, None)
    assert await describe(bench.world, asset_id) == as_new
    assert asset_id not in await outdated(bench.world)
    assert len(bench.told) == told


async def test_a_newer_version_of_a_reader_makes_its_assets_outdated_until_they_are_read_again(bench: Bench) -> None:
    first, second = [await ingest(bench.world, bench.picture(name)) for name in ("a.jpg", "b.jpg")]
    sandbox = bench.world.get_resource(Sandbox)
    sandbox.add_reader("image", "damd.readers.image", sandbox.version_of("image") + 1)
    assert {first, second} <= set(await outdated(bench.world))
    assert (await refresh(bench.world, first)).status == "REFRESHED"
    # As after an interruption: what is done is known, and the rest is still to do.
    assert first not in await outdated(bench.world)
    assert second in await outdated(bench.world)


async def test_any_of_its_files_that_is_still_there_will_do(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    copy = bench.folder / "b.jpg"
    copy.write_bytes(path.read_bytes())
    asset_id = await ingest(bench.world, path)
    assert (await bench.ingest(copy)).asset_id == asset_id
    path.unlink()
    result = await refresh(bench.world, asset_id)
    assert (result.status, result.path) == ("REFRESHED", copy)


@pytest.mark.parametrize("deed", ["deleted", "changed", "a folder"])
async def test_a_file_that_is_no_longer_the_one_that_was_recorded_is_left_alone(bench: Bench, deed: str) -> None:
    path = bench.picture("a.jpg")
    asset_id = await ingest(bench.world, path)
    before = await describe(bench.world, asset_id)
    path.unlink()
    if deed == "changed":
        make_picture(path, size=(50, 40))
    elif deed == "a folder":
        path.mkdir()
    result = await refresh(bench.world, asset_id)
    assert (result.status, result.path) == ("UNREACHABLE", path)
    assert "not there, or was changed" in (result.reason or "")
    assert await describe(bench.world, asset_id) == before


async def test_an_asset_that_does_not_exist_is_unreachable(bench: Bench) -> None:
    result = await refresh(bench.world, 10**6)
    assert (result.status, result.path) == ("UNREACHABLE", None)


async def test_a_file_that_cannot_be_read_any_more_keeps_what_was_known(opened: OpenWorld, tmp_path: Path) -> None:
    world = await opened()
    asset_id = await ingest(world, make_picture(tmp_path / "a.jpg"))
    before = await describe(world, asset_id)
    strict = await opened(ingest={"max_pixels": 100})
    result = await refresh(strict, asset_id)
    assert (result.status, result.path) == ("FAILED", tmp_path / "a.jpg")
    assert "max_pixels" in (result.reason or "")
    after = await describe(world, asset_id)
    failed = after["components"].pop("failed_reading")
    assert (failed["reader"], failed["reason"], failed["permanent"]) == ("image", result.reason, True)
    assert after == before


async def test_a_file_that_changes_while_it_is_read_again_is_left_for_a_scan(
    opened: OpenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    world = await opened()
    path = make_picture(tmp_path / "a.jpg")
    asset_id = await ingest(world, path)
    before = await describe(world, asset_id)
    preview = Path(before["previews"][0]["path"])
    stamp = preview.stat().st_mtime_ns  # noqa: ASYNC240 - small, and nobody waits

    meddled = await opened()
    use(meddled, tmp_path, MEDDLES, name="image", version=99)
    result = await refresh(meddled, asset_id)
    assert (result.status, result.path) == ("UNREACHABLE", path)
    assert "changes while it is read" in (result.reason or "")
    assert await describe(world, asset_id) == before
    assert preview.stat().st_mtime_ns == stamp  # noqa: ASYNC240 - small, and nobody waits


async def test_previews_of_new_sizes_and_of_another_format_are_made_and_those_of_before_removed(
    opened: OpenWorld, tmp_path: Path
) -> None:
    world = await opened()
    asset_id = await ingest(world, make_picture(tmp_path / "a.jpg"))
    [former] = (await describe(world, asset_id))["previews"]
    for settings, sizes in (
        ({"sizes": [512, 64]}, {(64, 48), (160, 120)}),
        ({"sizes": [64], "format": "jpeg"}, {(64, 48)}),
    ):
        changed = await opened(thumbnails=settings)
        assert await outdated(changed) == [asset_id]
        assert await count_outdated(changed, within_s=60) == (1, True)
        assert (await refresh(changed, asset_id)).status == "REFRESHED"
        previews = (await describe(changed, asset_id))["previews"]
        assert {(preview["width"], preview["height"]) for preview in previews} == sizes
        files = {path for path in (tmp_path / "state" / "previews").rglob("*") if path.is_file()}
        assert files == {Path(preview["path"]) for preview in previews}
        assert await outdated(changed) == []
    assert not Path(former["path"]).exists()  # noqa: ASYNC240 - small, and nobody waits


async def test_a_preview_whose_file_is_gone_is_made_again(bench: Bench) -> None:
    asset_id = await ingest(bench.world, bench.picture("a.jpg"))
    [preview] = [Path(each["path"]) for each in (await describe(bench.world, asset_id))["previews"]]
    preview.unlink()
    assert asset_id in await outdated(bench.world)
    await refresh(bench.world, asset_id)
    assert preview.is_file()


async def test_what_was_catalogued_as_unsupported_is_read_once_a_family_reads_it_and_refused_only_once(
    opened: OpenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shelf").mkdir()
    watch = [{"path": tmp_path / "shelf", "unsupported": "catalogue"}]
    world = await opened(watch=json.loads(json.dumps(watch, default=str)))
    poem, prose = (tmp_path / "shelf" / name for name in ("poem.txt", "prose.txt"))
    poem.write_text("roses\nare\nred\n")
    prose.write_text("prose, and nothing else")
    poem_id, prose_id = await ingest(world, poem), await ingest(world, prose)
    assert await outdated(world) == []
    # It was taken for something else, as types were told then: the bytes decide.
    changes = (
        update(FileProperties).where(col(FileProperties.entity_id) == poem_id).values(mime_type=None),
        update(ReaderVersion).where(col(ReaderVersion.entity_id) == poem_id).values(version=0),
    )
    await world.get_resource(Catalogue).write(lambda session: [session.execute(change) for change in changes])

    use(world, tmp_path, READS_VERSE, name="verse", version=1)
    world.get_resource(Families).add(VERSE)
    assert await outdated(world) == [poem_id, prose_id]
    assert (await refresh(world, poem_id)).status == "REFRESHED"
    refused = await refresh(world, prose_id)
    assert (refused.status, refused.reason) == ("UNCHANGED", "Unsupported file type: it is prose")
    described = await describe(world, poem_id)
    assert (described["family"], described["mime_type"]) == ("verse", "text/plain")
    assert described["components"]["document_properties"]["pages"] == 3
    assert (await describe(world, prose_id))["family"] is None
    assert await outdated(world) == []

    use(world, tmp_path, READS_VERSE, name="verse", version=2)
    assert await outdated(world) == [poem_id, prose_id]


async def test_files_that_failed_for_their_type_are_found_where_it_is_read_now_and_only_there(
    opened: OpenWorld, tmp_path: Path
) -> None:
    world = await opened()
    poem, data = tmp_path / "poem.txt", tmp_path / "data.bin"
    poem.write_text("roses are red")
    data.write_bytes(b"\0\1\2\3" * 50)
    gone = tmp_path / "gone.txt"
    gone.write_text("violets are blue")
    for path in (poem, data, gone):
        assert (await world.dispatch_command(IngestFileCommand(file_path=path))).one().status == "FAILED"
    gone.unlink()
    find = functools.partial(unsupported_files, world)
    assert [path async for path, _ in find([""])] == []
    told_before = update(Failure).where(col(Failure.mime_type).is_(None)).values(reader_version=0)
    await world.get_resource(Catalogue).write(lambda session: session.execute(told_before))
    [(path, failed)] = [each async for each in find([""])]
    assert path == data
    assert await is_still_unread(world, path, failed)
    assert [path async for path, _ in find([""])] == []
    world.get_resource(Families).add(VERSE)
    [(path, failed)] = [each async for each in find([""])]
    assert path == poem
    assert not await is_still_unread(world, path, failed)
    assert [path async for path, _ in find(["inbox"])] == []


async def test_reading_again_leaves_as_many_previews_as_there_were(bench: Bench) -> None:
    asset_id = await ingest(bench.world, bench.picture("a.jpg"))
    for _ in range(2):
        await refresh(bench.world, asset_id)
    statement = select(Preview).where(Preview.entity_id == asset_id)
    assert len(await bench.catalogue.read(lambda session: session.exec(statement).all())) == 1


async def read_verse(world: World, folder: Path, **changes: Any) -> int:
    """An asset of a family that was added just now, by a reader of version 1."""
    family = dataclasses.replace(VERSE, **changes)
    use(world, folder, READS_VERSE, name="verse", version=1)
    world.get_resource(Families).add(family)
    world.register_system(family.handler, command_type=ProcessVerseCommand)
    (folder / "poem.txt").write_text("roses\nare\nred\n")
    return await ingest(world, folder / "poem.txt")


async def open_newer(opened: OpenWorld, folder: Path, code: str, **fields: Any) -> World:
    """The same catalogue with a reader of verse whose version is 2, and whose code is this."""
    world = await opened(**fields)
    world.get_resource(Families).add(VERSE)
    use(world, folder, code, name="verse", version=2)
    return world


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which workers find modules, as in its ``newer``."""
    (tmp_path / "newer").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "newer")
    return tmp_path


async def test_what_a_familys_handler_adds_by_itself_outlives_a_second_reading(
    opened: OpenWorld, modules: Path
) -> None:
    world = await opened()
    asset_id = await read_verse(world, modules, handler=handle_with_a_title)
    before = await describe(world, asset_id)
    use(world, modules, READS_VERSE, name="verse", version=2)
    assert await outdated(world) == [asset_id]
    assert (await refresh(world, asset_id)).status == "REFRESHED"
    after = await describe(world, asset_id)
    assert after["components"].pop("reader_version") == {"reader": "verse", "version": 2}
    assert before["components"].pop("reader_version") == {"reader": "verse", "version": 1}
    assert after == before
    assert after["components"]["description"]["title"] == "asked of a service"


async def test_a_family_that_has_no_rows_of_its_own_is_left_alone(opened: OpenWorld, modules: Path) -> None:
    world = await opened()
    asset_id = await read_verse(world, modules)
    before = await describe(world, asset_id)
    world.get_resource(Families).add(dataclasses.replace(VERSE, rows=Family.rows))
    use(world, modules, READS_VERSE, name="verse", version=2)
    assert await outdated(world) == []
    left = await refresh(world, asset_id)
    assert left.status == "UNCHANGED"
    assert left.reason == "The family verse has no reader by which it could be read again"
    assert await describe(world, asset_id) == before


async def test_what_todays_reader_cannot_read_is_left_to_a_newer_one(opened: OpenWorld, modules: Path) -> None:
    asset_id = await read_verse(await opened(), modules)
    world = await open_newer(opened, modules / "newer", READS_NOTHING)
    assert await outdated(world) == [asset_id]
    failed = await refresh(world, asset_id)
    assert (failed.status, failed.reason) == ("FAILED", "It is no verse")
    assert await outdated(world) == []
    assert await count_outdated(world, within_s=60) == (0, True)
    use(world, modules / "newer", READS_NOTHING, name="verse", version=3)
    assert [each.asset_id async for each in outdated_assets(world, failed_before=now())] == [asset_id]


async def test_a_reader_that_makes_fewer_previews_than_there_are_sizes_is_asked_once(
    opened: OpenWorld, modules: Path
) -> None:
    asset_id = await read_verse(await opened(), modules)
    world = await open_newer(opened, modules / "newer", READS_ONLY_ONE_SIZE, thumbnails={"sizes": [32, 64]})
    assert (await refresh(world, asset_id)).status == "REFRESHED"
    assert await outdated(world) == []
    [preview] = (await describe(world, asset_id))["previews"]
    Path(preview["path"]).unlink()  # noqa: ASYNC240 - small, and nobody waits
    assert await outdated(world) == [asset_id]


async def test_nobodys_refusal_is_noted_as_such_and_does_not_outlive_it(opened: OpenWorld, modules: Path) -> None:
    world = await opened()
    poem = modules / "poem.txt"
    poem.write_text("roses\nare\nred\n")
    for _ in range(2):
        assert (await world.dispatch_command(IngestFileCommand(file_path=poem))).one().status == "FAILED"
    noted = select(Failure.reader, Failure.reader_version, Failure.mime_type)
    assert await world.get_resource(Catalogue).read(lambda session: session.exec(noted).one()) == (
        *FILETYPE,
        "text/plain",
    )
    assert await read_verse(world, modules)


async def test_the_count_ends_when_its_time_is_over(bench: Bench) -> None:
    asset_id = await ingest(bench.world, bench.picture("a.jpg"))
    await spoil(bench.world, asset_id)
    counted = await count_outdated(bench.world, within_s=-1)
    assert counted.number > 0
    assert not counted.complete
    assert (await count_outdated(bench.world, within_s=60)).complete
