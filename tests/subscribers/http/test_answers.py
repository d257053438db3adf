"""What an answer means."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from damd.errors import DeliveryError
from damd.subscribers.http.answers import Answer, parse_retry_after, refusal_in

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def refusal(code: int, *, retry_after: str | None = None, beginning: bytes = b"") -> DeliveryError:
    error = refusal_in(Answer(code, retry_after, beginning), at=NOON)
    assert error is not None
    assert error.status_code == code
    assert str(code) in str(error)
    return error


@pytest.mark.parametrize("code", [200, 201, 202, 204, 226, 299])
def test_every_2xx_is_success(code: int) -> None:
    assert refusal_in(Answer(code), at=NOON) is None


@pytest.mark.parametrize("code", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_says_what_to_do_and_would_meet_any_event(code: int) -> None:
    error = refusal(code)
    assert str(error).endswith("which is never followed: correct the URL")
    assert error.is_down
    assert not error.is_gone


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_one_that_is_overloaded_or_away_is_down(code: int) -> None:
    assert refusal(code).is_down
    assert not refusal(code).is_gone


@pytest.mark.parametrize("code", [400, 401, 403, 404, 408, 409, 413, 422, 499, 500, 501, 507, 599, 600, 999])
def test_one_that_refuses_this_event_or_breaks_at_it_is_not(code: int) -> None:
    assert not refusal(code).is_down
    assert not refusal(code).is_gone


def test_410_says_that_it_is_gone() -> None:
    assert str(refusal(410)) == "The receiver answered 410 Gone"
    assert refusal(410).is_gone
    assert not refusal(410).is_down


def test_its_words_are_kept() -> None:
    assert refusal(400).response is None
    assert refusal(400, beginning="naïve\n".encode()).response == "naïve\n"
    assert refusal(400, beginning=b"\xff\x00\xc3").response == "\ufffd\ufffd\ufffd"


def test_what_it_asks_to_wait_is_told() -> None:
    assert refusal(429, retry_after="120").retry_after_s == 120
    assert refusal(503, retry_after=format_datetime(NOON + timedelta(minutes=5), usegmt=True)).retry_after_s == 300
    assert refusal(503).retry_after_s is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("9" * 5000, float("inf")),
        (format_datetime(NOON + timedelta(minutes=5), usegmt=True), 300),
        (format_datetime(NOON + timedelta(minutes=5)).replace("+0000", "-0000"), 300),
        (format_datetime(NOON - timedelta(minutes=5), usegmt=True), 0),
        (format_datetime(NOON + timedelta(days=9), usegmt=True), 9 * 86_400),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("nan", None),
        ("Mon, 99 May 2026 12:00:00 GMT", None),
        ("Mon, 04 May 99999999999999999999 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, at=NOON) == seconds
