"""What the catalogue says when it is opened and brought up to date, where a glimpse at it found nothing."""

from __future__ import annotations

from damd.checks.catalogue import CHECK
from damd.checks.findings import Finding, Health
from damd.doctor.patient import Patient


async def look_at_opening(patient: Patient) -> list[Finding]:
    """Why it does not open."""
    if patient.because is None:
        return []
    advice = "restore its folder from a backup, or name another --state"
    return [Finding(check=CHECK, health=Health.PROBLEM, says=patient.because, advice=advice)]
