"""What belongs together, in the catalogue: whatever comes first, and until other bytes take a file's place."""

import os
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest
import sqlalchemy
from belongings import FILES, LONG, file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlmodel import Session, col, select, update

from damd.catalogue.belonging import File, pairs
from damd.catalogue.components import Capture, ContentIdentifier, Description, RelatedTo, SidecarProperties
from damd.catalogue.record import Finding, NewAsset, Properties, record_asset
from damd.catalogue.related import relate, related, unrelate_if_gone
from damd.catalogue.roots import Place, Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Component, Entity, Location, Root, now
from damd.fingerprint import Signature

pytestmark = pytest.mark.anyio

Rows = set[tuple[str, str, str]]


def found_at(path: bytes) -> Finding:
    return Finding(Place("inbox", path), Signature(size_bytes=3, mtime_ns=10, ctime_ns=20, inode=30))


def lay(session: Session, asset_id: int, *paths: bytes) -> None:
    """Locations of this asset, without damd's care."""
    signature = found_at(b"").signature._asdict()
    there = [{"entity_id": asset_id, "root": "inbox", "path": path} | signature for path in paths]
    session.execute(sqlalchemy.insert(Location), there)


def arrive(session: Session, one: File | str, content: str | None = None) -> int:
    """Record a file as damd does when it is new, or when it is one more place of known content."""
    one = file(one) if isinstance(one, str) else one
    path = one.place.path
    sidecar = [SidecarProperties(kind="xmp", names=one.names)] if one.family == "sidecar" else []
    taken = [Capture(taken_at=one.taken_at)] if one.taken_at else []
    identifier = [ContentIdentifier(identifier=one.identifier)] if one.identifier else []
    components: list[Component] = [*sidecar, *taken, *identifier]
    properties = Properties(size_bytes=3, mime_type=one.mime_type, family=one.family, first_name="a")
    asset = NewAsset(content or os.fsdecode(path)[-60:], found_at(path), properties, components)
    number = record_asset(session, asset, None).asset_id
    relate(session, number, one.place)
    return number


def rows(session: Session) -> Rows:
    """Every relation, by the first names of the locations."""
    names = {
        entity_id: os.fsdecode(path)
        for entity_id, path in session.execute(
            sqlalchemy.select(col(Location.entity_id), col(Location.path)).order_by(col(Location.path).desc())
        )
    }
    return {(names[row.entity_id], row.kind, names[row.other_id]) for row in session.exec(select(RelatedTo))}


def both(one: str, kind: str, other: str) -> Rows:
    inverse = {"sidecar": "sidecar_of", "raw": "rendition", "live_video": "live_photo"}[kind]
    return {(one, kind, other), (other, inverse, one)}


@pytest.mark.parametrize("names", [("a.jpg", "a.cr2"), ("a.cr2", "a.jpg")])
async def test_whoever_comes_last_finds_the_other(catalogue: Catalogue, names: tuple[str, str]) -> None:
    for name in names:
        await catalogue.write(lambda session, name=name: arrive(session, f"2024/{name}"))  # type: ignore[misc]
    assert await catalogue.read(rows) == both("2024/a.jpg", "raw", "2024/a.cr2")


