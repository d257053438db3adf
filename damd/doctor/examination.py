"""The examination from beginning to end, and the lists of what is looked at."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from damd.checks import checks
from damd.checks.catalogue import CHECK as CATALOGUE
from damd.checks.findings import Check, Finding, Health, found_by
from damd.config import Config
from damd.doctor.clock import look_at_clock
from damd.doctor.course import look_at_course
from damd.doctor.daemon import ask_daemon, look_at_daemon
from damd.doctor.endpoints import look_at_endpoints
from damd.doctor.extras import look_at_extras
from damd.doctor.held import look_at_held
from damd.doctor.leases import look_at_leases
from damd.doctor.names import look_at_names
from damd.doctor.opening import look_at_opening
from damd.doctor.patient import Examination, admitted
from damd.doctor.readers import look_at_readers
from damd.doctor.readings import look_at_readings
from damd.doctor.reloads import look_at_reloads
from damd.doctor.software import look_at_software
from damd.doctor.soundness import look_at_soundness
from damd.doctor.temporary import look_at_temporary
from damd.doctor.unit import look_at_unit
from damd.doctor.watching import look_at_watching
from damd.units.installed import Service

_MACHINE: Mapping[str, Check] = {
    "software": look_at_software,
    "clock": look_at_clock,
    "names": look_at_names,
    "temporary folder": look_at_temporary,
    "leases": look_at_leases,
}
"""What takes the configuration alone, before what ``damd config check`` looks at."""

_PATIENT: Mapping[str, Examination] = {
    "extras": look_at_extras,
    "readers": look_at_readers,
    CATALOGUE: look_at_opening,
    "catalogue's files": look_at_soundness,
    "readings": look_at_readings,
    "endpoints": look_at_endpoints,
    "held roots": look_at_held,
}
"""What takes a World."""

_DAEMON = {
    "daemon": look_at_daemon,
    "daemon's course": look_at_course,
    "daemon's reload": look_at_reloads,
    "daemon's roots": look_at_watching,
}
"""What takes the answer of a daemon that runs."""


async def examine(config: Config, scratch: Path | None, *, service: Service | None = None) -> AsyncIterator[Finding]:
    """Look at everything; each finding as soon as its check is done.

    Args:
        config: The configuration.
        scratch: An empty folder, for the time being; None where there can be none, so that readers and catalogue are
            not looked at.
        service: The service that starts the configuration, if there is one.

    Raises:
        ConfigurationError: A plugin cannot be set up.
    """
    opens = True
    unit = functools.partial(look_at_unit, service=service)
    machine: dict[str, Check] = {**_MACHINE, **checks(service), "systemd": unit}
    for name, check in machine.items():
        for finding in await found_by(name, functools.partial(check, config)):
            opens = opens and (finding.check, finding.health) != (CATALOGUE, Health.PROBLEM)
            yield finding
    if scratch is not None:
        async with admitted(config, scratch, may_open=opens, service=service) as patient:
            for name, examination in _PATIENT.items():
                for finding in await found_by(name, functools.partial(examination, patient)):
                    yield finding
    findings, answer = await ask_daemon(config)
    for finding in findings:
        yield finding
    if answer is None:
        return
    for name, look in _DAEMON.items():
        for finding in await found_by(name, functools.partial(look, config, answer)):
            yield finding
