from hypothesis import given
from hypothesis import strategies as st

from damd.intake.retries import Retries, Retry


def retry(path: bytes, due: float) -> Retry:
    return Retry(due, path, root="a", settle_s=0.5, moved_from=None, since=0.0)


def test_each_is_taken_once_when_it_is_due_and_the_first_due_first() -> None:
    retries = Retries(10)
    assert retries.next_due() is None
    for path, due in {b"late": 3.0, b"early": 1.0, b"next": 2.0}.items():
        retries.add(retry(path, due))
    assert retries.next_due() == 1.0
    assert retries.take_due(0.9) == []
    assert [taken.path for taken in retries.take_due(2.0)] == [b"early", b"next"]
    assert retries.take_due(2.0) == []
    assert retries.of(b"early") is None
    assert retries.of(b"late") == retry(b"late", 3.0)


def test_a_path_has_only_one() -> None:
    retries = Retries(10)
    retries.add(retry(b"a", 1.0))
    retries.add(retry(b"a", 2.0))
    assert len(retries) == 1
    assert len(retries.take_due(5.0)) == 1
    retries.add(retry(b"a", 6.0))
    assert len(retries) == 1


@given(st.integers(0, 5), st.lists(st.tuples(st.binary(max_size=1), st.floats(0, 10)), max_size=30))
def test_there_are_never_more_than_there_is_room_for(capacity: int, added: list[tuple[bytes, float]]) -> None:
    retries = Retries(capacity)
    for path, due in added:
        retries.add(retry(path, due))
        assert len(retries) <= capacity
    kept = len(retries)
    assert len(retries.take_due(10.0)) == kept
