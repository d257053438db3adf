"""What one scan sights, and what it dares to call missing."""

import os
import shutil
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import sqlalchemy
from sqlmodel import Session, col, select, update
from watch.scanning import CARD, OWN, WHOLE, Bench, ManyMounts

from damd.catalogue.failing import record_failure
from damd.catalogue.record import Finding
from damd.catalogue.roots import Place
from damd.catalogue.tables import Failure, Location, Volume, now
from damd.errors import BrokenFileError, CatalogueUnavailableError, WatchLostError
from damd.fingerprint import Signature
from damd.watch import scan as scan_module

pytestmark = pytest.mark.anyio


async def test_what_is_unknown_is_offered_and_nobody_waits_where_nothing_is_gone(bench: Bench) -> None:
    bench.write("a", "b/c", "d.raw")
    assert not await bench.scan()
    assert bench.sink.offered == [os.fsencode(bench.folder / path) for path in ("a", "b/c")]
    assert bench.sink.asked == 0
    assert await bench.held() is None


async def test_only_what_is_asked_for_is_scanned(bench: Bench) -> None:
    await bench.imported("a/1", "b/1", "b-c", "d")
    bench.write("a/2", "b/2", "d")
    bench.remove("a/1", "b/1", "b-c")
    assert not await bench.scan("b", "d")
    assert bench.sink.offered == [os.fsencode(bench.folder / path) for path in ("b/2", "d")]
    assert await bench.missing() == ["b/1"]


async def test_the_files_of_a_renamed_folder_are_offered_with_their_former_paths(bench: Bench) -> None:
    await bench.imported("a/1", "a/b/2", "c")
    (bench.folder / "a").rename(bench.folder / "d")
    bench.sink.deal = bench.ingest
    assert not await bench.scan("d", moved_from="a")
    moves = [("a/1", "d/1"), ("a/b/2", "d/b/2")]
    assert bench.sink.moves == [tuple(os.fsencode(bench.folder / path) for path in move) for move in moves]
    assert not await bench.scan("c", "d")
    assert len(bench.sink.moves) == 2, "what is marked again has not moved again"


async def test_a_renamed_file_that_is_marked_is_offered_with_its_former_path(bench: Bench) -> None:
    await bench.imported("a")
    (bench.folder / "a").rename(bench.folder / "b")
    bench.sink.deal = bench.ingest
    assert not await bench.scan("b", moved_from="a")
    assert bench.sink.moves == [(os.fsencode(bench.folder / "a"), os.fsencode(bench.folder / "b"))]


async def test_what_links_lead_to_and_what_is_mounted_from_elsewhere_is_named_to_be_polled(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (bench.folder / "link").symlink_to(tmp_path / "outside")
    remote = os.fspath(bench.folder / "remote")
    table = tmp_path / "mountinfo"
    table.write_text(
        f"1 1 0:1 / / rw - ext4 s rw\n2 1 0:2 / {remote} rw - nfs4 s rw\n3 1 0:3 / {remote}-b rw - xfs s rw\n"
    )
    bench.mounts = ManyMounts(table)
    bench.scanner = bench.new_scanner()
    object.__setattr__(bench.tree, "follow_symlinks", True)
    await bench.scan()
    assert bench.scanner.polled == {os.fsencode(bench.folder / "link"), os.fsencode(remote)}


async def test_what_is_gone_is_missing_once_what_waits_has_been_dealt_with(bench: Bench) -> None:
    await bench.imported("a", "b/c")

    async def look() -> None:
        assert await bench.missing() == []

    bench.sink.deal = look
    bench.remove("a")
    assert not await bench.scan()
    assert bench.sink.asked == 1
    assert await bench.missing() == ["a"]
    assert await bench.held() is None


async def test_that_a_file_is_missing_is_stored_and_announced_once(bench: Bench) -> None:
    await bench.imported("a", "b")
    bench.remove("a")
    await bench.scan()
    await bench.scan()
    (event,) = bench.announced
    assert event.event_type == "file.missing"
    assert event.data()["path"] == os.fspath(bench.folder / "a")
    assert event.data()["root"] == "inbox"
    assert await bench.stored() == [event]


async def test_each_of_many_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "_MARKED_TOGETHER", 3)
    monkeypatch.setattr(scan_module, "_LOOKED_UP_TOGETHER", 2)
    paths = [f"{number}" for number in range(10)]
    await bench.imported(*paths)
    bench.remove(*paths[1:])
    await bench.scan()
    assert await bench.missing() == paths[1:]
    assert [event.data()["path"] for event in bench.announced] == [os.fspath(bench.folder / path) for path in paths[1:]]
    assert sorted(event.event_id for event in await bench.stored()) == sorted(each.event_id for each in bench.announced)


