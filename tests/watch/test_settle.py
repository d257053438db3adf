import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from damd.watch.settle import Settling, quiet_time_s

SECOND = 10**9
NOON = 1_700_000_000 * SECOND


def look(settling: Settling[str], key: str, signature: object, *, age_s: float, now: float) -> bool:
    """Answer for one due file."""
    assert settling.due(now, 10) == [key]
    return settling.observe(key, signature, NOON - round(age_s * SECOND), now=now, wall_ns=NOON)


def test_a_file_that_has_long_been_quiet_is_settled_at_the_first_look() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=10.0)
    assert look(settling, "a", 1, age_s=0.5, now=10.0)
    assert len(settling) == 0
    assert settling.next_due() is None


def test_a_young_file_is_settled_when_a_second_look_finds_it_unchanged() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=10.0)
    assert not look(settling, "a", 1, age_s=0.0, now=10.0)
    assert settling.due(10.4, 10) == []
    assert settling.next_due() == 10.5
    assert look(settling, "a", 1, age_s=0.5, now=10.5)


def test_a_change_between_two_looks_starts_the_wait_again() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    assert not look(settling, "a", 1, age_s=0.0, now=0.0)
    # Only the very first look may go by the file's own times.
    assert not look(settling, "a", 2, age_s=3600.0, now=0.5)
    assert look(settling, "a", 2, age_s=3600.0, now=1.0)


def test_a_newest_change_in_the_future_is_not_trusted() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    assert not look(settling, "a", 1, age_s=-3600.0, now=0.0)
    assert look(settling, "a", 1, age_s=-3600.0, now=0.5)


def test_a_close_shortens_the_wait_for_a_file_that_is_new() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=True, now=0.0)
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    assert not look(settling, "a", 1, age_s=0.0, now=0.0)
    assert look(settling, "a", 1, age_s=0.1, now=0.1)


def test_a_close_shortens_the_wait_for_a_file_that_waits_already() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=10.0, closed=False, now=0.0)
    assert not look(settling, "a", 1, age_s=0.0, now=0.0)
    settling.sight("a", settle_s=10.0, closed=True, now=1.0)
    assert settling.next_due() == 2.0
    assert look(settling, "a", 1, age_s=2.0, now=2.0)


def test_a_writer_that_comes_back_after_a_close_waits_the_full_time() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=1.0, closed=True, now=0.0)
    assert not look(settling, "a", 1, age_s=0.0, now=0.0)
    settling.sight("a", settle_s=1.0, closed=True, now=0.1)
    assert not look(settling, "a", 2, age_s=0.0, now=0.2)
    assert settling.next_due() == 1.2


def test_what_was_written_before_the_close_costs_no_trust() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=1.0, closed=False, now=0.0)
    assert settling.due(0.0, 1) == ["a"]
    settling.sight("a", settle_s=1.0, closed=True, now=0.0)
    assert not settling.observe("a", "before the close", NOON, now=0.0, wall_ns=NOON)
    assert not look(settling, "a", "closed", age_s=0.0, now=0.2)
    assert look(settling, "a", "closed", age_s=0.2, now=0.4)


def test_a_file_sighted_while_it_is_looked_at_is_looked_at_again() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    assert settling.due(0.0, 1) == ["a"]
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    assert settling.due(0.0, 1) == []
    assert not settling.observe("a", 1, NOON - 9 * SECOND, now=0.0, wall_ns=NOON)
    assert look(settling, "a", 1, age_s=9.5, now=0.5)


def test_a_file_forgotten_while_it_is_looked_at_is_not_settled() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    assert settling.due(0.0, 1) == ["a"]
    settling.forget("a")
    assert not settling.observe("a", 1, 0, now=0.0, wall_ns=NOON)
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    assert not settling.observe("a", 1, 0, now=0.0, wall_ns=NOON)
    assert "a" in settling


def test_the_longest_due_come_first_and_no_more_than_asked_for() -> None:
    settling: Settling[int] = Settling()
    for key in range(10):
        settling.sight(key, settle_s=1.0, closed=False, now=float(key))
    assert settling.due(5.0, 4) == [0, 1, 2, 3]
    assert settling.due(5.0, 4) == [4, 5]


