"""Whether the names of files are taken for UTF-8, as nearly all of them are."""

from __future__ import annotations

import sys

from damd.checks.findings import Finding, Health
from damd.config import Config


async def look_at_names(config: Config) -> list[Finding]:  # noqa: ARG001 - as every check is called
    """By the locale of whoever asks, which is the daemon's only where it is started alike."""
    return [judged(sys.getfilesystemencoding())]


def judged(encoding: str) -> Finding:
    """What this encoding means; bytes that are no text are kept in any."""
    check, says = "names", f"Names of files are read as {encoding.upper()}"
    if encoding.lower().replace("-", "") == "utf8":
        return Finding(check=check, says=says)
    advice = "set LANG=C.UTF-8 for damd: names beyond ASCII look wrong in its words and events"
    return Finding(check=check, health=Health.WARNING, says=says, advice=advice)