async def test_to_relate_again_changes_nothing(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        for name in ("a.jpg", "a.cr2", "a.xmp", "a.jpg", "a.xmp", "a.cr2"):
            arrive(session, name)

    await catalogue.write(change)
    assert await catalogue.read(rows) == both("a.jpg", "raw", "a.cr2") | both("a.cr2", "sidecar", "a.xmp")


@pytest.mark.parametrize(
    "names", [("a.jpg", "a.xmp", "a.cr2"), ("a.xmp", "a.cr2", "a.jpg"), ("a.jpg", "a.cr2", "a.xmp")]
)
async def test_a_sidecar_goes_over_to_the_raw_that_comes_after_it(catalogue: Catalogue, names: tuple[str, ...]) -> None:
    await catalogue.write(lambda session: [arrive(session, name) for name in names])
    assert await catalogue.read(rows) == both("a.jpg", "raw", "a.cr2") | both("a.cr2", "sidecar", "a.xmp")


async def test_a_picture_that_is_called_like_anothers_sidecar_does_not_take_it(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        for name in ("a.cr2", "a.cr2.xmp", "a.cr2.jpg"):
            arrive(session, name)

    await catalogue.write(change)
    assert await catalogue.read(rows) == both("a.cr2", "sidecar", "a.cr2.xmp")


async def test_a_live_photo_is_found_in_another_folder_by_its_identifier(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        arrive(session, file("films/IMG_2.mov", identifier="X"))
        arrive(session, file("stills/IMG_1.heic", identifier="X"))
        arrive(session, file("stills/IMG_2.heic", identifier="Y"))

    await catalogue.write(change)
    assert await catalogue.read(rows) == both("stills/IMG_1.heic", "live_video", "films/IMG_2.mov")


async def test_a_file_without_an_extension_finds_its_twin_too(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        arrive(session, file("a.mov", identifier="X"))
        arrive(session, file("IMG", identifier="X")._replace(family="image", mime_type="image/heic"))

    await catalogue.write(change)
    assert await catalogue.read(rows) == both("IMG", "live_video", "a.mov")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(files=FILES, order=st.randoms(use_true_random=False))
def test_in_whatever_order_files_come_the_rows_are_what_the_rule_says(
    migrated_engine: Engine, files: list[File], order: Any
) -> None:
    order.shuffle(files)
    with Session(migrated_engine) as session:
        arrived = [each._replace(asset_id=arrive(session, each, f"{n}")) for n, each in enumerate(files)]
        found = {(row.entity_id, row.kind, row.other_id) for row in session.exec(select(RelatedTo))}
        session.rollback()
    assert found == pairs(arrived)


@pytest.fixture(scope="module")
def migrated_engine(migrated_file: Path) -> Engine:
    return sqlalchemy.create_engine(f"sqlite:///{migrated_file}")


async def test_what_lies_in_folders_of_the_same_name_hides_nothing(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        other = arrive(session, "b.png")
        lay(session, other, *(b"a.%da/%d.png" % (number // 500, number) for number in range(520)))
        arrive(session, "a.jpg")
        arrive(session, "a.xmp")

    await catalogue.write(change)
    assert await catalogue.read(rows) == both("a.jpg", "sidecar", "a.xmp")


async def test_a_folder_where_thousands_share_a_stem_costs_only_so_much(catalogue: Catalogue) -> None:
    statements: list[str] = []

    def change(session: Session) -> None:
        lay(session, first, *(b"a.x%04d" % number for number in range(1_200)))
        connection = session.connection()
        sqlalchemy.event.listen(connection, "before_cursor_execute", lambda *heard: statements.append(heard[2]))
        arrive(session, "a.jpg")

    first = await catalogue.write(lambda session: arrive(session, "b.png"))
    await catalogue.write(change)
    assert len(statements) < 30


CUT = LONG[:46]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("neighbours", "one", "kind", "other"),
    [
        (f"{CUT}-%04d.png", f"{CUT}-z.jpg", "raw", f"{CUT}-z.cr2"),
        (f"{CUT}-%04d.png", f"{CUT}-z.jpg", "sidecar", f"{CUT}-z.xmp"),
        (f"{CUT}-%04d.png", f"{CUT}-z.jpg", "sidecar", f"{CUT}.json"),
        (f"{CUT}-%04d.png", f"{CUT}-z.jpg", "sidecar", f"{CUT}-z.jpg.json"),
        ("a.%04d.png", "a.b.jpg", "sidecar", "a.b.xmp"),
        ("a.%04d.png", "a.jpg", "sidecar", "a.jpg.xmp"),
    ],
)
async def test_hundreds_of_names_that_begin_alike_hide_none_that_is_known_whole(
    catalogue: Catalogue, neighbours: str, one: str, kind: str, other: str, order: int
) -> None:
    def change(session: Session) -> None:
        number = arrive(session, "b.png")
        lay(session, number, *(os.fsencode(neighbours % number) for number in range(600)))
        sidecar = file(other, names=f"{CUT}-z.jpg" if other == f"{CUT}.json" else None)
        for each in (file(one), sidecar)[::order]:
            arrive(session, each)

    await catalogue.write(change)
    assert await catalogue.read(rows) == both(one, kind, other)


async def test_a_long_name_costs_no_more_than_a_short_one_and_what_was_cut(catalogue: Catalogue) -> None:
    statements: list[str] = []

    def change(session: Session) -> None:
        lay(session, first, *(b"%b-%04d.png" % (CUT.encode(), number) for number in range(600)))
        place = Place("inbox", CUT.encode() + b"-0300.png")
        connection = session.connection()
        sqlalchemy.event.listen(connection, "before_cursor_execute", lambda *heard: statements.append(heard[2]))
        relate(session, first, place)

    first = await catalogue.write(lambda session: arrive(session, "b.png"))
    await catalogue.write(change)
    asked = [statement for statement in statements if "advisory" not in statement]
    assert len(asked) == 3  # its stem, what Takeout would have left, and who names it


def others_wait(session: Session) -> bool:
    waiting = sqlalchemy.text("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
    return bool(session.execute(waiting).scalar_one())


@pytest.mark.parametrize(
    ("one", "kind", "other"),
    [
        (file("a.jpg"), "sidecar", file("a.xmp")),
        (file("stills/1.heic", identifier="X"), "live_video", file("films/2.mov", identifier="X")),
    ],
)
async def test_two_that_are_recorded_at_the_same_moment_find_each_other(
    catalogues: tuple[Catalogue, Catalogue], one: File, kind: str, other: File
) -> None:
    first_is_there, second_has_looked = anyio.Event(), threading.Event()

    def first(session: Session) -> None:
        arrive(session, one)
        anyio.from_thread.run_sync(first_is_there.set)
        if catalogues[0].engine.dialect.name == "postgresql":  # SQLite does not let the second begin
            while not second_has_looked.is_set() and not others_wait(session):
                pass

    def second(session: Session) -> None:
        arrive(session, other)
        second_has_looked.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(catalogues[0].write, first)
            await first_is_there.wait()
            await catalogues[1].write(second)
    paths = [os.fsdecode(each.place.path) for each in (one, other)]
    assert await catalogues[0].read(rows) == both(paths[0], kind, paths[1])


async def test_a_missing_file_is_not_found_and_loses_nothing(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        for name in ("a.jpg", "a.xmp", "b.jpg"):
            arrive(session, name)
        session.execute(update(Location).values(missing_since=now()))
        arrive(session, "b.xmp")

    await catalogue.write(change)
    assert await catalogue.read(rows) == both("a.jpg", "sidecar", "a.xmp")


async def test_a_name_that_sidecars_of_many_folders_state_is_found_in_its_own(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        for number in range(130):
            arrive(session, file(f"{number}/note.json", names="IMG_0001.JPG"), f"note {number}")
        for number in range(130):
            arrive(session, file(f"{number}/IMG_0001.JPG"), f"picture {number}")

    await catalogue.write(change)
    wanted = (both(f"{number}/IMG_0001.JPG", "sidecar", f"{number}/note.json") for number in range(130))
    assert await catalogue.read(rows) == set().union(*wanted)


async def test_names_that_are_no_utf_8_are_as_good_as_others(catalogue: Catalogue) -> None:
    one, other = os.fsdecode(b"\xff\xfe.jpg"), os.fsdecode(b"\xff\xfe.jpg.xmp")
    long, cut = os.fsdecode(b"\xff" * 47 + b".jpg"), os.fsdecode(b"\xff" * 46 + b".json")

    def change(session: Session) -> None:
        arrive(session, file(other), "aa")
        arrive(session, file(one), "bb")
        arrive(session, file(long), "cc")
        arrive(session, file(cut), "dd")

    await catalogue.write(change)
    assert await catalogue.read(rows) == both(one, "sidecar", other) | both(long, "sidecar", cut)


def replace(session: Session, name: str, content: str) -> None:
    """Other bytes at a path, as damd records them."""
    place = Place("inbox", os.fsencode(name))
    previous = session.exec(select(Location.entity_id).where(Location.path == place.path)).one()
    number = arrive(session, name, content)
    assert number != previous
    unrelate_if_gone(session, previous, place)


def sidecars_of(session: Session, asset_id: int) -> list[int]:
    statement = select(RelatedTo.other_id).where(RelatedTo.entity_id == asset_id, RelatedTo.kind == "sidecar")
    return list(session.exec(statement))


async def test_an_edited_sidecar_takes_the_place_of_the_one_before(catalogue: Catalogue) -> None:
    def change(session: Session) -> int:
        for name in ("a.jpg", "a.xmp"):
            arrive(session, name)
        replace(session, "a.xmp", "after")
        return len(session.exec(select(RelatedTo)).all())

    assert await catalogue.write(change) == 2
    assert await catalogue.read(rows) == both("a.jpg", "sidecar", "a.xmp")


async def test_a_sidecar_that_came_back_with_other_words_needs_no_one_to_say_so(catalogue: Catalogue) -> None:
    def change(session: Session) -> list[int]:
        picture = arrive(session, "a.jpg")
        arrive(session, "a.xmp", "before")
        session.execute(update(Location).where(col(Location.path) == b"a.xmp").values(missing_since=now()))
        arrive(session, "a.xmp", "after")
        return sidecars_of(session, picture)

    assert len(await catalogue.write(change)) == 1


async def test_sidecars_of_the_same_bytes_part_when_one_is_edited(catalogue: Catalogue) -> None:
    def change(session: Session) -> Rows:
        for name in ("a.jpg", "b.jpg"):
            arrive(session, name)
        for name in ("a.xmp", "b.xmp"):
            arrive(session, name, "three stars")
        before = rows(session)
        replace(session, "a.xmp", "four stars")
        return before

    before = await catalogue.write(change)
    assert before == both("a.jpg", "sidecar", "a.xmp") | both("b.jpg", "sidecar", "a.xmp")
    assert await catalogue.read(rows) == both("a.jpg", "sidecar", "a.xmp") | both("b.jpg", "sidecar", "b.xmp")


def give_owners(session: Session, sidecar: int, earlier: range) -> None:
    """Relations of this sidecar's with more assets than are looked at in one go."""
    session.add_all(RelatedTo(entity_id=sidecar, kind="sidecar_of", other_id=number) for number in earlier)
    session.add_all(RelatedTo(entity_id=number, kind="sidecar", other_id=sidecar) for number in earlier)
    session.flush()


async def test_of_hundreds_with_the_same_sidecar_the_one_whose_is_edited_goes(catalogue: Catalogue) -> None:
    def change(session: Session) -> tuple[list[int], int, int]:
        session.add_all(Entity() for _ in range(1_100))
        session.flush()
        picture = arrive(session, "a.jpg")
        sidecar = arrive(session, "a.xmp", "three stars")
        give_owners(session, sidecar, range(1, 1_101))
        arrive(session, "elsewhere/a.xmp", "three stars")
        replace(session, "a.xmp", "four stars")
        return sidecars_of(session, picture), sidecar, len(session.exec(select(RelatedTo)).all())

    sidecars, former, count = await catalogue.write(change)
    assert former not in sidecars
    assert (len(sidecars), count) == (1, 2 * 1_100 + 2)


async def test_a_sidecar_of_hundreds_that_lies_beside_one_of_them_alone_belongs_to_that(catalogue: Catalogue) -> None:
    def change(session: Session) -> int:
        session.add_all(Entity() for _ in range(1_100))
        session.flush()
        arrive(session, "a.jpg")
        sidecar = arrive(session, "b.xmp")
        give_owners(session, sidecar, range(1, 1_101))
        move(session, "b.xmp", "a.xmp")
        return len(session.exec(select(RelatedTo)).all())

    assert await catalogue.write(change) == 2
    assert await catalogue.read(rows) == both("a.jpg", "sidecar", "a.xmp")


async def test_a_film_does_not_find_the_still_that_was_there_before_it_was_edited(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        still, film = file("a.heic", identifier="X"), file("a.mov", identifier="X")
        arrive(session, still, "before")
        number = arrive(session, film)
        arrive(session, still, "after")
        relate(session, number, film.place)

    await catalogue.write(change)
    assert await catalogue.read(rows) == both("a.heic", "live_video", "a.mov")


async def test_a_file_that_is_only_named_is_left_when_the_sidecar_is_edited(catalogue: Catalogue) -> None:
    def change(session: Session) -> tuple[Rows, Rows]:
        virtual = file("a_01.cr2.xmp", names="a.cr2")
        arrive(session, virtual, "copy")
        arrive(session, virtual._replace(place=Place("inbox", b"backup/a_01.cr2.xmp")), "copy")
        arrive(session, "a.cr2")
        before = rows(session)
        replace(session, "a_01.cr2.xmp", "after")
        return before, rows(session)

    assert await catalogue.write(change) == (both("a.cr2", "sidecar", "a_01.cr2.xmp"), set())


async def test_a_copy_that_is_missing_shows_nothing(catalogue: Catalogue) -> None:
    def change(session: Session) -> Rows:
        arrive(session, "a.jpg")
        for name in ("a.xmp", "backup/a.xmp"):
            arrive(session, name, "before")
        session.execute(update(Location).where(col(Location.path) == b"backup/a.xmp").values(missing_since=now()))
        replace(session, "a.xmp", "after")
        return rows(session)

    assert await catalogue.write(change) == both("a.jpg", "sidecar", "a.xmp")


async def test_a_relation_that_another_copy_still_shows_stays(catalogue: Catalogue) -> None:
    def change(session: Session) -> Rows:
        for folder in ("", "backup/"):
            arrive(session, f"{folder}a.jpg", "picture")
            arrive(session, f"{folder}a.xmp", "before")
        replace(session, "a.xmp", "after")
        return rows(session)

    assert await catalogue.write(change) == both("a.jpg", "sidecar", "a.xmp") | both("a.jpg", "sidecar", "backup/a.xmp")


async def test_a_file_that_was_renamed_or_is_missing_keeps_what_it_was(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        for name in ("a.jpg", "a.cr2"):
            arrive(session, name)
        move(session, "a.cr2", "raw/a.cr2")
        raw = session.exec(select(Location).where(Location.path == b"raw/a.cr2")).one()
        raw.missing_since = now()

    await catalogue.write(change)
    assert await catalogue.read(rows) == both("a.jpg", "raw", "raw/a.cr2")


def move(session: Session, name: str, to: str) -> None:
    location = session.exec(select(Location).where(Location.path == os.fsencode(name))).one()
    location.path = os.fsencode(to)
    session.flush()
    relate(session, location.entity_id, Place("inbox", location.path))


async def test_a_sidecar_that_is_moved_with_its_picture_stays_its_own(catalogue: Catalogue) -> None:
    def change(session: Session) -> list[Rows]:
        seen = []
        arrive(session, "a.jpg")
        arrive(session, "a.xmp")
        for name in ("a.xmp", "a.jpg"):
            move(session, name, f"sub/{name}")
            seen.append(rows(session))
        return seen

    assert await catalogue.write(change) == [
        both("a.jpg", "sidecar", "sub/a.xmp"),
        both("sub/a.jpg", "sidecar", "sub/a.xmp"),
    ]


async def test_a_sidecar_that_is_moved_beside_another_picture_leaves_the_first(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        for name in ("a.jpg", "a.xmp", "b.jpg"):
            arrive(session, name)
        move(session, "a.xmp", "b.xmp")

    await catalogue.write(change)
    assert await catalogue.read(rows) == both("b.jpg", "sidecar", "b.xmp")


async def test_what_never_lay_at_a_place_is_related_to_nothing_there(catalogue: Catalogue) -> None:
    def change(session: Session) -> None:
        arrive(session, "a.jpg")
        other = arrive(session, "b.cr2")
        relate(session, other, Place("inbox", b"a.jpg"))
        relate(session, other, Place("inbox", b"a.cr2"))

    await catalogue.write(change)
    assert await catalogue.read(rows) == set()


async def test_each_assets_relations_are_told_with_paths_and_with_what_sidecars_say(catalogue: Catalogue) -> None:
    def change(session: Session) -> tuple[int, int, int]:
        picture, raw, sidecar = (arrive(session, name) for name in ("a.jpg", "a.cr2", "a.jpg.xmp"))
        session.add(Description(entity_id=sidecar, title="Harbour", rating=4, keywords=["boat"]))
        session.execute(update(Location).where(col(Location.entity_id) == raw).values(path=b"\xff.cr2"))
        return picture, raw, sidecar

    picture, raw, sidecar = await catalogue.write(change)
    roots = Roots([Root(name="inbox", path=b"/photos")])
    told = await catalogue.read(lambda session: related(session, [picture, raw, 999], roots))
    said = {"title": "Harbour", "description": None, "creator": None, "copyright": None, "rating": 4}
    assert told == {
        picture: [
            {"asset_id": raw, "kind": "raw", "path": "/photos/�.cr2", "path_base64": "L3Bob3Rvcy//LmNyMg=="},
            {
                "asset_id": sidecar,
                "kind": "sidecar",
                "path": "/photos/a.jpg.xmp",
                "description": said | {"keywords": ["boat"]},
            },
        ],
        raw: [{"asset_id": picture, "kind": "rendition", "path": "/photos/a.jpg"}],
    }


@pytest.mark.parametrize(
    ("name", "mate"),
    [
        ("a(1).jpg", "a.jpg(1).json"),
        (f"{LONG}.jpg", f"{LONG[:46]}.json"),
        ("sub.dir/a.b.jpg", "sub.dir/a.b.jpg.supplemental-metadata.json"),
    ],
)
async def test_the_names_that_takeout_gives_are_found_from_both_ends(
    catalogue: Catalogue, name: str, mate: str
) -> None:
    for first, second, content in ((name, mate, "1"), (mate, name, "2")):

        def change(session: Session, first: str = first, second: str = second, content: str = content) -> Rows:
            session.execute(sqlalchemy.delete(RelatedTo))
            session.execute(sqlalchemy.delete(Location))
            arrive(session, first, first + content)
            arrive(session, second, second + content)
            return rows(session)

        assert await catalogue.write(change) == both(name, "sidecar", mate)
