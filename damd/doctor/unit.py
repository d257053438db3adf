"""The service that starts this configuration: whether it sees the roots, and may write what it writes."""

from __future__ import annotations

import pwd
import shlex
from collections.abc import Iterator
from pathlib import Path

from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.units.installed import Service
from damd.units.reading import Unit, last_of, paths_in

_CHECK = "systemd"
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - where PrivateTmp= puts folders of the service's own
_YES = frozenset({"yes", "true", "on", "1"})
_DIRECTORIES = {
    "StateDirectory": Path("/var/lib"),
    "LogsDirectory": Path("/var/log"),
    "CacheDirectory": Path("/var/cache"),
    "RuntimeDirectory": Path("/run"),
}


async def look_at_unit(config: Config, *, service: Service | None) -> list[Finding]:
    """What keeps the service from this configuration: what hides or forbids what it names, and no more.

    What an administrator has set otherwise than damd would is nobody's fault.

    Args:
        config: The configuration.
        service: The service that starts it.
    """
    if service is None:
        return [Finding(check=_CHECK, says="No unit of systemd that is known here starts this configuration")]
    if service.closed:
        says = f"{service.closed[0]} is closed to this user, so that what it says of {service.name} is not known"
        advice = f"ask as root, or let everybody read it: chmod go+rX {service.closed[0]}"
        return [Finding(check=_CHECK, health=Health.WARNING, says=says, advice=advice)]
    unit = service.unit
    faults = [*_user(unit), *_state(service, config), *_forbidden(service, config), *_hidden(service, config)]
    findings = [Finding(check=_CHECK, health=Health.WARNING, says=says, advice=advice) for says, advice in faults]
    return findings or [Finding(check=_CHECK, says=f"{service.name} suits this configuration")]


def _user(unit: Unit) -> Iterator[tuple[str, str]]:
    user = last_of(unit, "User", "")
    if user and not user.isdigit() and last_of(unit, "DynamicUser", "no").lower() not in _YES:
        try:
            pwd.getpwnam(user)
        except KeyError:
            yield f"The service runs as the user {user}, who does not exist", "make it: systemd-sysusers, or useradd -r"


def _state(service: Service, config: Config) -> Iterator[tuple[str, str]]:
    own = _own(service.unit)
    if _is_default(config) and own and config.state not in own:
        says = f"{service.name} keeps its state in {own[0]}, and what is looked at here is {config.state}"
        yield says, f"name it in the configuration, state: {own[0]}, or ask with --state {own[0]}"


def _forbidden(service: Service, config: Config) -> Iterator[tuple[str, str]]:
    unit = service.unit
    if last_of(unit, "ProtectSystem", "no").lower() != "strict":
        return
    open_to_it = [*_own(unit), *paths_in(unit, "Service", "ReadWritePaths", "BindPaths")]
    for folder in dict.fromkeys(_written(config)):
        if not any(folder.is_relative_to(each) for each in open_to_it):
            yield f"{service.name} may not write to {folder} (ProtectSystem=strict)", _anew(service)


def _own(unit: Unit) -> list[Path]:
    """The folders that systemd makes for the service: of the state first."""
    return [
        folder / name
        for key, folder in _DIRECTORIES.items()
        for value in unit.get(("Service", key), ())
        for name in value.split()
    ]


def _is_default(config: Config) -> bool:
    """Whether the state folder is what the service would not take: it is told where its own is."""
    return "state" not in config.model_fields_set


def _anew(service: Service) -> str:
    if service.is_users:
        return "correct the unit in ~/.config/systemd/user, then systemctl --user daemon-reload"
    dropin = f"/etc/systemd/system/{service.name}.d/folders.conf"
    write = shlex.join(["damd", "systemd", "dropin", "--config", str(service.config), "--output", dropin])
    return f"write its drop-in anew ({write}), then systemctl daemon-reload, and restart it"


def _hidden(service: Service, config: Config) -> Iterator[tuple[str, str]]:
    unit = service.unit
    shown = paths_in(unit, "Service", "BindPaths", "BindReadOnlyPaths")
    hiding: list[tuple[Path, str]] = []
    if last_of(unit, "ProtectHome", "no").lower() in {*_YES, "tmpfs"}:
        hiding += [(home, "ProtectHome") for home in _HOMES]
    if last_of(unit, "PrivateTmp", "no").lower() in {*_YES, "disconnected"}:
        hiding += [(place, "PrivateTmp") for place in _TEMPORARY]
    hiding += [(path, "InaccessiblePaths") for path in paths_in(unit, "Service", "InaccessiblePaths")]
    for name, root in config.roots.items():
        for place, key in hiding:
            if root.path.is_relative_to(place) and not any(root.path.is_relative_to(each) for each in shown):
                advice = _anew(service)
                if key == "ProtectHome":
                    advice = f"set ProtectHome=read-only in a drop-in (systemctl edit {service.name})"
                yield f"{service.name} does not see the root {name} ({root.path}): {key}= hides it", advice


def _written(config: Config) -> Iterator[Path]:
    if not _is_default(config):
        yield config.state
    if config.catalogue.file is not None:
        yield config.catalogue.file.parent
    for settings in config.subscribers:
        file = getattr(settings, "file", None)
        if isinstance(file, Path):
            yield file.parent
