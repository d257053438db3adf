"""structlog, and the standard library's records through it: one pipe, one shape."""

import damd.logs.bare  # noqa: F401 - before all else: it decides what structlog brings along
from damd.logs.configuring import configure

__all__ = ["configure"]
