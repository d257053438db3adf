"""Locations that change: a file moved, linked, or changed in place; and what is told of it in the same transaction."""

import os
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import sqlalchemy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, update
from sqlmodel import Session, col, select

from damd.catalogue.failing import record_failure
from damd.catalogue.outbox import restore_event
from damd.catalogue.queries import FormerLocation, former_by_content, former_by_inode
from damd.catalogue.record import Finding, NewAsset, record_asset, record_link, record_location, record_move
from damd.catalogue.roots import Place
from damd.catalogue.tables import ContentHash, Entity, Failure, Location, StoredEvent, Volume
from damd.catalogue.volumes import VolumeKey
from damd.errors import FileChangedError
from damd.events import Event, FileChangedEvent, FileMovedEvent

AT = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
DISK = VolumeKey(b"disk", -(2**63))
MakeAsset = Callable[..., NewAsset]
MakeFinding = Callable[..., Finding]


def path_of(place: Place) -> bytes:
    return os.path.join(b"/" + place.root.encode(), place.path)  # noqa: PTH118 - bytes


def record(session: Session, sha256: str, finding: Finding, image_asset: MakeAsset) -> int:
    asset = image_asset(sha256)._replace(finding=finding)
    return record_asset(session, asset, None, path_of).asset_id


def former(session: Session, finding: Finding, *, at: bytes = b"elsewhere") -> FormerLocation:
    """The location of this finding, as whoever looks at another path is told of it."""
    (only,) = former_by_inode(session, Place("inbox", at), finding.signature)
    return only


def lose(session: Session, finding: Finding) -> None:
    here = (col(Location.root) == finding.place.root) & (col(Location.path) == finding.place.path)
    session.execute(update(Location).where(here).values(missing_since=AT))


def locations(session: Session) -> dict[Place, tuple[int, bool]]:
    """Each location's asset, and whether it is missing."""
    rows = session.exec(select(Location)).all()
    found = {Place(row.root, row.path): (row.entity_id, row.missing_since is not None) for row in rows}
    assert len(found) == len(rows)
    return found


def stored(session: Session) -> list[Event]:
    return [restore_event(row) for row in session.exec(select(StoredEvent))]


