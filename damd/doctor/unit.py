"""The installed service, if there is one: whether it sees the roots of this configuration, and may write its state."""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from pathlib import Path

from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.doctor.unit_file import Unit, last_of, paths_in, read_unit
from damd.patience import in_time

_FOLDER = Path("/etc/systemd/system")
_NAME = "damd.service"
_CHECK = "systemd"
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - where PrivateTmp= puts folders of the service's own
_YES = frozenset({"yes", "true", "on", "1"})
_ANEW = "write its drop-in anew with damd systemd dropin, then systemctl daemon-reload"


async def look_at_unit(config: Config, *, folder: Path = _FOLDER) -> list[Finding]:
    """What the service lacks for this configuration; nothing where there is no service.

    Args:
        config: The configuration.
        folder: Where the administrator's units are.
    """
    return await in_time(lambda: _look(config, folder))


def _look(config: Config, folder: Path) -> list[Finding]:
    files = [each for each in (folder / _NAME, *sorted((folder / f"{_NAME}.d").glob("*.conf"))) if each.is_file()]
    if not files:
        return []
    unit = read_unit(files)
    faults = [*_user(unit), *_state(unit, config), *_hidden(unit, config), *_mounts(unit, config)]
    findings = [Finding(check=_CHECK, health=Health.WARNING, says=says, advice=advice) for says, advice in faults]
    return findings or [Finding(check=_CHECK, says=f"{files[0]} suits this configuration")]


def _user(unit: Unit) -> Iterator[tuple[str, str]]:
    user = last_of(unit, "User", "")
    if user and not user.isdigit() and last_of(unit, "DynamicUser", "no") not in _YES:
        try:
            pwd.getpwnam(user)
        except KeyError:
            yield f"The service runs as the user {user}, who does not exist", "make it: systemd-sysusers, or useradd -r"


def _state(unit: Unit, config: Config) -> Iterator[tuple[str, str]]:
    own = [Path("/var/lib") / name for value in unit.get(("Service", "StateDirectory"), ()) for name in value.split()]
    if own and "state" not in config.model_fields_set and config.state not in own:
        says = f"The service keeps its state in {own[0]}, and what is looked at here is {config.state}"
        yield says, f"ask with --state {own[0]}, to hear of the service"
    elif last_of(unit, "ProtectSystem", "no") == "strict":
        written = [*own, *paths_in(unit, "Service", "ReadWritePaths", "BindPaths")]
        if not any(config.state.is_relative_to(each) for each in written):
            yield f"The service may not write to {config.state} (ProtectSystem=strict)", _ANEW


def _hidden(unit: Unit, config: Config) -> Iterator[tuple[str, str]]:
    shown = paths_in(unit, "Service", "BindPaths", "BindReadOnlyPaths")
    hiding: list[tuple[Path, str]] = []
    if last_of(unit, "ProtectHome", "no") in {*_YES, "tmpfs"}:
        hiding += [(home, "ProtectHome") for home in _HOMES]
    if last_of(unit, "PrivateTmp", "no") in {*_YES, "disconnected"}:
        hiding += [(place, "PrivateTmp") for place in _TEMPORARY]
    hiding += [(path, "InaccessiblePaths") for path in paths_in(unit, "Service", "InaccessiblePaths")]
    for name, root in config.roots.items():
        for place, key in hiding:
            if root.path.is_relative_to(place) and not any(root.path.is_relative_to(each) for each in shown):
                advice = f"bind it into the service: {_ANEW}"
                if key == "ProtectHome":
                    advice = "set ProtectHome=read-only in a drop-in (systemctl edit damd)"
                yield f"The service does not see the root {name} ({root.path}): {key}= hides it", advice


def _mounts(unit: Unit, config: Config) -> Iterator[tuple[str, str]]:
    """A mount that is not waited for is an empty folder; one that is gone keeps the service from starting."""
    waited = paths_in(unit, "Unit", "RequiresMountsFor")
    for name, root in config.roots.items():
        if not any(each.is_relative_to(root.path) or root.path.is_relative_to(each) for each in waited):
            yield f"The service does not wait for the root {name} ({root.path}): RequiresMountsFor= lacks it", _ANEW
    needed = [*(root.path for root in config.watch), *_written(config)]
    for path in waited if config.watch else ():
        if not any(each.is_relative_to(path) for each in needed):
            yield f"The service waits for {path} (RequiresMountsFor=), which is nothing of this configuration", _ANEW


def _written(config: Config) -> Iterator[Path]:
    yield config.state
    if config.catalogue.file is not None:
        yield config.catalogue.file.parent
    for settings in config.subscribers:
        file = getattr(settings, "file", None)
        if isinstance(file, Path):
            yield file.parent
