"""The roots that are held, by what the catalogue remembers: much is missing there at once."""

from __future__ import annotations

from contextlib import suppress

from damd.catalogue.describe import root_states
from damd.catalogue.store import Catalogue
from damd.checks.environment import folder_fault
from damd.checks.findings import Finding, Health
from damd.doctor.patient import Patient
from damd.errors import CatalogueError
from damd.patience import in_time
from damd.watch.base import RootSettings


async def look_at_held(patient: Patient) -> list[Finding]:
    """Only of those that are; what a damaged catalogue thinks, nobody knows."""
    findings = []
    with suppress(CatalogueError):
        for root in await patient.world.get_resource(Catalogue).read(root_states):
            known = patient.config.roots.get(root["name"])
            if known is not None and root["held_because"] and not await _is_told(known):
                says = f"It is held: {root['held_because']}"
                advice = (
                    "mount what is missing, or let damd's user read it; else see damd roots list and damd roots accept"
                )
                check = f"held root {root['name']}"
                findings.append(Finding(check=check, health=Health.WARNING, says=says, advice=advice))
    return findings


async def _is_told(root: RootSettings) -> bool:
    """Whether the check of the roots has said what is wrong with its folder."""
    try:
        return await in_time(lambda: folder_fault(root.path)) is not None
    except TimeoutError:
        return True
