"""The clock: signatures of webhooks, and whatever is kept for some time, go by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.patience import in_time

_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
"""Before this damd there was none: a board without a battery starts in 1970."""
_DRIFT = timedelta(minutes=2)


async def look_at_clock(config: Config, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> list[Finding]:
    """Whether it can be right: not before damd was made, nor before the catalogue was last written.

    Args:
        config: The configuration.
        now: The present moment.
    """
    moment, check = now(), "clock"
    written = await in_time(lambda: _last_written(config))
    says = f"It is {moment:%Y-%m-%d %H:%M:%S} UTC"
    advice = "set the clock, and have it kept: timedatectl set-ntp true"
    if moment < _EARLIEST:
        says = f"{says}, which cannot be: receivers refuse webhooks that are signed then"
        return [Finding(check=check, health=Health.PROBLEM, says=says, advice=advice)]
    if written is not None and written > moment + _DRIFT:
        says = f"{says}, and the catalogue was written at {written:%Y-%m-%d %H:%M:%S}"
        return [Finding(check=check, health=Health.WARNING, says=says, advice=advice)]
    return [Finding(check=check, says=says)]


def _last_written(config: Config) -> datetime | None:
    file = config.catalogue.file_in(config.state)
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC) if file is not None else None
    except (OSError, OverflowError, ValueError):
        return None
