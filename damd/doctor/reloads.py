"""What became of the daemon's last reload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from damd.checks.findings import Finding, Health
from damd.config import Config


async def look_at_reloads(config: Config, answer: Mapping[str, Any]) -> list[Finding]:  # noqa: ARG001 - as the others
    """Whether it was refused, or asks for a restart."""
    check, reload = "daemon's reload", answer.get("reload")
    if not reload:
        return []
    if not reload["ok"]:
        why = "; ".join(reload["problems"]) or "it does not say why"
        says = f"It refused the configuration at {reload['at']}, and goes on with the former one: {why}"
        return [Finding(check=check, health=Health.WARNING, says=says, advice="correct the file, then damd reload")]
    if reload["restart"]:
        says = f"It waits for a restart, for the sake of {', '.join(reload['restart'])}"
        return [Finding(check=check, health=Health.WARNING, says=says, advice="restart the daemon")]
    return [Finding(check=check, says=f"The last one, at {reload['at']}, was taken")]
