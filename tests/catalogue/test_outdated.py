"""Which assets are outdated, and the recording of a second reading, over each of the catalogue's databases."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlmodel import col, select

from damd.catalogue.components import (
    Capture,
    FailedReading,
    PerceptualHash,
    Preview,
    ReaderVersion,
    RelatedTo,
    UnmadePreviews,
)
from damd.catalogue.failing import record_failure
from damd.catalogue.outdated import (
    FILETYPE,
    Outdated,
    Reader,
    SecondReading,
    Today,
    known_asset,
    make_due,
    outdated_page,
    record_reading,
    remember_failure,
    remember_type,
    unsupported_page,
)
from damd.catalogue.queries import find_path
from damd.catalogue.record import Finding, NewAsset, Properties, record_asset
from damd.catalogue.roots import Place
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Component, FileProperties, Location, now
from damd.errors import BrokenFileError, FileError, UnsupportedTypeError
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


async def find(catalogue: Catalogue, at: Today, **options: Any) -> list[Outdated]:
    found, last = await catalogue.read(partial(outdated_page, today=at, **options))
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
    assert [each.asset_id for each in found] == ([asset_id] if is_outdated else [])


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


@pytest.mark.parametrize(
    ("mime_type", "read_by", "why"),
    [
        ("image/jpeg", None, "its type is read now (image/jpeg)"),
        ("image/jpeg", FILETYPE, "its type is read now (image/jpeg)"),
        ("image/jpeg", Reader("image", 1), "its type is read now (image/jpeg)"),
        ("image/jpeg", IMAGE, None),
        ("text/plain", None, "its type may be known today"),
        (None, None, "its type may be known today"),
        ("text/plain", FILETYPE._replace(version=FILETYPE.version - 1), "its type may be known today"),
        ("text/plain", FILETYPE, None),
        (None, FILETYPE, None),
    ],
)
async def test_what_nobody_read_is_looked_at_again_where_its_type_is_read_or_may_be_known_now(
    catalogue: Catalogue,
    finding: MakeFinding,
    previews: Path,
    mime_type: str | None,
    read_by: Reader | None,
    why: str | None,
) -> None:
    properties = Properties(size_bytes=1, first_name="a", mime_type=mime_type)
    await record(catalogue, NewAsset("aa" * 32, finding(b"a"), properties, []), read_by)
    assert [each.why for each in await find(catalogue, today(previews))] == ([why] if why else [])


async def test_an_asset_whose_files_are_all_missing_is_left_alone(
    catalogue: Catalogue, image_asset: MakeAsset, previews: Path
) -> None:
    await record(catalogue, image_asset("aa" * 32))
    there = await record(catalogue, image_asset("bb" * 32, b"b.jpg"))
    await record(catalogue, image_asset("bb" * 32, b"copy.jpg"))
    gone = update(Location).where(col(Location.path) != b"b.jpg").values(missing_since=now())
    await catalogue.write(lambda session: session.execute(gone))
    assert [each.asset_id for each in await find(catalogue, today(previews))] == [there]


async def test_what_failed_in_passing_comes_after_the_rest_and_what_failed_for_good_with_a_newer_reader(
    catalogue: Catalogue, image_asset: MakeAsset, previews: Path
) -> None:
    passing, for_good, untried = [
        await record(catalogue, image_asset(f"{number:02x}" * 32, f"{number}.jpg".encode()), Reader("image", 1))
        for number in range(3)
    ]
    before = now()
    for asset_id, permanent in ((passing, False), (for_good, True), (untried + 1, True)):
        failure = partial(remember_failure, asset_id=asset_id, reader=IMAGE, reason="cut", permanent=permanent)
        for _ in range(2):
            await catalogue.write(partial(failure, at=before))
    at = today(previews, sizes=())
    after = {"failed_before": now() + timedelta(seconds=1)}
    assert [each.asset_id for each in await find(catalogue, at)] == [untried]
    assert [each.asset_id for each in await find(catalogue, at, **after)] == [passing]
    assert await find(catalogue, at, failed_before=before) == []
    newer = at._replace(readers={"image/jpeg": Reader("image", 3)})
    assert [each.asset_id for each in await find(catalogue, newer, **after)] == [passing, for_good]

    reading = SecondReading(FAMILY.tables, [ReaderVersion(reader="image", version=2)], "image/jpeg", "image")
    await catalogue.write(partial(record_reading, asset_id=passing, reading=reading))
    assert await find(catalogue, at, **after) == []
    assert len(await rows(catalogue, FailedReading, passing)) == 0
    assert len(await rows(catalogue, FailedReading, untried + 1)) == 0


async def test_a_size_that_its_reader_did_not_make_is_not_asked_for_again_and_another_one_is(
    catalogue: Catalogue, image_asset: MakeAsset, previews: Path
) -> None:
    asset = image_asset("aa" * 32)
    unmade = UnmadePreviews(format="webp", sizes=[64, 2048])
    await record(catalogue, asset._replace(components=[*asset.components, unmade]), IMAGE)
    for sizes, size in (((64, 512, 2048), None), ((64, 512, 32), 32)):
        found = await find(catalogue, today(previews, sizes=sizes))
        assert [each.why for each in found] == ([f"it has no preview of {size} pixels"] if size else [])
    (previews / f"{'aa' * 32}-512.webp").unlink()
    [outdated] = await find(catalogue, today(previews, sizes=(64, 512)))
    assert outdated.why == "the file of its preview of 512 pixels is gone"
    [outdated] = await find(catalogue, today(previews, sizes=(64,), format="jpeg"))
    assert outdated.why == "it has no preview of 64 pixels"


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
    def failure(error: FileError, reader: Reader | None) -> FileError:
        error.reader = reader
        return error

    def unsupported(mime_type: str | None, reader: Reader | None) -> FileError:
        return failure(UnsupportedTypeError("no sidecar", mime_type=mime_type), reader)

    older_filetype = FILETYPE._replace(version=FILETYPE.version - 1)
    failed = {
        finding(b"a.json"): unsupported("application/json", FILETYPE),
        finding(b"b.jpg"): BrokenFileError("It is cut"),
        finding(b"c.json", root="other"): unsupported("application/json", FILETYPE),
        finding(b"/d.json", root=""): unsupported(None, None),
        finding(b"before.txt"): unsupported("text/plain", older_filetype),
        finding(b"known.txt"): unsupported("text/plain", FILETYPE),
        finding(b"unknown"): unsupported(None, FILETYPE),
        finding(b"refused.json"): unsupported("application/json", Reader("sidecar", 2)),
        finding(b"e1"): failure(BrokenFileError("It is no sidecar that is understood"), Reader("sidecar", 1)),
        finding(b"e2"): failure(BrokenFileError("It is no sidecar that is understood"), Reader("sidecar", 2)),
    }
    for each, error in failed.items():
        await catalogue.write(partial(record_failure, finding=each, error=error, at=now()))
    page = partial(
        unsupported_page, roots=["", "inbox"], versions={"sidecar": 2}, mime_types=["application/json", "image/jpeg"]
    )
    first = await catalogue.read(partial(page, limit=1))
    rest = await catalogue.read(partial(page, after=first[0].number))
    assert [(each.place, each.for_its_type) for each in [*first, *rest]] == [
        (Place("inbox", b"a.json"), True),
        (Place("", b"/d.json"), True),
        (Place("inbox", b"before.txt"), True),
        (Place("inbox", b"e1"), False),
    ]
    for file in [*first, *rest]:
        await catalogue.write(partial(remember_type, place=file.place, mime_type="text/html"))
    left = [Place("inbox", b"e1")]
    assert [each.place for each in await catalogue.read(page)] == left
    newer = partial(page, filetype_version=FILETYPE.version + 1)
    assert {each.place.path for each in await catalogue.read(newer)} == {
        b"a.json",
        b"/d.json",
        b"before.txt",
        b"known.txt",
        b"unknown",
        b"e1",
    }

    await catalogue.write(lambda session: make_due(session, Place("inbox", b"a.json")))
    known = (await catalogue.read(lambda session: find_path(session, Place("inbox", b"a.json")))).failure
    assert known is not None
    assert (known.permanent, known.reason) == (False, "Unsupported file type: no sidecar")
    assert known.next_attempt_at is not None
    assert known.next_attempt_at <= now()
