"""What the catalogue knows of a stretch, and what it makes of absences, over both databases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy
from sqlmodel import Session, col, select

from damd.catalogue import absence
from damd.catalogue.absence import (
    Bounds,
    Candidate,
    Comparison,
    accept,
    accepted_missing,
    candidates,
    compare,
    forget_failures_at,
    hold,
    mark_missing,
    note_passed,
    note_volumes,
    release,
)
from damd.catalogue.failing import record_failure
from damd.catalogue.outbox import restore_event
from damd.catalogue.record import Finding, NewAsset, record_asset, record_location
from damd.catalogue.roots import Place, Roots, claim
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Failure, Location, Root, StoredEvent
from damd.catalogue.volumes import VolumeKey, volume_id
from damd.errors import BrokenFileError, FileError, TransientFileError
from damd.events import Event, RootHeldEvent
from damd.fingerprint import Signature

pytestmark = pytest.mark.anyio

AT = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
NUMBERS = (3, 10, 20, 30)
EVERYTHING = Bounds(None, None)
DISK = VolumeKey(b"", 1)
MakeAsset = Callable[..., NewAsset]


def on(number: int | None) -> Callable[[bytes], int | None]:
    return lambda _: number


async def known(
    catalogue: Catalogue, image_asset: MakeAsset, *paths: bytes, root: str = "inbox", volume: VolumeKey | None = None
) -> int:
    """One asset with these locations, each with the same `NUMBERS` and on the same volume."""

    def change(session: Session) -> int:
        asset = image_asset("7" * 64)
        asset_id = 0
        for path in paths:
            finding = Finding(Place(root, path), Signature(*NUMBERS), volume)
            asset_id = record_asset(session, asset._replace(finding=finding), None).asset_id
        return asset_id

    return await catalogue.write(change)


async def fail(
    catalogue: Catalogue, path: bytes, error: FileError, *, root: str = "inbox", signature: Any = NUMBERS
) -> None:
    finding = Finding(Place(root, path), Signature(*signature))
    await catalogue.write(lambda session: record_failure(session, finding, error, at=AT))


async def compared(
    catalogue: Catalogue, found: dict[bytes, Any], bounds: Bounds = EVERYTHING, volume: int | None = None
) -> Comparison:
    return await catalogue.read(partial(compare, root="inbox", bounds=bounds, found=found, volume_at=on(volume)))


async def test_a_stretch_ends_before_its_upper_bound_and_knows_no_other_root(
    catalogue: Catalogue, image_asset: MakeAsset
) -> None:
    await known(catalogue, image_asset, b"a", b"b", b"b\0", b"\xff", b"", volume=DISK)
    await known(catalogue, image_asset, b"bb", root="phone", volume=DISK)
    disk = await catalogue.write(partial(volume_id, root="inbox", key=DISK))
    await fail(catalogue, b"b", BrokenFileError("broken"))
    await fail(catalogue, b"bb", BrokenFileError("broken"), root="phone")
    comparison = await compared(catalogue, {}, Bounds(b"b", b"b\0"), disk)
    assert comparison == Comparison(unseen=[b"b"], unseen_failures=[b"b"], known=1)
    assert (await compared(catalogue, {}, volume=disk)).unseen == [b"", b"a", b"b", b"b\0", b"\xff"]
    assert (await compared(catalogue, {}, Bounds(b"b\0", None), disk)).unseen == [b"b\0", b"\xff"]


async def test_what_was_found_as_it_is_known_needs_no_look(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    await known(catalogue, image_asset, b"a", b"b", b"c", volume=DISK)
    disk = await catalogue.write(partial(volume_id, root="inbox", key=DISK))
    await fail(catalogue, b"d", BrokenFileError("broken"))
    await fail(catalogue, b"e", TransientFileError("later"))
    await fail(catalogue, b"f", BrokenFileError("broken"), signature=(3, 10, 20, 31))
    found = dict.fromkeys((b"a", b"c", b"d", b"e", b"f", b"g"), NUMBERS) | {b"c": (3, 10, 20, 31)}
    comparison = await compared(catalogue, found, volume=disk)
    assert comparison == Comparison(unknown=[b"c", b"e", b"f", b"g"], unseen=[b"b"], known=3)
    assert len(found) == 6


async def test_numbers_of_64_unsigned_bits_are_compared_as_they_are_kept(
    catalogue: Catalogue, image_asset: MakeAsset
) -> None:
    def change(session: Session) -> None:
        asset = image_asset("7" * 64)
        record_asset(session, asset._replace(finding=Finding(Place("inbox", b"a"), Signature(3, 10, 20, -1))), None)

    await catalogue.write(change)
    await fail(catalogue, b"b", BrokenFileError("broken"), signature=(3, 10, 20, -(2**63)))
    found = {b"a": (3, 10, 20, 2**64 - 1), b"b": (3, 10, 20, 2**63), b"c": (3, 10, 20, 2**63)}
    assert (await compared(catalogue, found)).unknown == [b"c"]


async def test_a_stretch_of_which_too_much_is_known_goes_on_elsewhere(
    catalogue: Catalogue, image_asset: MakeAsset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absence, "_MOST_ROWS", 2)
    await known(catalogue, image_asset, b"a", b"b", b"d", b"f", volume=DISK)
    disk = await catalogue.write(partial(volume_id, root="inbox", key=DISK))
    for path in (b"b", b"c", b"e"):
        await fail(catalogue, path, TransientFileError("later"))
    found = dict.fromkeys((b"b", b"bb", b"c", b"g"), NUMBERS)
    first = await compared(catalogue, found, volume=disk)
    assert first == Comparison(unseen=[b"a"], known=2, rest=b"b\0")
    second = await compared(catalogue, found, Bounds(first.rest, None), disk)
    assert second == Comparison(
        unknown=[b"b", b"bb", b"c"], unseen=[b"d", b"f"], unseen_failures=[b"e"], known=2, rest=b"f\0"
    )
    assert await compared(catalogue, {b"g": NUMBERS}, Bounds(second.rest, None), disk) == Comparison(unknown=[b"g"])


async def test_what_lies_on_another_volume_than_is_there_or_nobody_knows_where_is_out_of_reach(
    catalogue: Catalogue, image_asset: MakeAsset
) -> None:
    await known(catalogue, image_asset, b"a", b"b", b"c")
    one = await catalogue.write(partial(volume_id, root="inbox", key=VolumeKey(b"", 1)))
    two = await catalogue.write(partial(volume_id, root="inbox", key=VolumeKey(b"", 2)))
    rows = {row.path: row.id for row in await catalogue.read(lambda session: session.exec(select(Location)).all())}
    elsewhere = [(rows[b"b"] or 0, one), (rows[b"c"] or 0, two)]
    await catalogue.write(partial(note_volumes, elsewhere=elsewhere))
    assert await compared(catalogue, {}, volume=one) == Comparison(unseen=[b"b"], out_of_reach=2, known=3)
    assert await compared(catalogue, {}, volume=two) == Comparison(unseen=[b"c"], out_of_reach=2, known=3)
    assert await compared(catalogue, {}) == Comparison(out_of_reach=3, known=3)
    comparison = await compared(catalogue, dict.fromkeys(rows, NUMBERS), volume=two)
    assert comparison == Comparison(known=3, elsewhere=[(rows[b"a"] or 0, two), (rows[b"b"] or 0, two)])
    await catalogue.write(partial(note_volumes, elsewhere=comparison.elsewhere))
    assert await compared(catalogue, dict.fromkeys(rows, NUMBERS), volume=two) == Comparison(known=3)
    # What was seen once can be missed.
    assert await compared(catalogue, {}, volume=two) == Comparison(unseen=[b"a", b"b", b"c"], known=3)
    # Where nobody knows which volume is there, nothing is noted.
    assert (await compared(catalogue, dict.fromkeys(rows, NUMBERS))).elsewhere == []


async def test_many_locations_are_noted_at_once(
    catalogue: Catalogue, image_asset: MakeAsset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absence, "_ROWS", 2)
    paths = [b"%d" % number for number in range(5)]
    await known(catalogue, image_asset, *paths)
    one = await catalogue.write(partial(volume_id, root="inbox", key=VolumeKey(b"", 1)))
    comparison = await compared(catalogue, dict.fromkeys(paths, NUMBERS), volume=one)
    await catalogue.write(partial(note_volumes, elsewhere=comparison.elsewhere))
    rows = await catalogue.read(lambda session: session.exec(select(Location)).all())
    assert [row.volume_id for row in rows] == [one] * 5


ROOTS = Roots([Root(name="inbox", path=b"/in \xff")])


async def candidates_at(catalogue: Catalogue, *paths: bytes) -> list[Candidate]:
    return await catalogue.read(partial(candidates, root="inbox", paths=paths))


async def marked(catalogue: Catalogue, *gone: Candidate) -> list[bytes]:
    """The paths that are marked as missing now."""
    await catalogue.write(partial(mark_missing, roots=ROOTS, root="inbox", gone=gone, at=AT))
    rows = await catalogue.read(lambda session: session.exec(select(Location)).all())
    return sorted(row.path for row in rows if row.missing_since)


async def stored_events(catalogue: Catalogue) -> list[Event]:
    return await catalogue.read(lambda session: [restore_event(row) for row in session.exec(select(StoredEvent)).all()])


async def test_candidates_are_locations_that_are_not_missing_yet(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    asset_id = await known(catalogue, image_asset, b"a", b"b", b"c")
    await known(catalogue, image_asset, b"a", root="phone")
    (b,) = await candidates_at(catalogue, b"b")
    assert (b.asset_id, b.sha256, b.path, b.inode, b.ctime_ns) == (asset_id, "7" * 64, b"b", 30, 20)
    await marked(catalogue, b)
    assert sorted(each.path for each in await candidates_at(catalogue, b"a", b"b", b"d")) == [b"a"]
    assert await candidates_at(catalogue) == []


async def test_what_is_missing_is_marked_and_told_once(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    asset_id = await known(catalogue, image_asset, b"a\xff", b"b")
    (gone,) = await candidates_at(catalogue, b"a\xff")
    mark = partial(mark_missing, roots=ROOTS, root="inbox", gone=[gone], at=AT)
    (event,) = await catalogue.write(mark)
    assert (event.asset_id, event.sha256, event.root, event.occurred_at) == (asset_id, "7" * 64, "inbox", AT)
    assert (event.path, event.path_base64) == ("/in \ufffd/a\ufffd", "L2luIP8vYf8=")
    assert await stored_events(catalogue) == [event]
    assert await catalogue.write(mark) == []
    assert await stored_events(catalogue) == [event]
    (row,) = [
        row
        for row in await catalogue.read(lambda session: session.exec(select(Location)).all())
        if row.missing_since is not None
    ]
    assert (row.path, row.missing_since) == (b"a\xff", AT)


CHANGES: dict[str, dict[str, Any]] = {
    "another file": {"inode": 31},
    "the same file, moved away and back": {"ctime_ns": 21},
    "another path": {"path": b"b"},
    "another root": {"root": "phone"},
    "missing already": {"missing_since": AT - timedelta(1)},
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_row_that_changed_since_is_left_as_it_is(
    catalogue: Catalogue, image_asset: MakeAsset, what: str
) -> None:
    await known(catalogue, image_asset, b"a")
    (gone,) = await candidates_at(catalogue, b"a")
    await catalogue.write(lambda session: session.execute(sqlalchemy.update(Location).values(CHANGES[what])).close())
    before = await catalogue.read(lambda session: session.exec(select(Location)).one().model_dump())
    assert await catalogue.write(partial(mark_missing, roots=ROOTS, root="inbox", gone=[gone], at=AT)) == []
    assert await catalogue.read(lambda session: session.exec(select(Location)).one().model_dump()) == before
    assert await stored_events(catalogue) == []


async def test_a_row_that_is_gone_or_made_anew_is_left_alone(catalogue: Catalogue, image_asset: MakeAsset) -> None:
    await known(catalogue, image_asset, b"a", b"b")
    (gone,) = await candidates_at(catalogue, b"a")
    await catalogue.write(
        lambda session: session.execute(sqlalchemy.delete(Location).where(col(Location.path) == b"a")).close()
    )
    assert await marked(catalogue, gone) == []


async def test_a_missing_location_is_healed_when_it_is_recorded_again(
    catalogue: Catalogue, image_asset: MakeAsset
) -> None:
    asset_id = await known(catalogue, image_asset, b"a")
    assert await marked(catalogue, *await candidates_at(catalogue, b"a")) == [b"a"]
    finding = Finding(Place("inbox", b"a"), Signature(*NUMBERS))
    await catalogue.write(lambda session: record_location(session, asset_id, finding))
    assert await compared(catalogue, {b"a": NUMBERS}) == Comparison(known=1)


async def test_only_failures_at_these_paths_of_this_root_are_forgotten(catalogue: Catalogue) -> None:
    for path in (b"a", b"b", b"c"):
        await fail(catalogue, path, BrokenFileError("broken"))
    await fail(catalogue, b"a", BrokenFileError("broken"), root="phone")
    await catalogue.write(partial(forget_failures_at, root="inbox", paths=[b"a", b"c", b"d"]))
    rows = await catalogue.read(lambda session: session.exec(select(Failure)).all())
    assert sorted((row.root, row.path) for row in rows) == [("inbox", b"b"), ("phone", b"a")]


@pytest.fixture
async def root(catalogue: Catalogue) -> Callable[[], Any]:
    """Two claimed roots; what the catalogue says of the first."""
    await catalogue.write(lambda session: claim(session, [Place("inbox", b"/in"), Place("phone", b"/phone")]))

    async def ask() -> tuple[datetime | None, str | None, datetime | None]:
        rows = {row.name: row for row in await catalogue.read(lambda session: session.exec(select(Root)).all())}
        phone = rows["phone"]
        assert (phone.held_since, phone.held_because, phone.accepted_at) == (None, None, None)
        inbox = rows["inbox"]
        return inbox.held_since, inbox.held_because, inbox.accepted_at

    return ask


async def test_since_when_a_root_is_held_stays_and_why_may_change(
    catalogue: Catalogue, root: Callable[[], Any]
) -> None:
    later = AT + timedelta(hours=1)
    await catalogue.write(partial(hold, root="inbox", because="it is not there", missing=7, at=AT))
    await catalogue.write(partial(hold, root="inbox", because="it lost too much", missing=7, at=later))
    assert await root() == (AT, "it lost too much", None)
    await catalogue.write(partial(release, root="inbox"))
    assert await root() == (None, None, None)
    await catalogue.write(partial(hold, root="inbox", because="it is not there", missing=7, at=later))
    assert await root() == (later, "it is not there", None)


async def test_that_a_root_is_held_is_told_when_it_begins_and_when_the_root_itself_is_gone(
    catalogue: Catalogue, root: Callable[[], Any]
) -> None:
    def held(missing: int | None) -> Callable[[Session], RootHeldEvent | None]:
        return partial(hold, root="inbox", because="it lost too much", missing=missing, at=AT)

    told = await catalogue.write(held(7))
    assert told is not None
    assert (told.root, told.path, told.reason, told.missing_files) == ("inbox", "/in", "it lost too much", 7)
    assert [await catalogue.write(held(missing)) for missing in (7, 8)] == [None, None]
    told = await catalogue.write(held(None))
    assert told is not None
    assert told.missing_files is None
    assert await catalogue.write(held(None)) is None
    assert await catalogue.write(held(7)) is not None
    await catalogue.write(partial(release, root="inbox"))
    assert await catalogue.write(held(7)) is not None
    assert await root() == (AT, "it lost too much", None)


async def test_only_a_root_that_is_held_can_be_accepted_and_a_release_ends_it(
    catalogue: Catalogue, root: Callable[[], Any]
) -> None:
    assert not await catalogue.write(partial(accept, root="inbox", at=AT))
    assert not await catalogue.write(partial(accept, root="unheard of", at=AT))
    await catalogue.write(partial(hold, root="inbox", because="it lost too much", missing=7, at=AT))
    assert await catalogue.read(partial(accepted_missing, root="inbox")) is None
    assert await catalogue.write(partial(accept, root="inbox", at=AT))
    assert await catalogue.read(partial(accepted_missing, root="inbox")) == 7
    assert await catalogue.read(partial(accepted_missing, root="phone")) is None
    assert await catalogue.read(partial(accepted_missing, root="unheard of")) is None
    await catalogue.write(partial(release, root="inbox"))
    assert await root() == (None, None, None)


async def test_what_was_accepted_stands_until_the_root_is_not_there(
    catalogue: Catalogue, root: Callable[[], Any]
) -> None:
    await catalogue.write(partial(hold, root="inbox", because="it lost too much", missing=7, at=AT))
    assert await catalogue.write(partial(accept, root="inbox", at=AT))
    assert await root() == (AT, "it lost too much", AT)
    await catalogue.write(partial(hold, root="inbox", because="it lost more", missing=7, at=AT + timedelta(hours=1)))
    assert await root() == (AT, "it lost more", AT)
    await catalogue.write(partial(hold, root="inbox", because="it is gone", missing=None, at=AT))
    assert await root() == (AT, "it is gone", None)
    assert await catalogue.read(partial(accepted_missing, root="inbox")) is None
    assert not await catalogue.write(partial(accept, root="inbox", at=AT)), "nothing is known to be missing"
    await catalogue.write(partial(hold, root="inbox", because="it lost more", missing=8, at=AT))
    assert await catalogue.write(partial(accept, root="inbox", at=AT))
    assert await catalogue.read(partial(accepted_missing, root="inbox")) == 8


async def test_what_has_passed_is_taken_off_what_was_accepted(catalogue: Catalogue, root: Callable[[], Any]) -> None:
    await catalogue.write(partial(hold, root="inbox", because="it lost too much", missing=7, at=AT))
    await catalogue.write(partial(note_passed, root="inbox", count=3))
    assert await catalogue.read(partial(accepted_missing, root="inbox")) is None, "nobody accepted it"
    await catalogue.write(partial(accept, root="inbox", at=AT))
    await catalogue.write(partial(note_passed, root="inbox", count=3))
    assert await catalogue.read(partial(accepted_missing, root="inbox")) == 4
    await catalogue.write(partial(note_passed, root="inbox", count=4))
    assert await catalogue.read(partial(accepted_missing, root="inbox")) == 0
    assert await root() == (AT, "it lost too much", AT)
