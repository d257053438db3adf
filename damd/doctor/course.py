"""Whether the daemon works at all: somebody may have paused it, or its work may have come to a halt."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.settings import format_duration

_LONG_S = 3600.0
"""A file waits for so long only where nothing goes on, or very much does."""


async def look_at_course(config: Config, answer: Mapping[str, Any]) -> list[Finding]:  # noqa: ARG001 - as the others
    """What a person has stopped, and what has been waiting for long."""
    check = "daemon's course"
    if answer.get("paused_since"):
        says = f"It has been paused since {answer['paused_since']}, and takes in nothing"
        return [Finding(check=check, health=Health.WARNING, says=says, advice="damd resume lets it go on")]
    oldest_s = answer.get("oldest_s") or 0
    if oldest_s > _LONG_S:
        waited = format_duration(timedelta(seconds=int(oldest_s)))
        waiting = answer.get("waiting")
        says = f"{'1 file waits' if waiting == 1 else f'{waiting} files wait'}, the oldest for {waited}"
        advice = "see damd status --watch: whether files are taken in at all, and which take so long"
        return [Finding(check=check, health=Health.WARNING, says=says, advice=advice)]
    return []
