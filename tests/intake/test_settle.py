import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from damd.intake.settle import COARSE_GRAIN_S, GRAIN_S, LONGEST_WRITER_WAIT_S, Settling, quiet_time_s

SECOND = 10**9
NOON = 1_700_000_000 * SECOND + 123_456_789  # on a file system that counts in fine steps


def look(
    settling: Settling[str], key: str, signature: object, *, age_s: float, now: float, is_written: bool = False
) -> bool:
    """Answer for one due file."""
    assert settling.due(now, 10) == [key]
    newest_ns = NOON - round(age_s * SECOND)
    return settling.observe(key, signature, newest_ns, now=now, wall_ns=NOON, is_written=is_written)


def look_coarse(settling: Settling[str], key: str, *, age_s: float, now: float) -> bool:
    """The same, on a file system that counts in whole seconds."""
    assert settling.due(now, 10) == [key]
    newest_ns = NOON // SECOND * SECOND
    return settling.observe(key, 1, newest_ns, now=now, wall_ns=newest_ns + round(age_s * SECOND))


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
    assert settling.next_due() == 0.5
    assert settling.waiting_for("a") == "it to be quiet for 0.5 s"
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


def test_without_a_settle_time_the_first_look_decides_unless_the_change_is_younger_than_can_be_told_apart() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.0, closed=False, now=0.0)
    assert look(settling, "a", 1, age_s=0.05, now=0.0)
    settling.sight("a", settle_s=0.0, closed=True, now=1.0)
    assert not look(settling, "a", 1, age_s=0.02, now=1.0)
    assert settling.waiting_for("a") == "its last change to be 0.05 s old"
    assert settling.next_due() == pytest.approx(1.03)
    assert look(settling, "a", 1, age_s=0.05, now=1.04)


def test_a_time_without_a_fraction_is_not_trusted_for_two_seconds() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=True, now=10.0)
    assert not look_coarse(settling, "a", age_s=0.5, now=10.0)
    assert settling.waiting_for("a") == "its last change to be 2 s old"
    assert settling.next_due() == 11.5
    assert look_coarse(settling, "a", age_s=2.0, now=11.5)
    settling.sight("a", settle_s=0.5, closed=True, now=20.0)
    assert look_coarse(settling, "a", age_s=2.0, now=20.0)


def test_a_time_without_a_fraction_in_the_future_is_not_trusted_for_two_seconds_since_it_was_seen() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=10.0)
    assert not look_coarse(settling, "a", age_s=-3600.0, now=10.0)
    assert settling.next_due() == 12.0
    assert look_coarse(settling, "a", age_s=-3600.0, now=12.0)


def test_a_longer_settle_time_covers_the_grain() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=3.0, closed=False, now=10.0)
    assert not look_coarse(settling, "a", age_s=0.5, now=10.0)
    assert settling.waiting_for("a") == "it to be quiet for 3 s"
    assert look_coarse(settling, "a", age_s=3.5, now=13.0)


def test_a_writer_is_waited_for_however_long_it_takes_with_looks_that_are_rarer_and_rarer() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    now, waits = 0.0, []
    for _ in range(1000):
        assert not look(settling, "a", 1, age_s=3600.0, now=now, is_written=True)
        assert settling.is_written("a")
        due = settling.next_due()
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits[:5] == pytest.approx([0.5, 1, 2, 4, 5])
    assert waits[5:] == pytest.approx([5.0] * 995)
    assert settling.waiting_for("a") == "whoever writes it to close it"
    assert look(settling, "a", 1, age_s=3600.0, now=now)


@pytest.mark.parametrize(("settle_s", "waits"), [(0.0, [0.05, 0.1, 0.2]), (30.0, [30.0, 30.0, 30.0])])
def test_the_looks_for_a_writer_are_neither_many_nor_more_than_the_settle_time_asks_for(
    settle_s: float, waits: list[float]
) -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=settle_s, closed=False, now=0.0)
    now = 0.0
    for wait_s in waits:
        assert not look(settling, "a", 1, age_s=3600.0, now=now, is_written=True)
        assert settling.next_due() == pytest.approx(now + wait_s)
        now += wait_s


def test_a_writer_that_writes_starts_the_wait_again() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    for now in (0.0, 0.5, 1.5):
        assert not look(settling, "a", 1, age_s=3600.0, now=now, is_written=True)
    assert not look(settling, "a", 2, age_s=0.0, now=3.5, is_written=True)
    assert settling.next_due() == 4.0
    assert not look(settling, "a", 2, age_s=0.5, now=4.0, is_written=True)
    assert settling.next_due() == 4.5