def test_without_a_settle_time_the_first_look_decides() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.0, closed=False, now=0.0)
    assert look(settling, "a", 1, age_s=0.0, now=0.0)


@pytest.mark.parametrize(("settle_s", "quiet_s"), [(0.5, 0.1), (0.1, 0.05), (0.01, 0.01), (0.0, 0.0), (30.0, 6.0)])
def test_a_close_asks_for_a_fifth_but_not_for_less_than_can_be_told_apart(settle_s: float, quiet_s: float) -> None:
    assert quiet_time_s(settle_s, closed=True) == pytest.approx(quiet_s)
    assert quiet_time_s(settle_s, closed=False) == settle_s


def test_sighting_and_forgetting_for_ever_does_not_grow() -> None:
    settling: Settling[int] = Settling()
    for round_ in range(10_000):
        settling.sight(round_ % 7, settle_s=1.0, closed=round_ % 3 == 0, now=0.0)
        settling.forget((round_ * 3) % 7)
    assert len(settling._heap) <= 2 * len(settling) + 65


@given(st.floats(0, 1e7), st.floats(0.001, 3600), st.booleans())
def test_whatever_rests_is_settled_by_the_second_look_it_is_due_for(
    start: float, settle_s: float, closed: bool
) -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=settle_s, closed=closed, now=start)
    assert not look(settling, "a", 1, age_s=-1.0, now=start)
    due = settling.next_due()
    assert due is not None
    assert due - start == pytest.approx(quiet_time_s(settle_s, closed=closed), abs=1e-6)
    assert look(settling, "a", 1, age_s=-1.0, now=due)


class SettlingMachine(RuleBasedStateMachine):
    """Two files, whose writers and watcher do as they please, on a clock in steps of 10 ms."""

    SETTLE_TICKS = 20
    SHORT_TICKS = 5  # what a close asks for, of 200 ms

    @initialize()
    def start(self) -> None:
        self.settling: Settling[str] = Settling()
        self.tick = 1000
        self.changed = dict.fromkeys("ab", 0)
        self.closed: set[str] = set()

    @property
    def now(self) -> float:
        return self.tick / 100

    @rule(ticks=st.integers(1, 30))
    def wait(self, ticks: int) -> None:
        self.tick += ticks

    @rule(key=st.sampled_from("ab"))
    def write(self, key: str) -> None:
        self.changed[key] = self.tick

    @rule(key=st.sampled_from("ab"), closed=st.booleans())
    def sight(self, key: str, closed: bool) -> None:
        self.settling.sight(key, settle_s=self.SETTLE_TICKS / 100, closed=closed, now=self.now)
        self.closed |= {key} if closed else set()

    @rule(limit=st.integers(0, 2), skewed=st.booleans())
    def look_at_the_due(self, limit: int, skewed: bool) -> None:
        wall_ns = (self.tick - 100_000 * skewed) * SECOND // 100
        for key in self.settling.due(self.now, limit):
            newest = self.changed[key]
            if self.settling.observe(key, newest, newest * SECOND // 100, now=self.now, wall_ns=wall_ns):
                quiet = self.SHORT_TICKS if key in self.closed else self.SETTLE_TICKS
                assert self.tick - newest >= quiet
                self.closed.discard(key)

    @rule(key=st.sampled_from("ab"))
    def forget(self, key: str) -> None:
        self.settling.forget(key)
        self.closed.discard(key)

    @precondition(lambda self: len(self.settling) > 0)
    @rule()
    def leave_in_peace(self) -> None:
        for _ in range(2):
            self.tick += self.SETTLE_TICKS
            for key in self.settling.due(self.now, 9):
                newest = self.changed[key]
                self.settling.observe(key, newest, newest * SECOND // 100, now=self.now, wall_ns=0)
        assert len(self.settling) == 0
        self.closed.clear()

    @invariant()
    def all_that_wait_are_due_some_time(self) -> None:
        if hasattr(self, "settling"):
            assert (self.settling.next_due() is None) == (len(self.settling) == 0)


TestSettlingMachine = SettlingMachine.TestCase
TestSettlingMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
