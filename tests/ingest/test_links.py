"""Symbolic links: not followed, unless their root says so; then each spelling below it is a path of its own."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bench import Bench, open_bench
from pictures import make_picture

from damd.catalogue.roots import Place, Roots
from damd.fingerprint import Signature

pytestmark = pytest.mark.anyio


@pytest.fixture
async def following(tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose inbox follows links."""
    watch = [{"path": tmp_path / "inbox", "follow_symlinks": True}, {"path": tmp_path / "shelf"}]
    async with open_bench(tmp_path, watch=watch) as bench:
        yield bench
        await bench.check()


async def test_a_link_is_ingested_as_what_it_leads_to_under_its_own_path(following: Bench) -> None:
    target, link = make_picture(following.outside / "target.jpg"), following.folder / "link.jpg"
    link.symlink_to(target)
    result = await following.ingest(link)
    assert (result.status, result.family) == ("SUCCESS", "image")
    known = await following.known(link)
    assert known.location
    assert known.location[1:] == (result.sha256, Signature.of(target.stat()), False)
    assert following.told[0].path == str(link)
    assert (await following.ingest(link)).reason == "Path already imported"
    assert len(following.hashed) == 1
    assert await following.known(target) == (None, None)


async def test_what_a_link_leads_to_changes_with_it(following: Bench) -> None:
    target, link = make_picture(following.outside / "target.jpg"), following.folder / "link.jpg"
    link.symlink_to(target)
    first = await following.ingest(link)
    make_picture(target, comment="another")
    second = await following.ingest(link)
    assert (second.status, [event.previous_asset_id for event in following.changed]) == ("SUCCESS", [first.asset_id])


async def test_a_link_and_what_it_leads_to_are_locations_of_one_asset(following: Bench) -> None:
    target, link = following.picture("target.jpg"), following.folder / "link.jpg"
    link.symlink_to(target.name)
    first = await following.ingest(link)
    result = await following.ingest(target)
    assert (result.reason, result.asset_id, following.moved) == ("Duplicate hash", first.asset_id, [])
    assert await following.locations(first.asset_id) == {b"link.jpg", b"target.jpg"}
    there = target.rename(following.folder / "moved.jpg")
    assert (await following.ingest(there)).reason == "Moved"
    assert [event.previous_path for event in following.moved] == [str(target)], "the link is broken, not moved"


async def test_a_path_below_a_linked_folder_keeps_its_spelling(following: Bench) -> None:
    (following.folder / "album").symlink_to(following.outside)
    path = make_picture(following.outside / "a.jpg")
    spelt = following.folder / "album" / "a.jpg"
    result = await following.ingest(spelt)
    assert (result.status, following.told[0].path) == ("SUCCESS", str(spelt))
    place = following.world.get_resource(Roots).place(spelt)
    assert place == Place("inbox", b"album/a.jpg")
    assert (await following.ingest(path)).asset_id == result.asset_id
    assert await following.locations(result.asset_id) == {b"a.jpg"}


async def test_a_link_that_leads_nowhere_is_the_same_failure_everywhere(following: Bench) -> None:
    for folder in (following.folder, following.shelf):
        link = folder / "link.jpg"
        link.symlink_to("nowhere.jpg")
        result = await following.ingest(link)
        assert result.status == "FAILED"
        assert "a symbolic link that leads nowhere (No such file or directory)" in (result.reason or "")
        assert not (await following.ingest(link)).is_news
        make_picture(folder / "nowhere.jpg")
    assert (await following.ingest(following.folder / "link.jpg")).status == "SUCCESS"


async def test_a_link_that_leads_to_itself_or_to_no_file_fails(following: Bench) -> None:
    loop, folder, fifo = (following.folder / name for name in ("loop", "folder", "fifo"))
    loop.symlink_to("loop")
    folder.symlink_to(following.outside)
    os.mkfifo(following.outside / "fifo")
    fifo.symlink_to(following.outside / "fifo")
    reasons = [(await following.ingest(path)).reason or "" for path in (loop, folder, fifo)]
    assert "leads nowhere" in reasons[0]
    assert reasons[1:] == ["Not a regular file: a folder", "Not a regular file: a FIFO"]


async def test_elsewhere_a_link_is_not_followed(following: Bench) -> None:
    link = following.shelf / "link.jpg"
    link.symlink_to(make_picture(following.outside / "a.jpg"))
    result = await following.ingest(link)
    assert (result.status, result.reason, following.hashed) == ("SKIPPED", "Symbolic link: not followed", [])
