"""The endpoints that take nothing, by what the catalogue remembers."""

from __future__ import annotations

from contextlib import suppress

from damd.catalogue.endpoints import endpoint_states
from damd.catalogue.store import Catalogue
from damd.checks.findings import Finding, Health
from damd.doctor.patient import Patient
from damd.errors import CatalogueError


async def look_at_endpoints(patient: Patient) -> list[Finding]:
    """Only of those that take nothing; what a damaged catalogue thinks, nobody knows."""
    findings = []
    with suppress(CatalogueError):
        for each in await patient.world.get_resource(Catalogue).read(endpoint_states):
            if each["name"] in patient.config.endpoints and each["state"] in {"disabled", "failing"}:
                says = f"It is {each['state']}: {each['disabled_because'] or each['last_error']}"
                advice = "see damd webhooks list, and try it with damd webhooks test"
                check = f"endpoint {each['name']}"
                findings.append(Finding(check=check, health=Health.WARNING, says=says, advice=advice))
    return findings
