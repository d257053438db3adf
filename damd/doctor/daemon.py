"""The daemon on this state folder: whether one runs, and is the damd that is installed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio.to_thread

import damd
from damd import __version__, control
from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.errors import DaemonUnreachableError, DamdError
from damd.patience import in_time

_CHECK = "daemon"


async def ask_daemon(config: Config) -> tuple[list[Finding], Mapping[str, Any] | None]:
    """What there is to say where it does not answer, and its answer to ``status``."""
    advice = "ask as the user that damd runs as, or as root"
    if await in_time(lambda: _is_closed(config.state)):
        says = f"Whether one runs cannot be seen: the state folder {config.state} is closed to this user"
        return [Finding(check=_CHECK, health=Health.WARNING, says=says, advice=advice)], None
    try:
        return [], await control.ask(config.state, "status")
    except DaemonUnreachableError as error:
        health = Health.PROBLEM if error.is_silent else Health.OK
        return [Finding(check=_CHECK, health=health, says=str(error))], None
    except DamdError as error:
        return [Finding(check=_CHECK, health=Health.WARNING, says=str(error), advice=advice)], None
    except (ValueError, TypeError):  # another program's socket, or a damd that speaks otherwise
        says = f"What answers on {config.state} is not understood"
        return [
            Finding(check=_CHECK, health=Health.WARNING, says=says, advice="restart the damd that runs there")
        ], None


async def look_at_daemon(config: Config, answer: Mapping[str, Any]) -> list[Finding]:  # noqa: ARG001 - as the others
    """Whether it is of this version, and was started after it was installed."""
    says = f"damd {answer['version']} runs here, process {answer['pid']}"
    if answer["version"] != __version__:
        advice = f"restart it: this is damd {__version__}"
        return [Finding(check=_CHECK, health=Health.WARNING, says=says, advice=advice)]
    started_at = answer.get("started_at")
    installed_at = await anyio.to_thread.run_sync(_installed_at)
    if started_at is not None and datetime.fromisoformat(started_at) < installed_at:
        says = f"{says}, since before the files of damd changed that are installed"
        return [
            Finding(check=_CHECK, health=Health.WARNING, says=says, advice="restart it: it runs what was there then")
        ]
    return [Finding(check=_CHECK, says=says)]


def _is_closed(folder: Path) -> bool:
    try:
        (folder / control.SOCKET).lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _installed_at() -> datetime:
    """When the newest of damd's modules was put where it is."""
    folder = Path(damd.__file__).parent
    return datetime.fromtimestamp(max(file.stat().st_mtime for file in folder.rglob("*.py")), UTC)
