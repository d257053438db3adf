"""Whether the catalogue's file is sound."""

from __future__ import annotations

import functools

from damd.catalogue.soundness import find_damage
from damd.catalogue.store import Catalogue
from damd.checks.findings import Finding, Health
from damd.doctor.patient import Patient
from damd.errors import CatalogueError
from damd.world import World

_QUICK_CHECK_S = 30.0


async def look_at_soundness(patient: Patient) -> list[Finding]:
    """Only of a catalogue that opens."""
    return [await _look(patient.world)] if patient.has_catalogue else []


async def _look(world: World) -> Finding:
    check = "catalogue's files"
    advice = "stop damd, keep a copy of the state folder, and restore it from a backup"
    try:
        damage = await world.get_resource(Catalogue).read(functools.partial(find_damage, within_s=_QUICK_CHECK_S))
    except CatalogueError as error:
        return Finding(check=check, health=Health.PROBLEM, says=str(error), advice=advice)
    if damage is None:
        return Finding(
            check=check, says=f"Not checked to the end: a server's, or larger than {_QUICK_CHECK_S:g} s allow"
        )
    if damage:
        return Finding(check=check, health=Health.PROBLEM, says=f"Damaged: {'; '.join(damage)}", advice=advice)
    return Finding(check=check, says="Sound, says SQLite's quick_check")
