"""The relay's settings, apart from what they steer: who only reads the configuration need not load the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from damd.settings import Duration, Settings

KEEP = timedelta(days=30)
LONGEST_KEEP = timedelta(days=36_525)
"""A century: years that no calendar has cannot be counted back to."""


class EventSettings(Settings):
    """The section ``events:``."""

    keep: Annotated[Duration, Field(ge=timedelta(hours=1), le=LONGEST_KEEP)] = KEEP
    """For how long; longer where something is still owed to a webhook or a command that is alive. At least 1h."""
