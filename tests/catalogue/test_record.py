"""The transaction that makes an asset: whole, once for each content, whoever else brings the same bytes."""

import os
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from subprocess import Popen
from typing import Any

import anyio
import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, select

from damd.catalogue.components import Capture, PerceptualHash, Preview
from damd.catalogue.failing import forget_failures, forget_outdated, record_failure
from damd.catalogue.outbox import restore_event, store_event
from damd.catalogue.queries import find_asset, find_path
from damd.catalogue.record import Finding, NewAsset, Properties, Recorded, record_asset, record_location
from damd.catalogue.roots import Place
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import ContentHash, Entity, Failure, FileProperties, Location, StoredEvent
from damd.errors import BrokenFileError, FileChangedError, UnsupportedTypeError
from damd.events import Event, FileImportedEvent
from damd.fingerprint import Signature
from damd.media.image import ImageProperties

pytestmark = pytest.mark.anyio

AT = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
MakeAsset = Callable[..., NewAsset]
MakeFinding = Callable[..., Finding]


def imported(asset_id: int, _: object = ()) -> FileImportedEvent:
    return FileImportedEvent(
        asset_id=asset_id,
        path="/inbox/a.jpg",
        root="inbox",
        sha256="aa",
        size_bytes=3,
        mime_type="image/jpeg",
        family="image",
        duration_s=0.5,
    )


def announce(asset_id: int, _: object) -> list[Event]:
    return [imported(asset_id)]


def record(asset: NewAsset, session: Session) -> Recorded:
    return record_asset(session, asset, announce)


def fail(finding: Finding, at: datetime, session: Session, *, permanent: bool = False) -> datetime | None:
    error = BrokenFileError("broken") if permanent else FileChangedError()
    return record_failure(session, finding, error, at=at).retry_at


async def count(catalogue: Catalogue, table: type[SQLModel]) -> int:
    return await catalogue.read(lambda session: session.scalar(sqlalchemy.select(func.count()).select_from(table)) or 0)


async def everything(catalogue: Catalogue, table: type[SQLModel]) -> list[dict[str, Any]]:
    return await catalogue.read(lambda session: [row.model_dump() for row in session.exec(select(table))])


async def test_an_asset_comes_with_all_its_components_its_location_and_its_event(
    catalogue: Catalogue, image_asset: MakeAsset
) -> None:
    asset = image_asset("aa")
    recorded = await catalogue.write(partial(record, asset))
    assert recorded.is_new
    assert await count(catalogue, Entity) == 1
    assert await everything(catalogue, ContentHash) == [{"entity_id": recorded.asset_id, "sha256": "aa"}]
    assert await everything(catalogue, FileProperties) == [
        asset.properties._asdict() | {"entity_id": recorded.asset_id}
    ]
    for table in (ImageProperties, PerceptualHash, Capture):
        (component,) = [one for one in asset.components if type(one) is table]
        assert await everything(catalogue, table) == [component.model_dump() | {"entity_id": recorded.asset_id}]
    previews = await everything(catalogue, Preview)
    assert {(one["entity_id"], one["size"], one["path"]) for one in previews} == {
        (recorded.asset_id, 512, "aa-512.webp"),
        (recorded.asset_id, 1024, "aa-1024.webp"),
    }
    (location,) = await everything(catalogue, Location)
    expected = {"entity_id": recorded.asset_id, "root": "inbox", "path": b"a.jpg", "missing_since": None}
    assert expected.items() <= location.items()
    (stored,) = await catalogue.read(lambda session: session.exec(select(StoredEvent)).all())
    assert stored.entity_id == recorded.asset_id
    assert restore_event(stored) == recorded.events[0]