async def test_a_file_whose_inode_waits_elsewhere_is_spared(bench: Bench) -> None:
    await bench.imported("a", "b")
    bench.sink.inodes = frozenset({(bench.folder / "a").stat().st_ino})
    bench.remove("a", "b")
    assert await bench.scan() == ["a"], "to be looked for again"
    assert await bench.missing() == ["b"]
    bench.sink.inodes = frozenset()
    await bench.scan()
    assert await bench.missing() == ["a", "b"]


async def test_a_file_that_moved_is_not_missing(bench: Bench) -> None:
    await bench.imported("a", "b")
    (bench.folder / "a").rename(bench.folder / "c")
    bench.sink.deal = bench.ingest
    await bench.scan()
    assert await bench.missing() == []
    assert await bench.known() == ["b", "c"]
    assert bench.announced == []


async def test_a_file_that_is_back_meanwhile_is_not_missing(bench: Bench) -> None:
    await bench.imported("a", "b")
    (bench.folder / "a").rename(bench.folder.parent / "a")

    async def bring_back() -> None:
        await anyio.lowlevel.checkpoint()
        (bench.folder.parent / "a").rename(bench.folder / "a")

    bench.sink.deal = bring_back
    await bench.scan()
    assert await bench.missing() == []


async def test_a_row_that_changes_after_the_last_look_is_not_marked(bench: Bench) -> None:
    await bench.imported("a", "b")
    bench.remove("a")
    demand = bench.demand

    async def change_at_the_end() -> None:
        await demand()
        if bench.demanded == 3:
            statement = update(Location).where(col(Location.path) == b"a").values(ctime_ns=1)
            await bench.catalogue.write(lambda session: session.execute(statement).close())

    bench.demand = change_at_the_end  # type: ignore[method-assign]  # as somebody else would do it at this moment
    await bench.scan()
    assert bench.demanded == 3
    assert await bench.missing() == []
    assert bench.announced == []


async def test_in_a_root_that_was_replaced_meanwhile_nothing_is_missing(bench: Bench) -> None:
    await bench.imported("a", "b")

    async def replace() -> None:
        await anyio.lowlevel.checkpoint()
        bench.folder.rename(bench.folder.with_name("away"))
        bench.folder.mkdir()

    bench.remove("a")
    bench.sink.deal = replace
    with pytest.raises(WatchLostError):
        await bench.scan()
    assert await bench.missing() == []
    with pytest.raises(WatchLostError):
        await bench.scan()
    assert await bench.missing() == []


async def test_what_was_not_there_while_something_was_mounted_or_unmounted_is_looked_for_again(bench: Bench) -> None:
    await bench.imported("a", "b")
    away, demand = bench.folder.with_name("away"), bench.demand

    # The disk is away while its files are looked for, and nobody sees it go or come.
    async def demand_and_change() -> None:
        await demand()
        if bench.demanded == 3:
            away.rename(bench.folder / "a")
            bench.mounts.changes += 2

    (bench.folder / "a").rename(away)
    bench.demand = demand_and_change  # type: ignore[method-assign]  # what happens at that moment
    assert await bench.scan()
    assert await bench.missing() == []
    assert not await bench.scan()
    assert await bench.missing() == []


