"""The state folder: whether damd may write there, whether SQLite may trust it, and whether there is room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from damd.checks.environment import state_fault
from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.errors import NetworkMountError
from damd.mounts import filesystem_type, is_network_mount
from damd.patience import in_time

_CHECK = "state"
_LOW_SPACE_BYTES = 2**30
_FEW_INODES = 10_000  # each asset has a preview or two


async def look_at_state(config: Config) -> list[Finding]:
    """The state folder and the files in it."""
    try:
        return await in_time(lambda: _look(config))
    except TimeoutError:
        says = f"The state folder {config.state} does not answer: its disk hangs"
        return [
            Finding(check=_CHECK, health=Health.PROBLEM, says=says, advice="mount it anew, or name another --state")
        ]


def _look(config: Config) -> list[Finding]:
    fault = state_fault(config.state)
    if fault is not None:
        says = f"The state folder {config.state} {fault.what}"
        return [Finding(check=_CHECK, health=Health.PROBLEM, says=says, advice=fault.advice)]
    findings = [*_network(config), *_closed(config), *_space(config.state)]
    return findings or [Finding(check=_CHECK, says=_where(config.state))]


def _network(config: Config) -> list[Finding]:
    file = config.catalogue.file_in(config.state)
    if file is None or not is_network_mount(file.parent):
        return []
    says = str(NetworkMountError(str(file), filesystem_type(file.parent)))
    return [Finding(check=_CHECK, health=Health.PROBLEM, says=says, advice="keep it on a local disk")]


def _closed(config: Config) -> list[Finding]:
    """What another user has left there, most often root, who tried something out."""
    effective = os.access in os.supports_effective_ids
    file = config.catalogue.file_in(config.state)
    places = [] if file is None else [file.with_name(file.name + suffix) for suffix in ("", "-wal", "-shm")]
    closed = [
        place
        for place in (*places, config.state / "previews")
        if os.path.lexists(place) and not os.access(place, os.R_OK | os.W_OK, effective_ids=effective)
    ]
    if not closed:
        return []
    says = f"{closed[0]} is closed to damd, which must write there"
    advice = f"give it back to the user that damd runs as: chown -R USER: {config.state}"
    return [Finding(check=_CHECK, health=Health.PROBLEM, says=says, advice=advice)]


def _space(state: Path) -> list[Finding]:
    disk = os.statvfs(_nearest(state))
    if shutil.disk_usage(_nearest(state)).free < _LOW_SPACE_BYTES:
        advice = "make room: a catalogue that cannot grow takes in nothing"
    elif disk.f_files and disk.f_favail < _FEW_INODES:  # some file systems count none
        advice = f"make room: no more than {disk.f_favail} further files fit there (df -i)"
    else:
        return []
    return [Finding(check=_CHECK, health=Health.WARNING, says=_where(state), advice=advice)]


def _where(state: Path) -> str:
    nearest = _nearest(state)
    return f"{state} is on {filesystem_type(nearest)}, with {shutil.disk_usage(nearest).free / 2**30:.1f} GiB free"


def _nearest(state: Path) -> Path:
    return next(place for place in (state, *state.parents) if place.is_dir())
