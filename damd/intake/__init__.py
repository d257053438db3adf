"""From sightings to commands: what waits, what is in work, what is due again."""

from __future__ import annotations

from damd.intake.intake import COMMANDS_PER_WORKER, Intake

__all__ = ["COMMANDS_PER_WORKER", "Intake"]
