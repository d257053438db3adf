"""The units, fitted to an installation: the path of damd's program, and that of its configuration."""

from __future__ import annotations

import sys
import sysconfig
from importlib import resources
from pathlib import Path

from damd.units import writing

_COMMANDS = {"ExecStart": "run", "ExecReload": "reload"}
_OF_AN_INSTANCE = {
    "# The service damd, as `damd systemd unit` prints it; docs/service.md tells how it is installed.": (
        "# One of several damd, as `damd systemd unit --template` prints it; docs/service.md tells how to install it.\n"
        "# damd@photos.service reads /etc/damd/photos.yaml, and keeps its catalogue in /var/lib/damd/photos."
    ),
    "Description=Catalogue of what lands in the watched folders": (
        "Description=Catalogue of what lands in the watched folders (%i)"
    ),
    "StateDirectory=damd": "StateDirectory=damd/%i",
    # Not below the other service's, which is removed with all that is in it when that one stops.
    "RuntimeDirectory=damd": "RuntimeDirectory=damd@%i",
    "LogsDirectory=damd": "LogsDirectory=damd/%i",
}
"""Lines of the unit, and what stands in their places in ``damd@.service``."""


def installed_program() -> tuple[str, ...]:
    """The command that starts the damd of this interpreter's installation; blocking."""
    script = Path(sysconfig.get_path("scripts")) / "damd"
    return (str(script),) if script.is_file() else (sys.executable, "-m", "damd")


def service_unit(program: tuple[str, ...], config: Path = Path("/etc/damd/damd.yaml")) -> str:
    """The service for the whole machine.

    Args:
        program: The command that starts damd.
        config: The configuration, an absolute path.

    Raises:
        DamdError: systemd cannot start this program.
    """
    return _fitted(template("damd.service"), program, writing.argument(str(config)))


def template_unit(program: tuple[str, ...]) -> str:
    """The service of which there may be several, each with a name and a configuration: ``damd@.service``.

    Raises:
        DamdError: systemd cannot start this program.
    """
    lines = [_OF_AN_INSTANCE.get(line, line) for line in template("damd.service").splitlines()]
    return _fitted("\n".join(lines) + "\n", program, "/etc/damd/%i.yaml")


def user_unit(program: tuple[str, ...], config: Path | None = None) -> str:
    """The service of a user's own manager.

    Args:
        program: The command that starts damd.
        config: The configuration, an absolute path; ``~/.config/damd/damd.yaml`` without one.

    Raises:
        DamdError: systemd cannot start this program.
    """
    written = writing.argument(str(config)) if config is not None else "%E/damd/damd.yaml"
    return _fitted(template("user.service"), program, written)


def template(name: str) -> str:
    """The text of one of the files beside this module."""
    return resources.files("damd.units").joinpath(name).read_text("utf-8")


def _fitted(unit: str, program: tuple[str, ...], config: str) -> str:
    words = [writing.program(Path(program[0])), *map(writing.argument, program[1:])]
    lines = []
    for line in unit.splitlines():
        key, separator, _ = line.partition("=")
        command = _COMMANDS.get(key) if separator else None
        lines.append(" ".join([f"{key}={words[0]}", *words[1:], command, "--config", config]) if command else line)
    return "\n".join(lines) + "\n"
