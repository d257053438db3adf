"""The service that starts a configuration, as it is installed: found by the ``--config`` of its ``ExecStart=``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from damd.subscribers.webhook import WebhookSettings
from damd.units.reading import Unit, last_of, option_of, read_unit

MACHINES = tuple(map(Path, ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system")))
"""Where the machine's units are; what is named first wins (systemd.unit(5))."""

_RUNNING = Path("/run/systemd/units")
_OF_THE_MACHINE = {"E": "/etc", "S": "/var/lib", "L": "/var/log", "C": "/var/cache", "t": "/run", "h": "/root"}
_CREDENTIALS = ("LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted")


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service that starts damd.

    Attributes:
        name: Such as ``damd.service`` or ``damd@family.service``.
        unit: What it says, with its drop-ins.
        config: The configuration that it starts damd with.
        is_users: Whether it is of a user's own manager.
        closed: Its drop-ins, and folders of them, that whoever asks may not read: it may say more than is known.
    """

    name: str
    unit: Unit
    config: Path
    is_users: bool = False
    closed: tuple[Path, ...] = ()

    def credential(self, name: str) -> tuple[str, str] | None:
        """How it is given a credential, such as ``("LoadCredential", "gallery:/etc/damd/secrets/gallery")``."""
        for key in _CREDENTIALS:
            for value in self.unit.get(("Service", key), ()):
                if value.split(":", 1)[0] == name:
                    return key, value
        return None

    def run_with(self, credentials: Sequence[str], *command: str) -> str | None:
        """How a person runs a command that needs these credentials; None where the service lacks one."""
        given = [self.credential(name) for name in credentials]
        found = [each for each in given if each is not None]
        if len(found) != len(given):
            return None
        user = last_of(self.unit, "User", "")
        words = ["systemd-run", *(["--user"] if self.is_users else []), "--pipe", "--wait", "--quiet"]
        for assignment in (*([f"User={user}"] if user else []), *("=".join(each) for each in found)):
            words += ["-p", assignment]
        return shlex.join([*words, *command, "--config", str(self.config)])


def find_service(
    config: Path | None, *, machine: Sequence[Path] = MACHINES, users: Path | None = None
) -> Service | None:
    """The service that starts damd with this configuration; None where none does. Blocking.

    Args:
        config: The configuration's file.
        machine: The folders of the machine's units.
        users: The folder of this user's own; ``~/.config/systemd/user``, but for root, without one.
    """
    if config is None:
        return None
    wanted = Path(os.path.abspath(config))  # noqa: PTH100 - Path.absolute() keeps `..`
    for name in _candidates(machine):
        if found := _read(name, wanted, machine, _OF_THE_MACHINE):
            return found
    home = os.path.expanduser("~")  # noqa: PTH111 - where there is none, pathlib's raises
    own = Path(os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config")
    if users is None and os.geteuid() != 0:
        users = own / "systemd" / "user"
    if users is None:
        return None
    return _read("damd.service", wanted, [users], {"E": str(own), "h": home}, is_users=True)


def credentials_of(settings: WebhookSettings) -> list[str]:
    """The names of the credentials that this webhook signs with."""
    sources = (settings.secret, settings.previous_secret)
    return [each.credential for each in sources if each is not None and each.credential is not None]


def _candidates(folders: Sequence[Path]) -> Iterator[str]:
    """The service, and the instances of which there is a trace: a unit, a drop-in, enabled, or running."""
    yield "damd.service"
    found: set[str] = {each.name.removeprefix("invocation:") for each in _RUNNING.glob("invocation:damd@?*.service")}
    for folder in folders:
        for pattern in ("damd@?*.service", "damd@?*.service.d", "*.wants/damd@?*.service"):
            found.update(each.name.removesuffix(".d") for each in folder.glob(pattern))
    yield from sorted(found)


def _read(
    name: str, config: Path, folders: Sequence[Path], specifiers: Mapping[str, str], *, is_users: bool = False
) -> Service | None:
    """A service, if it is there and starts that configuration."""
    prefix, at, instance = name.removesuffix(".service").partition("@")
    names = [name, *([f"{prefix}@.service"] if at else [])]
    places = [folder / each for each in names for folder in folders]
    file = next((each for each in places if os.path.isfile(each)), None)  # noqa: PTH113 - pathlib's may raise
    if file is None:
        return None
    # Of equal names, that of the instance wins, and then that of the earlier folder.
    dropins: dict[str, Path] = {}
    beside = [each.with_name(f"{each.name}.d") for each in places]
    for folder in beside:
        for dropin in folder.glob("*.conf"):
            dropins.setdefault(dropin.name, dropin)
    files = [file, *(dropins[each] for each in sorted(dropins))]
    unit = read_unit(files, {**specifiers, "i": instance, "I": instance})
    if not _starts(unit, config):
        return None
    closed = tuple(each for each in (*beside, *files) if os.path.lexists(each) and not os.access(each, os.R_OK))
    return Service(name=name, unit=unit, config=config, is_users=is_users, closed=closed)


def _starts(unit: Unit, config: Path) -> bool:
    named = [option_of(command, "--config", "-c") for command in unit.get(("Service", "ExecStart"), ())]
    return any(each is not None and os.path.realpath(each) == os.path.realpath(config) for each in named)
