"""What a receiver's answer means."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple

from damd.errors import DeliveryError

MOST_RESPONSE_BYTES = 20_000
"""Kept of a response, as Svix does; a longer one costs its connection."""
_DOWN = frozenset({429, 502, 503, 504})
"""What a receiver, or what stands before it, answers to any event at the moment; any other 5xx may be of one event."""


class Answer(NamedTuple):
    """What came back.

    Attributes:
        status_code: Three digits; what is decided is decided by them.
        retry_after: The header as it is, if there was one.
        beginning: Of the body, as it came: what is not unpacked cannot swell.
    """

    status_code: int
    retry_after: str | None = None
    beginning: bytes = b""


def refusal_in(answer: Answer, *, at: datetime) -> DeliveryError | None:
    """The refusal that this answer is; None: it is success, which is what 2xx is and nothing else.

    Args:
        answer: Of the receiver.
        at: When it came, for a ``Retry-After`` that is a date.
    """
    code = answer.status_code
    if 200 <= code < 300:
        return None
    # PostgreSQL's text holds no NUL.
    text = answer.beginning.decode("utf-8", "replace").replace("\0", "\ufffd")
    return DeliveryError(
        _describe(code),
        status_code=code,
        retry_after_s=parse_retry_after(answer.retry_after, at=at),
        response=text or None,
        is_down=code in _DOWN or 300 <= code < 400,
        is_gone=code == HTTPStatus.GONE,
    )


def parse_retry_after(value: str | None, *, at: datetime) -> float | None:
    """The seconds that a ``Retry-After`` asks for, however many; None if it says nothing.

    Either form of RFC 9110, section 10.2.3: seconds, or a date, which is taken from `at`.
    """
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - at
    return max(wait.total_seconds(), 0.0)


def _describe(status_code: int) -> str:
    try:
        status = f"{status_code} {HTTPStatus(status_code).phrase}"
    except ValueError:
        status = str(status_code)
    if 300 <= status_code < 400:
        return f"The receiver redirects ({status}), which is never followed: correct the URL"
    return f"The receiver answered {status}"
