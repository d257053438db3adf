"""What the log hears of an endpoint: enough to act on, however many events wait for it."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from damd.catalogue.deliveries import DueDelivery
from damd.catalogue.tables import Endpoint
from damd.errors import DeliveryError
from damd.subscribers.base import Subscriber

_log = structlog.get_logger(__name__)

QUIET = timedelta(minutes=1)
"""Who was told of one trouble is told of the next one after this, if that still lasts: some fail now and then."""


class EndpointLog:
    """Tells the log of one endpoint: once that it fails, once that it is back, once for each kind of bug."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._log = _log.bind(kind=subscriber.kind, subscriber=subscriber.name)
        self._name = subscriber.name
        self._refused = 0  # since it last took something
        self._refused_since: datetime | None = None
        self._told_at: datetime | None = None
        self._is_told = False
        self._bugs: set[tuple[type, str, int]] = set()
        self._disabled_at: datetime | None = None

    def taken(self, delivery: DueDelivery, *, at: datetime) -> None:
        """It took an event."""
        self._log.debug("delivery taken", event_id=delivery.event.event_id, attempts=delivery.attempts + 1)
        if self._is_told and self._refused_since is not None:
            lasted_s = max(0.0, (at - self._refused_since).total_seconds())
            self._log.info("endpoint is back", refused=self._refused, failed_for_s=round(lasted_s, 1))
            self._told_at = at
        self._refused, self._refused_since, self._is_told = 0, None, False

    def refused(self, delivery: DueDelivery, error: DeliveryError, *, at: datetime, next_attempt_at: datetime) -> None:
        """It did not take an event."""
        self._refused += 1
        self._refused_since = self._refused_since or at
        is_news = not self._is_told and not self._is_soon(at)
        if is_news:
            self._is_told, self._told_at = True, at
        (self._log.warning if is_news else self._log.debug)(
            "delivery failed",
            event_id=delivery.event.event_id,
            attempts=delivery.attempts + 1,
            next_attempt_at=next_attempt_at.isoformat(),
            error=str(error),
        )

    def _is_soon(self, at: datetime) -> bool:
        return self._told_at is not None and timedelta(0) <= at - self._told_at < QUIET

    def raised(self, delivery: DueDelivery, error: BaseException) -> None:
        """It failed otherwise than subscribers may: the traceback is told once for each line that raises."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = ("", 0) if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        bug = (type(error), *where)
        if bug not in self._bugs:
            self._log.error("subscriber failed", event_id=delivery.event.event_id, exc_info=error)
        self._bugs.add(bug)

    def stands(self, endpoint: Endpoint, *, gave_up: bool) -> None:
        """Whether it is disabled; `gave_up`: by the relay itself."""
        was, self._disabled_at = self._disabled_at, endpoint.disabled_at
        if was is None and endpoint.disabled_at is not None:
            (self._log.error if gave_up else self._log.warning)(
                "endpoint is disabled: what it is owed waits",
                because=endpoint.disabled_because,
                advice=f"once it is in order: damd webhooks enable {self._name}",
            )
        elif was is not None and endpoint.disabled_at is None:
            self._log.info("endpoint is enabled: it is sent what it is owed")
            self._told_at, self._is_told = None, False  # whoever did that wants to know how it goes
