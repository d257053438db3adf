"""A root that is held: what lost too much, or is out of reach, and what a person accepts."""

import os
from functools import partial

import anyio.lowlevel
import pytest
import sqlalchemy
from sqlmodel import Session
from structlog.testing import capture_logs
from watch.scanning import CARD, OWN, WHOLE, Bench

from damd.watch import scan as scan_module

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("few_allowed")
async def test_a_root_that_would_lose_too_much_is_held_and_nothing_is_marked(bench: Bench) -> None:
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:3])
    with capture_logs() as lines:
        assert not await bench.scan()
        assert not await bench.scan()
    because = "3 of 20 known files are not there, more than max_missing (10%) lets pass"
    assert await bench.held() == because
    assert await bench.missing() == []
    told = [line for line in lines if line["event"] == "root held"]
    assert [(line["log_level"], line["reason"], line["root"]) for line in told] == [("debug", because, "inbox")]


@pytest.mark.usefixtures("few_allowed")
async def test_a_root_is_released_when_enough_is_there_again(bench: Bench) -> None:
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    (bench.folder / paths[0]).rename(bench.folder.parent / "kept")
    bench.remove(*paths[1:3])
    await bench.scan()
    assert await bench.held()
    (bench.folder.parent / "kept").rename(bench.folder / paths[0])
    with capture_logs() as lines:
        await bench.scan()
    assert await bench.held() is None
    assert await bench.missing() == paths[1:3]
    assert "root released" in [line["event"] for line in lines]


@pytest.mark.usefixtures("few_allowed")
async def test_the_share_counts_where_it_is_more_than_a_few(bench: Bench) -> None:
    paths = [f"{number:02}" for number in range(40)]
    await bench.imported(*paths)
    bench.remove(*paths[:4])
    await bench.scan()
    assert await bench.missing() == paths[:4]


@pytest.mark.usefixtures("few_allowed")
async def test_a_first_scan_holds_a_root_that_lost_too_much_while_nobody_looked(bench: Bench) -> None:
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths)
    bench.scanner = bench.new_scanner()
    await bench.scan()
    assert await bench.held() == "20 of 20 known files are not there, more than max_missing (10%) lets pass"
    assert await bench.missing() == []
    await bench.scan()
    assert await bench.held() == "20 of 20 known files are not there, more than max_missing (10%) lets pass"


@pytest.mark.usefixtures("few_allowed")
async def test_a_part_that_would_lose_too_much_asks_for_the_whole(bench: Bench) -> None:
    paths = [f"a/{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:3])
    assert await bench.scan("a") == WHOLE
    assert (await bench.missing(), await bench.held()) == ([], None)
    assert not await bench.scan()
    assert await bench.missing() == []
    assert await bench.held()


@pytest.mark.usefixtures("few_allowed")
async def test_what_parts_lose_one_after_the_other_counts_together_until_the_whole_is_scanned(bench: Bench) -> None:
    paths = [f"{number}/a" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:3])
    assert not await bench.scan("0")
    assert not await bench.scan("1")
    assert await bench.scan("2") == WHOLE
    assert await bench.missing() == ["0/a", "1/a"]
    assert not await bench.scan()
    assert await bench.missing() == ["0/a", "1/a", "2/a"]
    bench.remove(*paths[3:5])
    assert not await bench.scan("3", "4")
    assert await bench.missing() == [f"{number}/a" for number in range(5)]


@pytest.mark.usefixtures("few_allowed")
async def test_while_a_root_is_held_no_part_of_it_loses_anything(bench: Bench) -> None:
    paths = [f"{number}/a" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:3])
    await bench.scan()
    assert await bench.held()
    bench.write("0/new")
    bench.sink.offered.clear()
    for part in ("0", "1", "2"):
        assert not await bench.scan(part)
    assert await bench.missing() == []
    assert bench.sink.offered == [os.fsencode(bench.folder / "0" / "new")]