def test_a_close_brings_the_next_look_for_a_writer_forward_and_another_sighting_does_not() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    for now in (0.0, 0.5, 1.5, 3.5, 7.5):
        assert not look(settling, "a", 1, age_s=3600.0, now=now, is_written=True)
    settling.sight("a", settle_s=0.5, closed=False, now=8.0)
    assert settling.next_due() == 12.5
    settling.sight("a", settle_s=0.5, closed=True, now=8.5)
    # There is a second writer, who is looked for as often as at first.
    assert not look(settling, "a", 1, age_s=3600.0, now=8.5, is_written=True)
    assert settling.next_due() == pytest.approx(8.6)
    settling.sight("a", settle_s=0.5, closed=True, now=8.55)
    assert look(settling, "a", 1, age_s=3600.0, now=8.55)


def test_a_close_does_not_bring_a_look_forward_before_the_file_is_quiet() -> None:
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    assert not look(settling, "a", 1, age_s=0.0, now=0.0, is_written=True)
    settling.sight("a", settle_s=0.5, closed=True, now=0.01)
    assert settling.next_due() == pytest.approx(0.1)


def test_what_a_file_waits_for_is_told() -> None:
    settling: Settling[str] = Settling()
    assert settling.waiting_for("a") is None
    assert not settling.is_written("a")
    settling.sight("a", settle_s=0.5, closed=False, now=0.0)
    assert settling.waiting_for("a") == "its first look"
    assert not look(settling, "a", 1, age_s=0.0, now=0.0)
    assert settling.waiting_for("a") == "it to be quiet for 0.5 s"


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
    assert due - start == pytest.approx(max(quiet_time_s(settle_s, closed=closed), GRAIN_S), abs=1e-6)
    assert look(settling, "a", 1, age_s=-1.0, now=due)


@given(
    st.floats(0, 60),
    st.booleans(),
    st.floats(-10, 100),
    st.booleans(),
    st.lists(st.tuples(st.floats(0, 10), st.booleans(), st.booleans(), st.booleans()), max_size=8),
)
def test_nothing_settles_while_it_is_written_or_younger_than_the_grain(
    settle_s: float, closed: bool, age_s: float, coarse: bool, looks: list[tuple[float, bool, bool, bool]]
) -> None:
    """Of an unchanged file, whatever is sighted meanwhile, and however late the looks are."""
    settling: Settling[str] = Settling()
    settling.sight("a", settle_s=settle_s, closed=closed, now=0.0)
    newest_ns = NOON // SECOND * SECOND if coarse else NOON
    now, wall_ns = 0.0, newest_ns + round(age_s * SECOND)
    for late_s, closed_meanwhile, sighted_meanwhile, is_written in [*looks, *[(0.0, False, False, False)] * 2]:
        if sighted_meanwhile:
            settling.sight("a", settle_s=settle_s, closed=closed_meanwhile, now=now)
        due = settling.next_due()
        assert due is not None
        assert due <= now + max(settle_s, COARSE_GRAIN_S, 5.0)
        now = max(now, due) + late_s
        assert settling.due(now, 1) == ["a"]
        at_ns = wall_ns + round(now * SECOND)
        if settling.observe("a", 1, newest_ns, now=now, wall_ns=at_ns, is_written=is_written):
            assert not is_written
            assert max(now, age_s + now) >= (COARSE_GRAIN_S if coarse else GRAIN_S) - 1e-6
            return
    raise AssertionError("it never settled")


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
        self.written: set[str] = set()

    @property
    def now(self) -> float:
        return self.tick / 100

    @rule(ticks=st.integers(1, 30))
    def wait(self, ticks: int) -> None:
        self.tick += ticks

    @rule(key=st.sampled_from("ab"))
    def write(self, key: str) -> None:
        self.changed[key] = self.tick

    @rule(key=st.sampled_from("ab"))
    def open_or_close(self, key: str) -> None:
        self.written ^= {key}

    @rule(key=st.sampled_from("ab"), closed=st.booleans())
    def sight(self, key: str, closed: bool) -> None:
        self.settling.sight(key, settle_s=self.SETTLE_TICKS / 100, closed=closed, now=self.now)
        self.closed |= {key} if closed else set()

    @rule(limit=st.integers(0, 2), skewed=st.booleans())
    def look_at_the_due(self, limit: int, skewed: bool) -> None:
        wall_ns = (self.tick - 100_000 * skewed) * SECOND // 100
        for key in self.settling.due(self.now, limit):
            newest, is_written = self.changed[key], key in self.written
            if self.settling.observe(
                key, newest, newest * SECOND // 100, now=self.now, wall_ns=wall_ns, is_written=is_written
            ):
                assert not is_written
                assert newest % 100 or self.tick - newest >= 100 * COARSE_GRAIN_S
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
            self.tick += round(100 * LONGEST_WRITER_WAIT_S)
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
