"""The folder for temporary files, where readers unpack."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from damd.checks.environment import folder_fault
from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.patience import in_time

_CHECK = "temporary folder"
_LOW_SPACE_BYTES = 64 * 2**20


async def look_at_temporary(config: Config) -> list[Finding]:  # noqa: ARG001 - as every check is called
    """Whether there is one that can be written to, and has room."""
    return [await in_time(_look)]


def _look() -> Finding:
    wanted = os.environ.get("TMPDIR")
    fault = folder_fault(Path(wanted), write=True) if wanted else None
    if fault is not None:
        says = f"{wanted}, which TMPDIR names, {fault.what}"
        return Finding(check=_CHECK, health=Health.WARNING, says=says, advice=f"{fault.advice}, or name another one")
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"damd")
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        says, advice = f"Temporary files cannot be written ({error.strerror})", "make room, or name a folder in TMPDIR"
        return Finding(check=_CHECK, health=Health.PROBLEM, says=says, advice=advice)
    says = f"{folder} has {free / 2**30:.1f} GiB free"
    if free < _LOW_SPACE_BYTES:
        advice = "make room there, or name another folder in TMPDIR"
        return Finding(check=_CHECK, health=Health.WARNING, says=says, advice=advice)
    return Finding(check=_CHECK, says=says)
