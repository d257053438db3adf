import time

import pytest

from damd.intake.queued import Queued, State


def sighted() -> Queued:
    queued = Queued(0.5)
    queued.note_sighting()
    return queued


def test_a_look_that_began_before_it_was_sighted_last_has_not_seen_it() -> None:
    queued = sighted()
    assert not queued.is_seen
    began_at = time.monotonic()
    queued.note_look(7, began_at=began_at)
    assert queued.is_seen
    assert queued.is_seen_since(began_at)
    while time.monotonic() == began_at:
        pass
    queued.note_sighting()
    queued.note_look(8, began_at=began_at)
    assert (queued.is_seen, queued.inode) == (False, 8)


@pytest.mark.parametrize(("inode", "known"), [(None, None), (0, 7), (8, 8)])
def test_the_inode_is_forgotten_with_a_file_that_is_gone_and_kept_of_one_that_is_out_of_reach(
    inode: int | None, known: int | None
) -> None:
    queued = sighted()
    for seen in (7, inode):
        queued.note_look(seen, began_at=time.monotonic())
    assert (queued.is_seen, queued.inode) == (True, known)


def test_each_state_begins_when_it_is_entered() -> None:
    queued = sighted()
    before = time.monotonic()
    queued.enter(State.READY)
    assert queued.sighted_at <= before <= queued.since
