"""Whether assets would be read otherwise today."""

from __future__ import annotations

from damd.checks.findings import Finding, Health
from damd.doctor.patient import Patient
from damd.errors import CatalogueError
from damd.ingest.outdated import count_outdated
from damd.world import World

_COUNT_S = 10.0


async def look_at_readings(patient: Patient) -> list[Finding]:
    """Only of a catalogue that opens."""
    return [await _look(patient.world)] if patient.has_catalogue else []


async def _look(world: World) -> Finding:
    check, advice = "readings", "run damd refresh, when there is time for it"
    try:
        count = await count_outdated(world, within_s=_COUNT_S)
    except CatalogueError as error:
        return Finding(check=check, health=Health.PROBLEM, says=str(error), advice="see to the catalogue first")
    if not count.number:
        looked = "No asset" if count.complete else f"None of those that could be looked at in {_COUNT_S:g} s"
        return Finding(check=check, says=f"{looked} would be read otherwise today")
    assets = "1 asset" if count.number == 1 else f"{count.number} assets"
    many = assets if count.complete else f"at least {assets}"
    says = f"{many} would be read otherwise today, or lack a preview of a configured size"
    return Finding(check=check, health=Health.WARNING, says=says[0].upper() + says[1:], advice=advice)