def test_a_moved_location_keeps_its_number_and_takes_everything_else_from_the_file(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    there = finding(b"b\xff.jpg", root="photos", ctime_ns=21, volume=DISK, born_ns=5)
    with Session(engine) as session:
        asset_id = record(session, "aa", finding(born_ns=4), image_asset)
        known = former(session, finding())
        for each in (finding(), there, finding(b"other.jpg")):
            record_failure(session, each, FileChangedError(), at=AT)
        events = record_move(session, known, there, path_of)
        session.commit()
    with Session(engine) as session:
        (row,) = session.exec(select(Location)).all()
        assert (row.id, row.entity_id, row.root, row.path) == (known.location_id, asset_id, "photos", b"b\xff.jpg")
        assert (row.ctime_ns, row.born_ns, row.missing_since) == (21, 5, None)
        assert session.exec(select(Volume.root, Volume.path, Volume.filesystem)).one() == ("photos", *DISK)
        assert session.exec(select(Failure.path)).all() == [b"other.jpg"]
        assert stored(session) == events
        (event,) = events
        assert isinstance(event, FileMovedEvent)
        assert (event.asset_id, event.sha256) == (asset_id, "aa")
        assert (event.path, event.path_base64, event.root) == ("/photos/b\ufffd.jpg", "L3Bob3Rvcy9i/y5qcGc=", "photos")
        assert (event.previous_path, event.previous_path_base64) == ("/inbox/a.jpg", None)
        assert event.previous_root == "inbox"


@pytest.mark.parametrize("missing", [False, True])
def test_a_move_over_another_asset_tells_of_its_change_unless_it_was_missing(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding, missing: bool
) -> None:
    there = finding(b"b.jpg", inode=31)
    with Session(engine) as session:
        first = record(session, "aa", finding(), image_asset)
        second = record(session, "bb", there, image_asset)
        if missing:
            lose(session, there)
        events = record_move(session, former(session, finding()), finding(b"b.jpg"), path_of)
        assert events
        assert locations(session) == {Place("inbox", b"b.jpg"): (first, False)}
        changed = [event for event in events if isinstance(event, FileChangedEvent)]
        assert [(event.asset_id, event.previous_asset_id) for event in changed] == (
            [] if missing else [(first, second)]
        )
        assert [(event.sha256, event.previous_sha256) for event in changed] == ([] if missing else [("aa", "bb")])
        assert {event.event_id for event in stored(session)} == {event.event_id for event in events}


def forget(session: Session, known: FormerLocation) -> None:
    session.execute(delete(Location).where(col(Location.id) == known.location_id))


def rename(session: Session, known: FormerLocation) -> None:
    session.execute(update(Location).where(col(Location.id) == known.location_id).values(path=b"renamed"))


def change(session: Session, known: FormerLocation) -> None:
    other = select(ContentHash.entity_id).where(ContentHash.sha256 == "bb").scalar_subquery()
    session.execute(update(Location).where(col(Location.id) == known.location_id).values(entity_id=other))


def miss(session: Session, known: FormerLocation) -> None:
    session.execute(update(Location).where(col(Location.id) == known.location_id).values(missing_since=AT))


def find_again(session: Session, known: FormerLocation) -> None:
    session.execute(update(Location).where(col(Location.id) == known.location_id).values(missing_since=None))


@pytest.mark.parametrize("meddle", [forget, rename, change])
def test_a_location_that_is_no_longer_what_was_read_neither_moves_nor_is_linked(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding, meddle: Callable[[Session, FormerLocation], None]
) -> None:
    with Session(engine) as session:
        record(session, "aa", finding(), image_asset)
        record(session, "bb", finding(b"b.jpg", inode=31), image_asset)
        known = former(session, finding())
        meddle(session, known)
        before = locations(session)
        assert record_move(session, known, finding(b"c.jpg"), path_of) is None
        assert record_link(session, known, finding(b"c.jpg"), path_of) is None
        assert (locations(session), stored(session)) == (before, [])


def test_a_missing_location_that_moves_is_missing_no_more(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    with Session(engine) as session:
        asset_id = record(session, "aa", finding(born_ns=4), image_asset)
        lose(session, finding())
        known = former(session, finding())
        assert known.missing
        events = record_move(session, known, finding(b"b.jpg", born_ns=4), path_of)
        assert events
        (event,) = events
        assert isinstance(event, FileMovedEvent)
        assert (event.path, event.previous_path) == ("/inbox/b.jpg", "/inbox/a.jpg")
        assert session.exec(select(Location.id)).one() == known.location_id
        assert locations(session) == {Place("inbox", b"b.jpg"): (asset_id, False)}
        assert stored(session) == [event]


@pytest.mark.parametrize("meddle", [miss, find_again])
def test_a_location_that_goes_missing_or_is_found_again_meanwhile_still_moves(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding, meddle: Callable[[Session, FormerLocation], None]
) -> None:
    with Session(engine) as session:
        asset_id = record(session, "aa", finding(), image_asset)
        if meddle is find_again:
            lose(session, finding())
        known = former(session, finding())
        assert known.missing is (meddle is find_again)
        meddle(session, known)
        events = record_move(session, known, finding(b"b.jpg"), path_of)
        assert events
        (event,) = events
        assert isinstance(event, FileMovedEvent)
        assert (event.path, event.previous_path) == ("/inbox/b.jpg", "/inbox/a.jpg")
        assert session.exec(select(Location.id)).one() == known.location_id
        assert locations(session) == {Place("inbox", b"b.jpg"): (asset_id, False)}
        assert stored(session) == [event]


@pytest.mark.parametrize("meddle", [miss, find_again])
def test_a_location_that_goes_missing_or_is_found_again_meanwhile_is_still_linked(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding, meddle: Callable[[Session, FormerLocation], None]
) -> None:
    with Session(engine) as session:
        asset_id = record(session, "aa", finding(), image_asset)
        if meddle is find_again:
            lose(session, finding())
        known = former(session, finding())
        meddle(session, known)
        assert record_link(session, known, finding(b"b.jpg", ctime_ns=21), path_of) == []
        found = locations(session)
        assert found.keys() == {Place("inbox", b"a.jpg"), Place("inbox", b"b.jpg")}
        assert found[Place("inbox", b"b.jpg")] == (asset_id, False)
        # Whether the other name is missing is for a look at that one to say.
        assert found[Place("inbox", b"a.jpg")] == (asset_id, meddle is miss)
        assert stored(session) == []


def test_a_link_is_a_further_location(engine: Engine, image_asset: MakeAsset, finding: MakeFinding) -> None:
    with Session(engine) as session:
        asset_id = record(session, "aa", finding(), image_asset)
        assert record_link(session, former(session, finding()), finding(b"link.jpg"), path_of) == []
        places = (Place("inbox", b"a.jpg"), Place("inbox", b"link.jpg"))
        assert locations(session) == dict.fromkeys(places, (asset_id, False))


@pytest.mark.parametrize("is_new", [True, False], ids=["new-asset", "further-location"])
def test_another_assets_bytes_at_a_path_are_told_of_with_both_assets(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding, is_new: bool
) -> None:
    with Session(engine) as session:
        first = record(session, "aa", finding(), image_asset)
        if not is_new:
            record(session, "bb", finding(b"b.jpg", inode=31), image_asset)
        second = record(session, "bb", finding(size_bytes=4), image_asset)
        (event,) = stored(session)
        assert isinstance(event, FileChangedEvent)
        assert (event.asset_id, event.sha256) == (second, "bb")
        assert (event.previous_asset_id, event.previous_sha256) == (first, "aa")
        assert (event.path, event.root) == ("/inbox/a.jpg", "inbox")
        assert session.exec(select(StoredEvent.entity_id)).one() == second


def test_the_same_asset_or_a_missing_one_at_a_path_is_no_change(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    with Session(engine) as session:
        first = record(session, "aa", finding(), image_asset)
        assert record_location(session, first, finding(ctime_ns=21), path_of) == []
        lose(session, finding())
        record(session, "bb", finding(size_bytes=4), image_asset)
        assert stored(session) == []


def test_a_volume_is_made_once_and_remembered_by_its_locations(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    with Session(engine) as session:
        for number, volume in enumerate([DISK, DISK, VolumeKey(b"", 7), None]):
            record(session, f"hash{number}", finding(b"%d" % number, volume=volume), image_asset)
        one, two, other, nowhere = session.exec(select(Location.volume_id).order_by(col(Location.path))).all()
        assert one == two != other
        assert nowhere is None
        assert len(session.exec(select(Volume)).all()) == 2
        found = former_by_inode(session, Place("inbox", b"new"), finding().signature)
        assert [known.volume for known in sorted(found)] == [DISK, DISK, VolumeKey(b"", 7), None]


def test_a_former_location_is_known_by_inode_size_and_mtime_missing_or_not_and_is_never_the_path_itself(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    with Session(engine) as session:
        record(session, "aa", finding(born_ns=9), image_asset)
        for number, other in enumerate([{"inode": 31}, {"size_bytes": 4}, {"mtime_ns": 11}]):
            record(session, f"hash{number}", finding(b"%d" % number, **other), image_asset)
        record(session, "cc", finding(b"missing"), image_asset)
        lose(session, finding(b"missing"))
        signature = finding(ctime_ns=99).signature
        known, lost = sorted(former_by_inode(session, Place("photos", b"a.jpg"), signature))
        assert (known.place, known.sha256, known.born_ns) == (Place("inbox", b"a.jpg"), "aa", 9)
        assert (lost.place, lost.sha256, lost.born_ns) == (Place("inbox", b"missing"), "cc", None)
        assert (known.missing, lost.missing) == (False, True)
        assert former_by_inode(session, known.place, signature) == [lost]
        assert former_by_inode(session, lost.place, signature) == [known]


def test_a_former_location_of_a_content_has_its_size_and_mtime_is_not_missing_and_the_path_is_none_of_it_yet(
    engine: Engine, image_asset: MakeAsset, finding: MakeFinding
) -> None:
    with Session(engine) as session:
        asset_id = record(session, "aa", finding(), image_asset)
        record(session, "bb", finding(b"other", inode=31), image_asset)
        record(session, "aa", finding(b"touched", mtime_ns=11), image_asset)
        record(session, "aa", finding(b"missing"), image_asset)
        lose(session, finding(b"missing"))
        signature = finding(inode=99).signature
        for new in (Place("photos", b"a.jpg"), Place("inbox", b"other")):
            assert [known.place for known in former_by_content(session, asset_id, new, signature)] == [
                Place("inbox", b"a.jpg")
            ]
        assert former_by_content(session, asset_id, Place("inbox", b"touched"), signature) == []


PLACES = [Place(root, path) for root in ("inbox", "photos", "") for path in (b"a", b"b")]
ROWS = st.dictionaries(st.sampled_from(PLACES), st.tuples(st.sampled_from("xyz"), st.booleans()), max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, source=st.sampled_from(PLACES), to=st.sampled_from(PLACES))
def test_whatever_lay_there_after_a_move_every_path_has_one_location_and_every_asset_its_own(
    engine: Engine,
    image_asset: MakeAsset,
    finding: MakeFinding,
    rows: dict[Place, tuple[str, bool]],
    source: Place,
    to: Place,
) -> None:
    rows = {source: ("x", False), **rows}
    with Session(engine) as session:
        for table in (StoredEvent, Location, Entity):
            session.execute(sqlalchemy.delete(table))
        assets = {}
        for place, (sha256, is_missing) in rows.items():
            here = finding(place.path, root=place.root)
            assets[sha256] = record(session, sha256, here, image_asset)
            if is_missing:
                lose(session, here)
        before = {place: (assets[sha256], is_missing) for place, (sha256, is_missing) in rows.items()}
        assert locations(session) == before
        known = next(
            known
            for known in former_by_inode(session, Place("nowhere", b""), finding().signature)
            if known.place == source
        )
        events = record_move(session, known, finding(to.path, root=to.root), path_of)
        moved = before[source][0]
        assert known.missing == before[source][1]
        others = {place: row for place, row in before.items() if place not in {source, to}}
        assert locations(session) == others | {to: (moved, False)}
        overwritten, is_missing = before.get(to, (moved, True))
        changes = [] if is_missing or overwritten == moved else [overwritten]
        assert [type(event) for event in events or ()] == [FileMovedEvent] + [FileChangedEvent] * len(changes)
        assert [event.previous_asset_id for event in events or () if isinstance(event, FileChangedEvent)] == changes
        session.rollback()
