"""structlog without rich and pygments, which it brings along wherever they are installed.

They would cost each process some 45 ms of processor time and 5 MB of memory, for tracebacks that damd writes otherwise.
It helps as long as nobody has imported structlog before.
"""

from __future__ import annotations

import sys

_was_there = "rich" in sys.modules
if not _was_there:
    sys.modules["rich"] = None  # type: ignore[assignment]  # the interpreter's own way to say that there is none
try:
    import structlog as structlog
finally:
    if not _was_there:
        del sys.modules["rich"]
