"""Which assets are outdated, and the recording of a second reading, over each of the catalogue's databases."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlmodel import col, select

from damd.catalogue.outdated import (
    Outdated,
    Reader,
    SecondReading,
    Today,
    known_asset,
    make_due,
    outdated_page,
    record_reading,
    unsupported_page,
)
from damd.catalogue.queries import find_path
from damd.catalogue.record import Finding, NewAsset, Properties, record_asset, record_failure
from damd.catalogue.roots import Place
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import (
    Capture,
    Component,
    FileProperties,
    Location,
    PerceptualHash,
    Preview,
    ReaderVersion,
    RelatedTo,
    now,
)
from damd.errors import BrokenFileError, UnsupportedTypeError
from damd.media.image import FAMILY, ImageProperties

pytestmark = pytest.mark.anyio

MakeAsset = Callable[..., NewAsset]
MakeFinding = Callable[..., Finding]
IMAGE = Reader("image", 2)


async def record(catalogue: Catalogue, asset: NewAsset, read_by: Reader | None = None) -> int:
    if read_by is not None:
        version = ReaderVersion(reader=read_by.name, version=read_by.version)
        asset = asset._replace(components=[*asset.components, version])
    return (await catalogue.write(lambda session: record_asset(session, asset, None))).asset_id


def today(folder: Path, **changes: Any) -> Today:
    return Today({"image/jpeg": IMAGE}, (512, 1024), "webp", folder)._replace(**changes)


async def find(catalogue: Catalogue, at: Today) -> list[Outdated]:
    found, last = await catalogue.read(partial(outdated_page, today=at))
    assert last >= max((outdated.asset_id for outdated in found), default=0)
    return found


async def rows(catalogue: Catalogue, kind: type[Component], asset_id: int) -> Sequence[Any]:
    statement = select(kind).where(kind.entity_id == asset_id)
    return await catalogue.read(lambda session: session.exec(statement).all())


@pytest.fixture
def previews(tmp_path: Path) -> Path:
    """The folder of previews, with those of the contents ``aa…`` and ``bb…`` that `image_asset` speaks of."""
    folder = tmp_path / "previews"
    folder.mkdir()
    for sha256 in ("aa" * 32, "bb" * 32):
        for size in (512, 1024):
            (folder / f"{sha256}-{size}.webp").touch()
    return folder


@pytest.mark.parametrize(
    ("read_by", "is_outdated"),
    [(None, True), (Reader("image", 1), True), (Reader("raw", 9), True), (IMAGE, False), (Reader("image", 3), False)],
    ids=["nobody knows which", "an older one", "another one", "today's", "a newer one"],
)
async def test_the_reader_and_its_version_decide(
    catalogue: Catalogue, image_asset: MakeAsset, previews: Path, read_by: Reader | None, is_outdated: bool
) -> None:
    asset_id = await record(catalogue, image_asset("aa" * 32), read_by)
    found = await find(catalogue, today(previews))
    assert [(each.asset_id, each.certain) for each in found] == ([(asset_id, True)] if is_outdated else [])


async def test_what_no_reader_reads_any_more_is_left_as_it_is(
    catalogue: Catalogue, image_asset: MakeAsset, previews: Path
) -> None:
    await record(catalogue, image_asset("aa" * 32))
    assert await find(catalogue, today(previews, readers={})) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"sizes": (1024,)}, None),
        ({"sizes": (64, 512)}, "it has no preview of 64 pixels"),
        ({"format": "jpeg"}, "its preview of 512 pixels is no jpeg"),
        ({"folder": Path("/nowhere")}, "the file of its preview of 512 pixels is gone"),
    ],
    ids=str,
)
async def test_a_preview_that_is_wanted_and_not_there_is_a_reason(
    catalogue: Catalogue, image_asset: MakeAsset, previews: Path, changes: dict[str, Any], why: str | None
) -> None:
    await record(catalogue, image_asset("aa" * 32), IMAGE)
    found = await find(catalogue, today(previews)._replace(**changes))
    assert [each.why for each in found] == ([why] if why else [])


async def test_an_asset_that_its_reader_made_no_preview_for_is_not_asked_for_one_again(
    catalogue: Catalogue, image_asset: MakeAsset, previews: Path
) -> None:
    asset_id = await record(catalogue, image_asset("aa" * 32), IMAGE)
    await catalogue.write(lambda session: session.execute(delete(Preview).where(col(Preview.entity_id) == asset_id)))
    assert await find(catalogue, today(previews, sizes=(64,))) == []


async def test_an_asset_without_a_family_is_certain_only_where_its_type_is_read(
    catalogue: Catalogue, finding: MakeFinding, previews: Path
) -> None:
    kinds = {"aa": "image/jpeg", "bb": "text/plain", "cc": None}
    numbers = {}
    for name, mime_type in kinds.items():
        properties = Properties(size_bytes=1, first_name=name, mime_type=mime_type)
        asset = NewAsset(name * 32, finding(name.encode()), properties, [])
        numbers[name] = await record(catalogue, asset)
    found = {each.asset_id: each.certain for each in await find(catalogue, today(previews))}
    assert found == {numbers["aa"]: True, numbers["bb"]: False, numbers["cc"]: False}


async def test_a_refusal_by_todays_reader_is_remembered(
    catalogue: Catalogue, finding: MakeFinding, previews: Path
) -> None:
    properties = Properties(size_bytes=1, first_name="a", mime_type="image/jpeg")
    asset_id = await record(catalogue, NewAsset("aa" * 32, finding(b"a"), properties, []))
    refusal = SecondReading((), [ReaderVersion(reader="image", version=2)], "image/jpeg", None)
    assert await catalogue.write(partial(record_reading, asset_id=asset_id, reading=refusal)) == []
    assert await find(catalogue, today(previews)) == []
    newer = today(previews, readers={"image/jpeg": Reader("image", 3)})
    assert [each.asset_id for each in await find(catalogue, newer)] == [asset_id]


async def test_pages_go_on_where_the_last_one_ended(
    catalogue: Catalogue, image_asset: MakeAsset, previews: Path
) -> None:
    numbers = [
        await record(catalogue, image_asset(f"{number:02x}" * 32, f"{number}.jpg".encode()), read_by)
        for number, read_by in enumerate([None, IMAGE, IMAGE, None, None])
    ]
    at, after, found = today(previews, sizes=()), 0, []
    while True:
        page, after = await catalogue.read(partial(outdated_page, today=at, after=after, limit=2))
        found += [each.asset_id for each in page]
        if not after:
            break
    assert found == [numbers[0], numbers[3], numbers[4]]


async def test_an_asset_is_known_with_the_files_that_are_not_missing(
    catalogue: Catalogue, image_asset: MakeAsset
) -> None:
    asset_id = await record(catalogue, image_asset("aa" * 32))
    await record(catalogue, image_asset("aa" * 32, b"b.jpg", size_bytes=7))
    gone = update(Location).where(col(Location.path) == b"a.jpg").values(missing_since=now())
    await catalogue.write(lambda session: session.execute(gone))
    known = await catalogue.read(lambda session: known_asset(session, asset_id))
    assert known is not None
    assert known[:4] == (asset_id, "aa" * 32, "image/jpeg", "image")
    assert [(place, signature.size_bytes) for place, signature in known.locations] == [(Place("inbox", b"b.jpg"), 7)]
    assert await catalogue.read(lambda session: known_asset(session, asset_id + 1)) is None


async def test_a_second_reading_takes_the_place_of_the_first_and_of_nothing_else(
    catalogue: Catalogue, image_asset: MakeAsset
) -> None:
    asset_id = await record(catalogue, image_asset("aa" * 32), Reader("image", 1))
    other_id = await record(catalogue, image_asset("bb" * 32, b"b.jpg"), Reader("image", 1))
    related = RelatedTo(entity_id=asset_id, other_id=other_id, kind="sidecar")
    await catalogue.write(lambda session: session.add(related))
    reading = SecondReading(
        FAMILY.tables,
        [
            ImageProperties(width=1, height=2, orientation=1, color_mode="L", frames=3),
            ReaderVersion(reader="image", version=2),
            Preview(size=1024, path=f"{'aa' * 32}-1024.webp", width=10, height=20),
        ],
        "image/x-new",
        "image",
    )
    for _ in range(2):
        unnamed = await catalogue.write(partial(record_reading, asset_id=asset_id, reading=reading))
        assert set(unnamed or ()) <= {f"{'aa' * 32}-512.webp"}
    [properties] = await rows(catalogue, ImageProperties, asset_id)
    assert (properties.width, properties.frames) == (1, 3)
    assert [preview.width for preview in await rows(catalogue, Preview, asset_id)] == [10]
    assert [each.version for each in await rows(catalogue, ReaderVersion, asset_id)] == [2]
    for kind in (Capture, PerceptualHash):
        assert len(await rows(catalogue, kind, asset_id)) == 0
        assert len(await rows(catalogue, kind, other_id)) == 1
    assert len(await rows(catalogue, RelatedTo, asset_id)) == 1
    [properties] = await rows(catalogue, FileProperties, asset_id)
    assert (properties.mime_type, properties.first_name) == ("image/x-new", "a.jpg")


async def test_nothing_is_recorded_of_an_asset_that_is_gone(catalogue: Catalogue) -> None:
    reading = SecondReading((), [ReaderVersion(reader="image", version=2)], None, None)
    assert await catalogue.write(partial(record_reading, asset_id=9, reading=reading)) is None
    assert len(await rows(catalogue, ReaderVersion, 9)) == 0


async def test_files_that_failed_for_their_type_are_found_by_root_and_can_be_made_due(
    catalogue: Catalogue, finding: MakeFinding
) -> None:
    unsupported = UnsupportedTypeError("no sidecar", mime_type="application/json")
    failed = {
        finding(b"a.json"): unsupported,
        finding(b"b.jpg"): BrokenFileError("It is cut"),
        finding(b"c.json", root="other"): unsupported,
        finding(b"/d.json", root=""): UnsupportedTypeError(),
    }
    for number in (1, 2):
        refused = BrokenFileError("It is no sidecar that this version understands")
        refused.reader = ("sidecar", number)
        failed[finding(b"e%d.json" % number)] = refused
    for each, error in failed.items():
        await catalogue.write(partial(record_failure, finding=each, error=error, at=now()))
    page = partial(unsupported_page, roots=["", "inbox"], versions={"sidecar": 2})
    first = await catalogue.read(partial(page, limit=1))
    rest = await catalogue.read(partial(page, after=first[0][0]))
    assert [place for _, place in [*first, *rest]] == [
        Place("inbox", b"a.json"),
        Place("", b"/d.json"),
        Place("inbox", b"e1.json"),
    ]

    await catalogue.write(lambda session: make_due(session, Place("inbox", b"a.json")))
    known = (await catalogue.read(lambda session: find_path(session, Place("inbox", b"a.json")))).failure
    assert known is not None
    assert (known.permanent, known.reason) == (False, str(unsupported))
    assert known.next_attempt_at is not None
    assert known.next_attempt_at <= now()