@pytest.mark.usefixtures("few_allowed")
async def test_what_a_person_accepts_passes_exactly_once(bench: Bench) -> None:
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:10])
    await bench.scan()
    assert await bench.accept()
    assert not await bench.scan("05")
    assert await bench.missing() == []
    assert not await bench.scan()
    assert await bench.missing() == paths[:10]
    assert await bench.held() is None
    assert not await bench.accept()
    bench.remove(*paths[10:15])
    await bench.scan()
    assert await bench.held()
    assert await bench.missing() == paths[:10]


@pytest.mark.usefixtures("few_allowed")
async def test_what_a_person_accepted_does_not_pass_once_the_root_was_not_there(bench: Bench) -> None:
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:3])
    await bench.scan()
    assert await bench.accept()
    await bench.scanner.hold("it is not there")
    assert not await bench.scan()
    assert await bench.missing() == []
    assert await bench.held()
    assert await bench.accept()
    assert not await bench.scan()
    assert (await bench.missing(), await bench.held()) == (paths[:3], None)


@pytest.mark.usefixtures("few_allowed")
async def test_what_is_accepted_during_a_scan_passes_with_the_next(bench: Bench) -> None:
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:3])
    await bench.scan()
    bench.sink.deal = bench.accept
    assert not await bench.scan()
    assert await bench.missing() == []
    bench.sink.deal = anyio.lowlevel.checkpoint
    assert not await bench.scan()
    assert (await bench.missing(), await bench.held()) == (paths[:3], None)


@pytest.mark.usefixtures("few_allowed")
async def test_what_is_accepted_passes_however_much_is_marked_meanwhile(bench: Bench) -> None:
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:10])
    bench.is_disturbed = True
    assert not await bench.scan()
    assert await bench.accept()
    assert not await bench.scan()
    assert (await bench.missing(), await bench.held()) == (paths[:10], None)


@pytest.mark.usefixtures("few_allowed")
async def test_what_is_accepted_passes_in_several_scans_where_it_is_much(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "_MOST_KEPT", 4)
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:10])
    await bench.scan()
    assert await bench.accept()
    assert [await bench.scan() for _ in range(3)] == [WHOLE, WHOLE, []]
    assert await bench.missing() == paths[:10]
    assert [event.event_type for event in bench.announced] == ["root.held"] + 10 * ["file.missing"]
    assert await bench.held() is None


@pytest.mark.usefixtures("few_allowed")
async def test_more_than_was_accepted_and_is_allowed_anyway_is_held_again(bench: Bench) -> None:
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:5])
    await bench.scan()
    assert await bench.accept()
    bench.remove(*paths[5:8])
    assert not await bench.scan()
    assert await bench.missing() == []
    assert await bench.held() == "8 of 20 known files are not there, more than max_missing (10%) lets pass"
    bench.write(paths[7])
    assert not await bench.scan()
    assert (await bench.missing(), await bench.held()) == (paths[:7], None)


@pytest.mark.usefixtures("few_allowed")
async def test_of_what_passes_in_several_scans_no_more_passes_than_was_accepted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "_MOST_KEPT", 4)
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:5])
    await bench.scan()
    assert await bench.accept()
    bench.remove(*paths[5:])
    while await bench.scan():
        assert len(await bench.missing()) <= 7
    assert len(await bench.missing()) <= 7, "five that were accepted, and two that may always go"
    assert await bench.held()