async def test_an_asset_that_nobody_is_told_of_leaves_no_event(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    recorded = await catalogue.write(lambda session: record_asset(session, image_asset("aa"), None))
    assert recorded.events == []
    assert await count(catalogue, StoredEvent) == 0


@pytest.mark.parametrize("flaw", ["component", "event"])
async def test_what_fails_in_the_middle_leaves_nothing(catalogue: Catalogue, image_asset: MakeAsset, flaw: str) -> None:
    asset, event = image_asset("aa"), imported(1)
    if flaw == "component":
        asset = asset._replace(components=[*asset.components, asset.components[0]])
    else:
        await catalogue.write(lambda session: store_event(session, event))
    with pytest.raises(IntegrityError):
        await catalogue.write(lambda session: record_asset(session, asset, lambda *_: [event]))
    assert await count(catalogue, StoredEvent) == (flaw == "event")
    for table in (Entity, ContentHash, FileProperties, ImageProperties, Location):
        assert await count(catalogue, table) == 0


async def test_the_second_of_the_same_bytes_becomes_a_location(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    first = await catalogue.write(partial(record, image_asset("aa", b"a.jpg")))
    second = await catalogue.write(partial(record, image_asset("aa", b"copy.jpg")))
    assert second == Recorded(first.asset_id, is_new=False, events=[])
    assert await count(catalogue, Entity) == await count(catalogue, StoredEvent) == 1
    assert {row["path"]: row["entity_id"] for row in await everything(catalogue, Location)} == {
        b"a.jpg": first.asset_id,
        b"copy.jpg": first.asset_id,
    }


async def test_the_same_bytes_in_one_batch_are_one_asset(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    recorded: list[Recorded] = []

    async def write(asset: NewAsset) -> None:
        recorded.append(await catalogue.write(partial(record, asset)))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(write, image_asset(f"hash{number % 4}", b"%d.jpg" % number))
    assert Counter(one.is_new for one in recorded) == {True: 4, False: 16}
    assert await count(catalogue, Entity) == 4
    assert await count(catalogue, Location) == 20


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("first_commits", [True, False], ids=["commits", "rolls-back"])
def test_whoever_brings_the_same_bytes_meanwhile_waits_for_the_first_to_end(
    engine: Engine, image_asset: MakeAsset, first_commits: bool
) -> None:
    with Session(engine) as first, Session(engine) as second:
        one = record(image_asset("aa", b"a.jpg"), first)
        number = second.scalar(sqlalchemy.text("SELECT pg_backend_pid()"))
        others: list[Recorded] = []
        thread = threading.Thread(target=lambda: others.append(record(image_asset("aa", b"b.jpg"), second)))
        thread.start()
        waits = sqlalchemy.text(f"SELECT cardinality(pg_blocking_pids({number}))")
        while not first.scalar(waits):
            assert thread.is_alive()
        if first_commits:
            first.commit()
        else:
            first.rollback()
        thread.join(20)
        second.commit()
        (other,) = others
    with Session(engine) as session:
        assert other.is_new != first_commits
        assert not first_commits or other.asset_id == one.asset_id
        assert session.scalar(sqlalchemy.select(func.count()).select_from(Entity)) == 1
        assert len(session.exec(select(Location)).all()) == 1 + first_commits


async def test_two_that_share_a_catalogue_and_bring_the_same_files_in_opposite_orders_both_succeed(
    catalogues: tuple[Catalogue, Catalogue], image_asset: MakeAsset
) -> None:
    recorded: dict[str, list[bool]] = {f"hash{number}": [] for number in range(60)}

    async def write(catalogue: Catalogue, number: int, path: bytes) -> None:
        one = await catalogue.write(partial(record, image_asset(f"hash{number}", path)))
        recorded[f"hash{number}"].append(one.is_new)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(60):
                group.start_soon(write, catalogues[0], number, b"a/%d.jpg" % number)
                group.start_soon(write, catalogues[1], 59 - number, b"b/%d.jpg" % number)
    assert all(sorted(outcomes) == [False, True] for outcomes in recorded.values())
    assert await count(catalogues[0], Entity) == await count(catalogues[0], StoredEvent) == 60
    assert await count(catalogues[0], Location) == 120


async def test_two_that_share_a_catalogue_and_see_the_same_paths_both_succeed(
    catalogues: tuple[Catalogue, Catalogue], image_asset: MakeAsset, finding: MakeFinding
) -> None:
    async def write(catalogue: Catalogue, number: int) -> None:
        path = b"%d.jpg" % (number % 30)
        await catalogue.write(partial(fail, finding(path), AT))
        await catalogue.write(partial(record, image_asset(f"hash{number % 7}", path)))

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(write, catalogues[0], number)
                group.start_soon(write, catalogues[1], 99 - number)
    assert await count(catalogues[0], Entity) == 7
    assert await count(catalogues[0], Location) == 30


RECORDER = """
import functools, os, pathlib, sys
import anyio
import damd.media
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.record import Finding, NewAsset, Properties, record_asset
from damd.catalogue.roots import Place
from damd.catalogue.store import Catalogue
from damd.fingerprint import Signature

def record(number, session):
    finding = Finding(Place(sys.argv[2], b"%d" % number), Signature(1, 2, 3, 4))
    asset = NewAsset(f"hash{number}", finding, Properties(size_bytes=1, first_name="a"), ())
    return record_asset(session, asset, None).is_new

async def main():
    catalogue = Catalogue(make_engine(CatalogueSettings(url=sys.argv[1]), pathlib.Path()))
    new = []
    async def write(number):
        if await catalogue.write(functools.partial(record, number)):
            new.append(number)
    print("ready", flush=True)
    sys.stdin.readline()
    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(write, number)
    print(len(new), flush=True)

anyio.run(main)
"""


async def test_two_processes_bring_the_same_bytes_at_the_same_moment(
    catalogue: Catalogue, url: str, start_python: Callable[..., Popen[str]]
) -> None:
    processes = [start_python(RECORDER, url, root) for root in ("one", "two")]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    outcomes = [process.communicate("go\n", timeout=30)[0] for process in _started(processes)]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(map(int, outcomes)) == await count(catalogue, Entity) == 50
    assert await count(catalogue, Location) == 100


def _started(processes: list[Popen[str]]) -> list[Popen[str]]:
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


async def test_other_content_at_the_same_path_moves_the_location(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    await catalogue.write(partial(record, image_asset("aa")))
    (before,) = await everything(catalogue, Location)
    after = await catalogue.write(partial(record, image_asset("bb", size_bytes=4, mtime_ns=11, inode=31)))
    assert await count(catalogue, Entity) == 2
    (location,) = await everything(catalogue, Location)
    changed = {"entity_id": after.asset_id, "size_bytes": 4, "mtime_ns": 11, "inode": 31}
    assert location == before | changed


async def test_a_location_that_was_missing_is_found_again(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    def lose(session: Session) -> None:
        session.execute(sqlalchemy.update(Location).values(missing_since=AT))

    recorded = await catalogue.write(partial(record, image_asset("aa")))
    await catalogue.write(lose)
    await catalogue.write(lambda session: record_location(session, recorded.asset_id, image_asset("aa").finding))
    (location,) = await everything(catalogue, Location)
    assert location["missing_since"] is None


async def test_a_failure_is_noted_with_its_path_and_why(catalogue: Catalogue, finding: MakeFinding) -> None:
    retry_at = await catalogue.write(partial(fail, finding(), AT))
    (row,) = await everything(catalogue, Failure)
    assert retry_at == AT + timedelta(seconds=10)
    assert row | {"id": None} == {
        "id": None,
        "root": "inbox",
        "path": b"a.jpg",
        "size_bytes": 3,
        "mtime_ns": 10,
        "ctime_ns": 20,
        "inode": 30,
        "reason": "The file changes while it is read: it is tried again when it has come to rest",
        "mime_type": None,
        "reader": None,
        "reader_version": None,
        "permanent": False,
        "attempts": 1,
        "first_failed_at": AT,
        "last_failed_at": AT,
        "next_attempt_at": retry_at,
    }


async def test_waits_double_from_ten_seconds_to_an_hour(catalogue: Catalogue, finding: MakeFinding) -> None:
    waits = []
    for number in range(40):
        at = AT + timedelta(days=number)
        retry_at = await catalogue.write(partial(fail, finding(), at))
        assert retry_at
        waits.append((retry_at - at).total_seconds())
    assert waits == [10, 20, 40, 80, 160, 320, 640, 1280, 2560] + [3600] * 31
    (failure,) = await everything(catalogue, Failure)
    assert (failure["attempts"], failure["first_failed_at"]) == (40, AT)
    assert failure["last_failed_at"] == AT + timedelta(days=39)


async def test_a_permanent_failure_is_not_tried_again(catalogue: Catalogue, finding: MakeFinding) -> None:
    await catalogue.write(partial(fail, finding(), AT))
    assert await catalogue.write(partial(fail, finding(), AT, permanent=True)) is None
    (failure,) = await everything(catalogue, Failure)
    assert (failure["permanent"], failure["next_attempt_at"], failure["attempts"]) == (True, None, 2)
    assert failure["reason"] == "broken"


@pytest.mark.parametrize("change", [{"size_bytes": 4}, {"mtime_ns": 11}])
async def test_another_version_of_the_file_starts_anew(
    catalogue: Catalogue, finding: MakeFinding, change: dict[str, int]
) -> None:
    for _ in range(5):
        await catalogue.write(partial(fail, finding(), AT))
    later = AT + timedelta(hours=1)
    assert await catalogue.write(partial(fail, finding(**change), later)) == later + timedelta(seconds=10)
    (failure,) = await everything(catalogue, Failure)
    assert change.items() <= failure.items()
    assert (failure["attempts"], failure["first_failed_at"]) == (1, later)


async def test_another_mode_or_inode_is_no_other_version(catalogue: Catalogue, finding: MakeFinding) -> None:
    await catalogue.write(partial(fail, finding(), AT))
    retry_at = await catalogue.write(partial(fail, finding(ctime_ns=21, inode=31), AT))
    assert retry_at == AT + timedelta(seconds=20)
    (failure,) = await everything(catalogue, Failure)
    assert (failure["ctime_ns"], failure["inode"]) == (21, 31)


@pytest.mark.parametrize("is_new", [True, False], ids=["new-asset", "further-location"])
async def test_success_forgets_the_failure_of_its_path_alone(
    catalogue: Catalogue, image_asset: MakeAsset, finding: MakeFinding, is_new: bool
) -> None:
    if not is_new:
        await catalogue.write(partial(record, image_asset("aa", b"elsewhere.jpg")))
    for place in (finding(), finding(b"other.jpg"), finding(root="photos")):
        await catalogue.write(partial(fail, place, AT))
    await catalogue.write(partial(record, image_asset("aa")))
    rows = await everything(catalogue, Failure)
    assert {(row["root"], row["path"]) for row in rows} == {("inbox", b"other.jpg"), ("photos", b"a.jpg")}


async def note_unread_types(catalogue: Catalogue, finding: MakeFinding) -> None:
    def note(session: Session) -> None:
        for root in ("inbox", "photos", ""):
            for path, error in (
                (b"a", UnsupportedTypeError()),
                (b"b", UnsupportedTypeError("text/plain", mime_type="text/plain")),
                (b"c", BrokenFileError("broken")),
            ):
                record_failure(session, finding(path, root=root), error, at=AT)

    await catalogue.write(note)


async def failed_places(catalogue: Catalogue) -> set[tuple[str, bytes]]:
    return {(row["root"], row["path"]) for row in await everything(catalogue, Failure)}


async def test_failures_for_their_type_alone_are_forgotten_where_such_files_are_catalogued(
    catalogue: Catalogue, finding: MakeFinding
) -> None:
    await note_unread_types(catalogue, finding)
    await catalogue.write(lambda session: forget_outdated(session, roots=["inbox", ""]))
    left = {("inbox", b"c"), ("", b"c"), ("photos", b"a"), ("photos", b"b"), ("photos", b"c")}
    assert await failed_places(catalogue) == left
    await catalogue.write(forget_outdated)
    assert await failed_places(catalogue) == left


async def test_failures_for_their_type_alone_are_forgotten_once_a_family_reads_it(
    catalogue: Catalogue, finding: MakeFinding
) -> None:
    await note_unread_types(catalogue, finding)
    await catalogue.write(lambda session: forget_outdated(session, mime_types=["text/html"]))
    assert len(await failed_places(catalogue)) == 9
    await catalogue.write(lambda session: forget_outdated(session, mime_types=["text/plain"]))
    assert await failed_places(catalogue) == {(root, path) for root in ("inbox", "photos", "") for path in (b"a", b"c")}


async def test_what_an_older_reader_found_fault_with_is_forgotten_and_what_todays_refused_is_not(
    catalogue: Catalogue, finding: MakeFinding
) -> None:
    for name, error, reader in (
        (b"broken before", BrokenFileError("cut"), ("image", 1)),
        (b"broken today", BrokenFileError("cut"), ("image", 2)),
        (b"refused before", UnsupportedTypeError(mime_type="text/plain"), ("sidecar", 1)),
        (b"refused today", UnsupportedTypeError(mime_type="text/plain"), ("sidecar", 2)),
        (b"nobody's", UnsupportedTypeError(mime_type="text/plain"), None),
        (b"for its type", UnsupportedTypeError(mime_type="text/plain"), ("filetype", 1)),
    ):
        error.reader = reader
        await catalogue.write(partial(record_failure, finding=finding(name), error=error, at=AT))
    today = partial(forget_outdated, mime_types=["text/plain"], readers={"image": 2, "sidecar": 2})
    await catalogue.write(today)
    assert await failed_places(catalogue) == {("inbox", b"broken today"), ("inbox", b"refused today")}


async def test_failures_of_a_few_paths_are_forgotten(catalogue: Catalogue, finding: MakeFinding) -> None:
    await note_unread_types(catalogue, finding)
    places = [Place("inbox", b"a"), Place("photos", b"c"), Place("photos", b"never failed")]
    await catalogue.write(lambda session: forget_failures(session, places))
    left = await failed_places(catalogue)
    assert len(left) == 7
    assert not left & set(places)


PATHS = st.binary(min_size=1, max_size=60).filter(lambda path: b"\0" not in path)
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, -(2**63), -1]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=PATHS, size=st.integers(0, 2**63 - 1), mtime_ns=NUMBERS, ctime_ns=NUMBERS, inode=st.integers(0, 2**64 - 1))
def test_any_path_and_any_signature_is_found_again_as_it_was(
    engine: Engine, path: bytes, size: int, mtime_ns: int, ctime_ns: int, inode: int
) -> None:
    signature = Signature.of(_status(size, mtime_ns, ctime_ns, inode))
    place = Place("", b"/" + path)
    with Session(engine) as session:
        asset = NewAsset("aa", Finding(place, signature), Properties(size_bytes=size, first_name="a"), ())
        asset_id = record_asset(session, asset, None).asset_id
        record_failure(session, asset.finding, FileChangedError(), at=AT)
        session.commit()
    with Session(engine) as session:
        known = find_path(session, place)
        assert known.location
        assert known.failure
        assert known.location.signature == known.failure.signature == signature
        assert known.location.asset_id == asset_id == find_asset(session, "aa")


def _status(size: int, mtime_ns: int, ctime_ns: int, inode: int) -> os.stat_result:
    status = (0o100644, inode, 1, 1, 0, 0, size, 0, 0, 0)
    return os.stat_result(status, {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns})


@pytest.mark.parametrize("seconds", [-(2**31), -1, 2**34])
async def test_a_file_from_another_century_is_recorded(
    catalogue: Catalogue, image_asset: MakeAsset, tmp_path: Any, seconds: int
) -> None:
    file = tmp_path / os.fsdecode(b"\xff.jpg")
    file.touch()
    os.utime(file, (seconds, seconds))
    signature = Signature.of(file.stat())
    place = Place("inbox", os.fsencode(file.name))
    asset = image_asset("aa")._replace(finding=Finding(place, signature))
    await catalogue.write(partial(record, asset))
    known = await catalogue.read(lambda session: find_path(session, place))
    assert known.location
    assert known.location.signature == signature
    assert known.location.sha256 == "aa"