async def test_on_which_volume_a_file_lies_is_not_noted_while_something_is_mounted_or_unmounted(bench: Bench) -> None:
    await bench.imported("a", "card/1")
    bench.presence, demand = bench.with_volumes(OWN, CARD), bench.demand

    async def demand_and_change() -> None:
        await demand()
        bench.mounts.changes += bench.demanded == 1

    async def volumes() -> dict[bytes, bytes]:
        statement = select(Location.path, Volume.path).join(Volume, col(Volume.id) == Location.volume_id)
        return dict(await bench.catalogue.read(lambda session: session.exec(statement).all()))

    bench.demand = demand_and_change  # type: ignore[method-assign]  # what happens at that moment
    await bench.scan()
    assert await volumes() == {b"a": b"", b"card/1": b""}
    await bench.scan()
    assert await volumes() == {b"a": b"", b"card/1": b"card"}


async def test_mounts_that_never_rest_are_not_waited_for_without_end(bench: Bench) -> None:
    await bench.imported("a", "b")
    bench.remove("a")
    demand = bench.demand

    async def demand_and_change() -> None:
        await demand()
        bench.mounts.changes += 1

    bench.demand = demand_and_change  # type: ignore[method-assign]  # what happens at that moment
    assert [await bench.scan() for _ in range(4)] == [WHOLE, WHOLE, [], WHOLE]
    assert await bench.missing() == []


async def test_a_file_in_the_place_of_a_folder_is_an_absence_of_what_was_in_it(bench: Bench) -> None:
    await bench.imported("a/b", "c")
    shutil.rmtree(bench.folder / "a")
    bench.write("a")
    await bench.scan()
    assert await bench.missing() == ["a/b"]


async def test_what_is_ignored_now_is_not_missing(bench: Bench) -> None:
    await bench.imported("a/b", "c")
    (bench.folder / ".damdignore").write_text("a/\n")
    await bench.scan()
    assert await bench.missing() == []
    shutil.rmtree(bench.folder / "a")
    await bench.scan()
    assert await bench.missing() == ["a/b"]


async def test_a_location_that_is_back_is_offered_and_missing_no_more_once_it_is_recorded(bench: Bench) -> None:
    await bench.imported("a", "b")
    (bench.folder / "a").rename(bench.folder.parent / "a")
    await bench.scan()
    assert await bench.missing() == ["a"]
    (bench.folder.parent / "a").rename(bench.folder / "a")
    bench.sink.offered.clear()
    await bench.scan()
    assert bench.sink.offered == [os.fsencode(bench.folder / "a")]
    await bench.ingest("a")
    assert await bench.missing() == []
    bench.remove("a")
    await bench.scan()
    assert await bench.missing() == ["a"]
    assert len(bench.announced) == 2


async def test_failures_of_files_that_are_gone_are_forgotten(bench: Bench) -> None:
    await bench.imported("c")
    bench.write("a", "b")

    def fail(session: Session) -> None:
        for path in (b"a", b"b", b"gone"):
            finding = Finding(Place("inbox", path), Signature(1, 2, 3, 4))
            record_failure(session, finding, BrokenFileError("broken"), at=now())

    async def failures() -> list[bytes]:
        return sorted(await bench.catalogue.read(lambda session: session.exec(select(Failure.path)).all()))

    async def bring_back() -> None:
        await anyio.lowlevel.checkpoint()
        bench.write("b")

    await bench.catalogue.write(fail)
    bench.remove("b")
    bench.sink.deal = bring_back
    assert not await bench.scan()
    assert await failures() == [b"a", b"b"]
    bench.remove("b")
    bench.sink.deal = anyio.lowlevel.checkpoint
    assert not await bench.scan("b")
    assert await failures() == [b"a"]


async def test_a_catalogue_that_is_away_ends_a_scan_and_the_next_one_loses_nothing(bench: Bench) -> None:
    def rename(session: Session, before: str, after: str) -> None:
        session.execute(sqlalchemy.text(f"ALTER TABLE {before} RENAME TO {after}"))

    async def hide() -> None:
        await bench.catalogue.write(partial(rename, before="location", after="hidden"))

    await bench.imported("a", "b")
    bench.remove("a")
    bench.write("c")
    bench.sink.deal = hide
    with pytest.raises(CatalogueUnavailableError):
        await bench.scan()
    await bench.catalogue.write(partial(rename, before="hidden", after="location"))
    bench.sink.deal = anyio.lowlevel.checkpoint
    assert not await bench.scan()
    assert await bench.missing() == ["a"]
