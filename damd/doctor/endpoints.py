"""The endpoints that take nothing, by what the catalogue remembers."""

from __future__ import annotations

from contextlib import suppress

from damd.catalogue.endpoints import endpoint_states
from damd.catalogue.store import Catalogue
from damd.checks.findings import Finding, Health
from damd.doctor.patient import Patient
from damd.errors import CatalogueError
from damd.subscribers.webhook import WebhookSettings
from damd.units.installed import credentials_of


async def look_at_endpoints(patient: Patient) -> list[Finding]:
    """Only of those that take nothing; what a damaged catalogue thinks, nobody knows."""
    findings = []
    with suppress(CatalogueError):
        for each in await patient.world.get_resource(Catalogue).read(endpoint_states):
            if each["name"] in patient.config.endpoints and each["state"] in {"disabled", "failing"}:
                says = f"It is {each['state']}: {each['disabled_because'] or each['last_error']}"
                advice = f"see damd webhooks list, and try it with {_trial(patient, each['name'])}"
                check = f"endpoint {each['name']}"
                findings.append(Finding(check=check, health=Health.WARNING, says=says, advice=advice))
    return findings


def _trial(patient: Patient, name: str) -> str:
    """The command that sends it a test message, which needs what only the service has."""
    command = "damd webhooks test"
    settings = next((each for each in patient.config.subscribers if getattr(each, "name", None) == name), None)
    needed = credentials_of(settings) if isinstance(settings, WebhookSettings) else []
    if not needed or patient.service is None:
        return command
    return patient.service.run_with(needed, "damd", "webhooks", "test", name) or command