async def test_a_root_that_loses_more_than_is_kept_of_it_loses_all_of_it_where_that_is_allowed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "_MOST_KEPT", 4)
    paths = [f"{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.remove(*paths[:10])
    bench.scanner = bench.new_scanner()
    assert await bench.scan()
    assert not await bench.scan()
    assert await bench.missing() == paths[:10]


@pytest.mark.usefixtures("few_allowed")
async def test_more_moves_than_may_go_missing_are_no_loss(bench: Bench) -> None:
    paths = [f"a/{number:02}" for number in range(20)]
    await bench.imported(*paths)
    (bench.folder / "a").rename(bench.folder / "b")
    bench.sink.deal = bench.ingest
    scans = 1
    while await bench.scan():
        scans += 1
    assert scans <= 3
    assert (await bench.missing(), await bench.held()) == ([], None)
    assert await bench.known() == [f"b/{number:02}" for number in range(20)]


@pytest.mark.usefixtures("few_allowed")
async def test_moves_that_do_not_come_to_rest_are_not_waited_for_without_end(bench: Bench) -> None:
    paths = [f"a/{number:02}" for number in range(20)]
    await bench.imported(*paths)
    bench.sink.inodes = frozenset((bench.folder / path).stat().st_ino for path in paths)
    (bench.folder / "a").rename(bench.folder / "b")
    assert [await bench.scan() for _ in range(3)] == [WHOLE, WHOLE, []]
    assert (await bench.missing(), await bench.held()) == ([], None)


async def test_a_hold_that_could_not_be_noted_is_noted_by_the_next_scan(bench: Bench) -> None:
    def rename(session: Session, before: str, after: str) -> None:
        session.execute(sqlalchemy.text(f"ALTER TABLE {before} RENAME TO {after}"))

    await bench.catalogue.write(partial(rename, before="root", after="hidden"))
    await bench.scanner.hold("it is not there")
    await bench.catalogue.write(partial(rename, before="hidden", after="root"))
    assert bench.scanner.held == "it is not there"
    with capture_logs() as lines:
        await bench.scanner.hold("it is not there")
    assert await bench.held() == "it is not there"
    assert lines == []
    assert not await bench.accept(), "in a root that is not there nothing is known to be missing"


@pytest.fixture
async def carded(bench: Bench) -> Bench:
    """A root with a memory card in it, all of which is known; then the card is taken out."""
    bench.presence = bench.with_volumes(OWN, CARD)
    await bench.imported("a", "b", "card/1", "card/2")
    (bench.folder / "card").rename(bench.folder.parent / "card")
    (bench.folder / "card").mkdir()
    bench.presence = bench.with_volumes(OWN)
    return bench


async def test_what_lies_on_an_absent_volume_is_held_and_the_rest_is_judged(carded: Bench) -> None:
    carded.remove("a")
    assert not await carded.scan()
    assert await carded.held() == "known files on a file system that is not mounted now, or is covered: 2"
    assert await carded.missing() == ["a"]
    carded.remove("b")
    assert not await carded.scan("b")
    assert await carded.missing() == ["a", "b"]


async def test_an_absent_volume_that_is_back_is_as_it_was(carded: Bench) -> None:
    await carded.scan()
    (carded.folder / "card").rmdir()
    (carded.folder.parent / "card").rename(carded.folder / "card")
    carded.presence = carded.with_volumes(OWN, CARD)
    carded.sink.offered.clear()
    await carded.scan()
    assert (await carded.missing(), await carded.held(), carded.sink.offered) == ([], None, [])
    carded.remove("card/1")
    await carded.scan()
    assert await carded.missing() == ["card/1"]


async def test_an_absence_of_a_volume_can_be_accepted(carded: Bench) -> None:
    await carded.scan()
    assert await carded.accept()
    # It is the whole root that was held, and that passes.
    assert not await carded.scan("card")
    assert await carded.missing() == []
    assert not await carded.scan()
    assert await carded.missing() == ["card/1", "card/2"]
    assert await carded.held() is None


async def test_that_a_mount_hides_what_was_there_can_be_accepted(bench: Bench) -> None:
    await bench.imported("a", "card/1")
    (bench.folder / "card").rename(bench.folder.parent / "card")
    bench.presence = bench.with_volumes(OWN, CARD)
    bench.write("card/2")
    await bench.scan()
    await bench.ingest("card/2")
    assert await bench.held() == "known files on a file system that is not mounted now, or is covered: 1"
    assert await bench.accept()
    await bench.scan()
    assert await bench.missing() == ["card/1"]
    assert await bench.held() is None
