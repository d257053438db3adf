"""The questions: the guide's, through a World, and those that ingesting and reconciling ask."""

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Engine
from sqlmodel import Session

from damd.catalogue.failing import record_failure
from damd.catalogue.queries import (
    KnownPath,
    does_hash_exist,
    family_and_preview,
    find_asset,
    find_path,
    is_path_imported,
)
from damd.catalogue.record import Finding, NewAsset, Properties, record_asset
from damd.catalogue.roots import Place, Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Root
from damd.errors import BrokenFileError, FileChangedError
from damd.fingerprint import Signature, take_signature
from damd.world import World

pytestmark = pytest.mark.anyio

AT = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
MakeAsset = Callable[..., NewAsset]
MakeFinding = Callable[..., Finding]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def world(catalogue: Catalogue, inbox: Path) -> World:
    world = World()
    world.add_resource(catalogue)
    world.add_resource(Roots([Root(name="inbox", path=os.fsencode(inbox))]))
    return world


async def ingest(world: World, path: Path) -> str:
    asset = describe(world, path)
    await world.get_resource(Catalogue).write(lambda session: record_asset(session, asset, None))
    return asset.sha256


def describe(world: World, path: Path) -> NewAsset:
    signature = take_signature(path)
    finding = Finding(world.get_resource(Roots).place(path), signature)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return NewAsset(sha256, finding, Properties(size_bytes=signature.size_bytes, first_name="a"), ())


async def test_a_path_is_imported_once_it_is_an_assets_location(world: World, inbox: Path) -> None:
    (inbox / "a").write_bytes(b"one")
    assert not await is_path_imported(world, inbox / "a")
    await ingest(world, inbox / "a")
    assert await is_path_imported(world, inbox / "a")
    assert await is_path_imported(world, str(inbox / "a"))
    assert not await is_path_imported(world, inbox / "b")


async def test_a_path_outside_every_root_and_without_readable_name_is_imported_too(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe")
    path.write_bytes(b"one")
    await ingest(world, path)
    assert await is_path_imported(world, path)


@pytest.mark.parametrize("change", ["size", "mtime"])
async def test_a_path_with_other_bytes_is_not_imported(world: World, inbox: Path, change: str) -> None:
    (inbox / "a").write_bytes(b"one")
    await ingest(world, inbox / "a")
    if change == "size":
        status = (inbox / "a").stat()
        (inbox / "a").write_bytes(b"one and a half")
        os.utime(inbox / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(inbox / "a", ns=(1, 1))
    assert not await is_path_imported(world, inbox / "a")


async def test_a_path_that_is_imported_stays_so_with_another_mode_and_when_it_is_gone(
    world: World, inbox: Path
) -> None:
    (inbox / "a").write_bytes(b"one")
    await ingest(world, inbox / "a")
    (inbox / "a").chmod(0o600)
    assert await is_path_imported(world, inbox / "a")
    (inbox / "a").unlink()
    assert await is_path_imported(world, inbox / "a")


async def test_a_hash_exists_once_an_asset_has_it(world: World, inbox: Path) -> None:
    (inbox / "a").write_bytes(b"one")
    assert not await does_hash_exist(world, hashlib.sha256(b"one").hexdigest())
    sha256 = await ingest(world, inbox / "a")
    assert await does_hash_exist(world, sha256)
    assert not await does_hash_exist(world, sha256[:-1])


async def test_questions_may_be_asked_by_many_at_once(world: World, inbox: Path) -> None:
    (inbox / "a").write_bytes(b"one")
    sha256 = await ingest(world, inbox / "a")
    answers: list[bool] = []

    async def ask(number: int) -> None:
        (inbox / f"other{number}").write_bytes(b"%d" % number)
        await ingest(world, inbox / f"other{number}")
        answers.append(await does_hash_exist(world, sha256) and await is_path_imported(world, inbox / "a"))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(ask, number)
    assert answers == [True] * 50


def test_of_a_path_that_was_never_seen_nothing_is_known(engine: Engine) -> None:
    with Session(engine) as session:
        assert find_path(session, Place("inbox", b"a")) == KnownPath(None, None)
        assert find_asset(session, "aa") is None


def test_of_a_path_its_asset_and_its_last_failure_are_known(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    with Session(engine) as session:
        recorded = record_asset(session, image_asset("aa"), None)
        record_failure(session, finding(mtime_ns=11), FileChangedError(), at=AT)
        record_failure(session, finding(b"other", root="photos"), BrokenFileError("broken"), at=AT)
        session.commit()
    with Session(engine) as session:
        location, failure = find_path(session, Place("inbox", b"a.jpg"))
        assert location
        assert failure
        assert location == (recorded.asset_id, "aa", Signature(3, 10, 20, 30), False)
        assert (failure.signature, failure.permanent) == (Signature(3, 11, 20, 30), False)
        assert failure.next_attempt_at == AT + timedelta(seconds=10)
        other = find_path(session, Place("photos", b"other")).failure
        assert other
        assert (other.reason, other.permanent, other.next_attempt_at) == ("broken", True, None)
        assert find_path(session, Place("photos", b"a.jpg")) == KnownPath(None, None)
        assert find_asset(session, "aa") == recorded.asset_id


def test_of_an_asset_its_family_and_its_largest_preview_are_known(engine: Engine, image_asset: MakeAsset) -> None:
    with Session(engine) as session:
        recorded = record_asset(session, image_asset("aa"), None)
        assert family_and_preview(session, recorded.asset_id) == ("image", "aa-1024.webp")
        assert family_and_preview(session, 4711) == (None, None)
