"""While the catalogue takes nothing: on a full disk, every file would be read for nothing, and fail."""

from __future__ import annotations

import structlog

from damd.results import IngestResult, IngestStatus

_log = structlog.get_logger(__name__)

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0


class Outage:
    """Whether there is one, as the results tell, and when to find out whether it is over."""

    def __init__(self) -> None:
        self._wait_s = 0.0
        self.resume_at = 0.0
        """When, in monotonic seconds, a file may be tried; long ago while there is none."""

    @property
    def is_on(self) -> bool:
        """Whether the catalogue took nothing when it was asked last."""
        return self._wait_s > 0

    def note(self, result: IngestResult, *, now: float) -> None:
        """Learn from a file's result; each attempt that fails doubles the wait, up to a minute."""
        if result.catalogue_failed:
            if not self.is_on:
                _log.error("the catalogue takes nothing: waiting for it", reason=result.reason)
            if now >= self.resume_at:  # else it began before the wait, and says only what made us wait
                self._wait_s = min(max(_FIRST_WAIT_S, 2 * self._wait_s), _LONGEST_WAIT_S)
                self.resume_at = now + self._wait_s
        elif self.is_on and result.is_news and result.status is not IngestStatus.SKIPPED:
            _log.info("the catalogue takes writes again")
            self._wait_s = self.resume_at = 0.0
