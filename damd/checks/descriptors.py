"""How many files damd may have open: its connections, its pipes and its workers' are among them."""

from __future__ import annotations

import resource

from damd.checks.findings import Finding, Health
from damd.config import Config

_FEWEST = 4096


async def look_at_descriptors(config: Config) -> list[Finding]:  # noqa: ARG001 - as every check is called
    """The hard limit: damd raises the soft one by itself."""
    return [_judged(resource.getrlimit(resource.RLIMIT_NOFILE)[1])]


def _judged(hard: int) -> Finding:
    if hard in (resource.RLIM_INFINITY, -1):
        return Finding(check="open files", says="There may be any number")
    says = f"There may be {hard} (RLIMIT_NOFILE)"
    if hard >= _FEWEST:
        return Finding(check="open files", says=says)
    advice = f"allow {_FEWEST} at least: LimitNOFILE= in the service's unit, or ulimit -Hn"
    return Finding(check="open files", health=Health.WARNING, says=says, advice=advice)
