"""What a scan does not find while more is marked: looked for again, since it may have moved there."""

import anyio
import anyio.lowlevel
import pytest
from watch.scanning import Bench

from damd.watch import scan as scan_module

pytestmark = pytest.mark.anyio


async def test_what_a_part_does_not_find_is_scanned_again_while_more_is_marked(bench: Bench) -> None:
    await bench.imported("a/1", "a/2", "b")
    (bench.folder / "a/1").rename(bench.folder / "c")
    bench.remove("a/2")
    bench.is_disturbed = True
    assert await bench.scan("a") == ["a/1", "a/2"]
    assert (await bench.missing(), bench.announced) == ([], [])
    # What was marked is where one of them went.
    bench.is_disturbed = False
    assert not await bench.scan("a/1", "a/2", "c")
    assert await bench.missing() == ["a/1", "a/2"]


async def test_a_file_that_moved_to_what_is_marked_later_is_never_missing(bench: Bench) -> None:
    await bench.imported("a/1", "b")
    (bench.folder / "a/1").rename(bench.folder / "c")
    bench.is_disturbed = True
    again = await bench.scan("a")
    bench.is_disturbed = False
    bench.sink.deal = bench.ingest
    assert not await bench.scan(*again, "c")
    assert (await bench.missing(), bench.announced) == ([], [])
    assert await bench.known() == ["b", "c"]


async def test_marks_that_never_end_do_not_hide_what_is_missing_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.imported("a/1", "b")
    bench.remove("a/1")
    bench.is_disturbed = True
    for _ in range(10):
        assert await bench.scan("a") == ["a/1"]
    assert await bench.missing() == []
    monkeypatch.setattr(scan_module, "_DEFERRED_S", 0.0)
    assert not await bench.scan("a/1")
    assert await bench.missing() == ["a/1"]


async def test_while_more_is_marked_each_file_is_looked_for_in_its_own_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.imported("a/1", "a/2", "b")
    bench.remove("a/1")
    bench.is_disturbed = True
    assert await bench.scan() == ["a/1"]
    before = anyio.current_time()
    while anyio.current_time() == before:
        await anyio.lowlevel.checkpoint()
    bench.remove("a/2")
    assert await bench.scan("a") == ["a/1", "a/2"]
    older, younger = (bench.scanner._gone_since[path] for path in (b"a/1", b"a/2"))
    assert older < younger
    monkeypatch.setattr(anyio, "current_time", lambda: older + scan_module._DEFERRED_S)
    assert await bench.scan("a") == ["a/2"]
    assert await bench.missing() == ["a/1"]


async def test_the_whole_is_judged_no_sooner_than_its_parts_while_more_is_marked(bench: Bench) -> None:
    await bench.imported("a/1", "b")
    bench.is_disturbed = True
    bench.write("a/2")
    assert not await bench.scan("a")
    bench.remove("b")
    assert await bench.scan() == ["b"]
    assert (await bench.missing(), await bench.held()) == ([], None)
    bench.is_disturbed = False
    assert not await bench.scan("b")
    assert await bench.missing() == ["b"]
