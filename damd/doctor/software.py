"""The versions of what damd stands on."""

from __future__ import annotations

import platform
import sqlite3

from damd import __version__
from damd.checks.findings import Finding
from damd.config import Config


async def look_at_software(config: Config) -> list[Finding]:  # noqa: ARG001 - as every check is called
    """For whoever reports a fault."""
    versions = f"damd {__version__}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return [Finding(check="software", says=f"{versions}, {platform.platform()}")]
