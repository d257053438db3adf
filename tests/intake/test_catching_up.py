import anyio
import pytest

from damd.intake.catching_up import CatchUp

pytestmark = pytest.mark.anyio


async def done(catch_up: CatchUp) -> None:
    with anyio.fail_after(5):
        await catch_up.wait(60)


async def test_it_is_over_when_every_path_has_come_to_its_end() -> None:
    catch_up = CatchUp([b"a", b"b"], twice=[])
    catch_up.note_end(b"a")
    catch_up.note_end(b"a")
    catch_up.note_end(b"another")
    assert catch_up.paths == [b"b"]
    catch_up.note_end(b"b")
    await done(catch_up)


async def test_what_was_sighted_after_its_round_had_begun_must_end_twice() -> None:
    catch_up = CatchUp([b"a"], twice=[b"a"])
    catch_up.note_end(b"a")
    assert catch_up.paths == [b"a"]
    catch_up.note_end(b"a")
    await done(catch_up)


async def test_a_round_that_did_not_end_makes_up_for_the_second() -> None:
    catch_up = CatchUp([b"a"], twice=[b"a"])
    catch_up.note_return(b"a")
    catch_up.note_return(b"another")
    catch_up.note_end(b"a")
    assert catch_up.paths == []


async def test_what_is_dropped_is_waited_for_no_longer() -> None:
    catch_up = CatchUp([b"a", b"b"], twice=[b"b"])
    catch_up.drop(b"a")
    catch_up.drop(b"a")
    catch_up.drop(b"b")
    await done(catch_up)


async def test_the_wait_ends_with_its_time() -> None:
    catch_up = CatchUp([b"a"], twice=[])
    with anyio.fail_after(5):
        await catch_up.wait(0.01)
    assert catch_up.paths == [b"a"]
