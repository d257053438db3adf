"""Whether damd can see that another program still holds a file open for writing (see `damd.intake.look`)."""

from __future__ import annotations

import re
from pathlib import Path

from damd.checks.findings import Finding
from damd.config import Config
from damd.patience import in_time

_STATUS = Path("/proc/self/status")
_CAP_LEASE = 28  # capabilities(7)


async def look_at_leases(config: Config, *, status: Path = _STATUS) -> list[Finding]:  # noqa: ARG001 - as every check is called
    """For information only: a file that rests for its root's settle time is taken in without it.

    Args:
        config: The configuration.
        status: What the kernel says of this process.
    """
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", await in_time(lambda: _text_of(status)), re.MULTILINE)
    if found is None:
        return []
    whose = "files of every user" if int(found[1], 16) >> _CAP_LEASE & 1 else "this user's own files, without CAP_LEASE"
    return [Finding(check="leases", says=f"Writers that hold a file open are seen in {whose}; else it has to settle")]


def _text_of(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # not Linux
        return ""
