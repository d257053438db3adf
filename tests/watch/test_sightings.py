from collections.abc import Callable

import pytest

from damd.watch.base import Sighting
from damd.watch.sightings import SightingSet


@pytest.fixture
def sightings() -> SightingSet:
    return SightingSet(b"/r", bound=10, wake=lambda: None)


def test_files_collapse_into_their_folders_and_folders_into_the_root(sightings: SightingSet) -> None:
    for number in range(11):
        sightings.add(b"/r/%d/%d.jpg" % (number % 3, number), closed=True)
    assert sorted(sighting.path for sighting in sightings.take()) == [b"/r/0", b"/r/1", b"/r/2"]
    for number in range(11):
        sightings.mark(b"/r/%d" % number)
    sightings.add(b"/r/0/a.jpg", closed=True)
    assert sightings.take() == [Sighting(b"/r", is_mark=True)]
    assert sightings.take() == []


def test_many_marks_collapse_into_the_folders_above_before_the_root_is_marked(sightings: SightingSet) -> None:
    for number in range(11):
        sightings.leave(b"/r/%d/gone/%d.jpg" % (number % 2, number))
    assert sightings.take() == [Sighting(b"/r/0/gone", is_mark=True), Sighting(b"/r/1/gone", is_mark=True)]


def test_a_close_is_kept_through_a_later_sighting_and_where_a_file_came_from_is_not(sightings: SightingSet) -> None:
    sightings.add(b"/r/a", closed=True, moved_from=b"/r/b")
    sightings.add(b"/r/a", closed=False)
    sightings.mark(b"/r/folder", moved_from=b"/r/old")
    sightings.mark(b"/r/folder")
    assert sightings.take() == [
        Sighting(b"/r/a", closed=True),
        Sighting(b"/r/folder", is_mark=True, moved_from=b"/r/old"),
    ]


def test_what_went_away_is_marked_and_not_sighted(sightings: SightingSet) -> None:
    sightings.add(b"/r/a", closed=True)
    assert sightings.leave(b"/r/a") == b"/r/a"
    assert sightings.take() == [Sighting(b"/r/a", is_mark=True)]


def test_of_two_renames_in_a_row_the_name_in_the_middle_is_left_out(sightings: SightingSet) -> None:
    sightings.add(b"/r/b", closed=True, moved_from=sightings.leave(b"/r/a"))
    sightings.add(b"/r/c", closed=True, moved_from=sightings.leave(b"/r/b"))
    sightings.mark(b"/r/y", moved_from=sightings.leave(b"/r/x"))
    sightings.mark(b"/r/z", moved_from=sightings.leave(b"/r/y"))
    origins = {sighting.path: sighting.moved_from for sighting in sightings.take()}
    assert origins == {
        b"/r/a": None,
        b"/r/b": None,
        b"/r/c": b"/r/a",
        b"/r/x": None,
        b"/r/y": None,
        b"/r/z": b"/r/x",
    }


def test_what_is_renamed_there_and_back_was_not_renamed(sightings: SightingSet) -> None:
    sightings.add(b"/r/b", closed=True, moved_from=sightings.leave(b"/r/a"))
    sightings.add(b"/r/a", closed=True, moved_from=sightings.leave(b"/r/b"))
    assert Sighting(b"/r/a", closed=True) in sightings.take()


def test_whoever_takes_is_woken_once_until_it_has_taken() -> None:
    woken: list[bool] = []
    wake: Callable[[], None] = lambda: woken.append(True)  # noqa: E731
    sightings = SightingSet(b"/r", bound=10, wake=wake)
    for _ in range(2):
        for number in range(100):
            sightings.add(b"/r/%d" % number, closed=False)
        assert woken.pop()
        assert not woken
        sightings.take()
