"""The roots that are held, by what the catalogue remembers: much is missing there at once."""

from __future__ import annotations

from contextlib import suppress

from damd.catalogue.describe import root_states
from damd.catalogue.store import Catalogue
from damd.checks.findings import Finding, Health
from damd.doctor.patient import Patient
from damd.errors import CatalogueError


async def look_at_held(patient: Patient) -> list[Finding]:
    """Only of those that are; what a damaged catalogue thinks, nobody knows."""
    findings = []
    with suppress(CatalogueError):
        for root in await patient.world.get_resource(Catalogue).read(root_states):
            if root["name"] in patient.config.roots and root["held_because"]:
                says = f"It is held: {root['held_because']}"
                advice = "mount what is missing, or see damd roots list and damd roots accept"
                check = f"held root {root['name']}"
                findings.append(Finding(check=check, health=Health.WARNING, says=says, advice=advice))
    return findings
