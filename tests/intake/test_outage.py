from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from damd.intake.outage import Outage
from damd.results import IngestResult, IngestStatus

DOWN = IngestResult(status=IngestStatus.FAILED, reason="The disk is full", catalogue_failed=True)
FAILED = IngestResult(status=IngestStatus.FAILED, reason="broken")
SUCCESS = IngestResult(status=IngestStatus.SUCCESS)
NO_NEWS = [
    IngestResult(status=IngestStatus.SKIPPED),
    IngestResult(status=IngestStatus.FAILED, reason="broken", is_news=False),
]


def test_there_is_none_until_the_catalogue_takes_nothing() -> None:
    outage = Outage()
    for result in [SUCCESS, FAILED, *NO_NEWS]:
        outage.note(result, now=5.0)
    assert not outage.is_on
    assert outage.resume_at == 0.0


def test_each_attempt_doubles_the_wait_up_to_a_minute() -> None:
    outage, now, waits = Outage(), 100.0, []
    for _ in range(9):
        outage.note(DOWN, now=now)
        waits.append(outage.resume_at - now)
        now = outage.resume_at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_commands_that_ran_when_it_began_do_not_lengthen_the_wait() -> None:
    outage = Outage()
    for now in (100.0, 100.1, 100.2, 100.9):
        outage.note(DOWN, now=now)
    assert outage.resume_at == 101.0


def test_what_the_catalogue_was_not_asked_to_write_says_nothing() -> None:
    outage = Outage()
    outage.note(DOWN, now=100.0)
    for result in NO_NEWS:
        outage.note(result, now=102.0)
    assert outage.is_on


def test_its_beginning_and_its_end_are_told_once() -> None:
    outage = Outage()
    with capture_logs() as logs:
        for now in range(100, 110):
            outage.note(DOWN, now=now)
        for result in (FAILED, SUCCESS):
            outage.note(result, now=111.0)
    assert [line["event"] for line in logs] == [
        "the catalogue takes nothing: waiting for it",
        "the catalogue takes writes again",
    ]
    assert (outage.is_on, outage.resume_at) == (False, 0.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from([DOWN, SUCCESS, *NO_NEWS]))))
def test_no_wait_is_longer_than_a_minute(steps: list[tuple[float, IngestResult]]) -> None:
    outage, now = Outage(), 1.0
    for later_s, result in steps:
        now += later_s
        with capture_logs():
            outage.note(result, now=now)
        assert outage.resume_at <= now + 60
        assert outage.is_on or outage.resume_at == 0.0
