"""`damd doctor`: what works here and what does not, each with what to do about it.

Nothing is changed, but that a catalogue of an older damd is brought up to date, as by every command. Where there is
no catalogue, or none that opens, everything else is looked at in a scratch folder.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import sqlite3
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from damd import __version__, control
from damd.assembly import open_world, register_systems
from damd.catalogue.describe import root_states
from damd.catalogue.endpoints import endpoint_states
from damd.catalogue.engine import CatalogueSettings, catalogue_exists
from damd.catalogue.soundness import find_damage
from damd.catalogue.store import Catalogue
from damd.checks.environment import check_environment
from damd.config import Config
from damd.errors import (
    CatalogueError,
    DaemonUnreachableError,
    DamdError,
    FileError,
    LimitExceededError,
    NetworkMountError,
    ReaderCrashedError,
    ReaderUnavailableError,
)
from damd.ingest.outdated import count_outdated
from damd.media.base import Extra, Families
from damd.mounts import filesystem_type, is_network_mount
from damd.patience import in_time, why_unlistable
from damd.sandbox import Sandbox
from damd.watch.base import RootSettings
from damd.world import World

_LOW_SPACE_BYTES = 2**30
_QUICK_CHECK_S = 30.0
_COUNT_S = 10.0
_MAX_USER_WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
_TINY_TYPE = "image/gif"
_TINY = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
"""A picture of one pixel."""
_BEGINNINGS = {
    "image/heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "image/jxl": b"\xff\x0a",
}
"""Of files whose reader asks for their package only when it meets one: enough to be taken for their type, and no more.

The packages of other types are asked for when their reader starts.
"""

_POSTGRESQL = Extra("postgresql", {"psycopg": "psycopg"})


class Health(StrEnum):
    """How well something is; only a problem keeps damd from working."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was looked at, how well it is, what there is to say of it, and what to do, where there is something."""

    check: str
    health: Health = Health.OK
    says: str
    advice: str | None = None


async def examine(config: Config, scratch: Path) -> AsyncIterator[Finding]:
    """Look at everything; each finding as soon as it is there.

    Args:
        config: The configuration.
        scratch: An empty folder, for the time being.

    Raises:
        ConfigurationError: A plugin cannot be set up.
    """
    versions = f"damd {__version__}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    yield Finding(check="software", says=versions)
    for finding in await anyio.to_thread.run_sync(_look_at_state, config):
        yield finding
    async with AsyncExitStack() as stack:
        world, opened = await _open(stack, config, scratch)
        register_systems(world)
        for extra, mime_types in _extras(world.get_resource(Families)):
            yield await _look_at_extra(world, extra, mime_types, scratch)
        for name in sorted(_reader_names(world)):
            yield await _look_at_reader(world, name, scratch)
        yield opened
        if world.get_resource(Config) is config:
            yield await _look_at_soundness(world)
            yield await _look_at_outdated(world)
        endpoints, held = await _look_at_endpoints(world, config), await _held_roots(world)
    for finding in endpoints:
        yield finding
    for name, root in config.roots.items():
        yield await _look_at_root(name, root, held.get(name))
    yield await _look_at_daemon(config)


async def _open(stack: AsyncExitStack, config: Config, scratch: Path) -> tuple[World, Finding]:
    """The World of this configuration, or, where its catalogue is not there or not to be used, one like it."""
    there = await anyio.to_thread.run_sync(catalogue_exists, config.catalogue, config.state)
    opened = Finding(check="catalogue", says=f"There is none in {config.state} yet: damd run or damd ingest begins one")
    if there:
        try:
            world = await stack.enter_async_context(open_world(config, claims_roots=False))
        except (CatalogueError, OSError) as error:
            advice = "restore its folder from a backup, or name another --state"
            opened = Finding(check="catalogue", health=Health.PROBLEM, says=str(error), advice=advice)
        else:
            return world, Finding(check="catalogue", says=f"It opens, and is of this version ({_where(config)})")
    like_it = config.model_copy(update={"state": scratch / "state", "catalogue": CatalogueSettings()})
    return await stack.enter_async_context(open_world(like_it, claims_roots=False)), opened


def _where(config: Config) -> str:
    file = config.catalogue.file_in(config.state)
    return str(file) if file is not None else "PostgreSQL"


def _look_at_state(config: Config) -> list[Finding]:
    """The state folder, and what else the configuration names but the roots; blocking."""
    findings = [
        Finding(check="state", health=Health.PROBLEM, says=problem, advice="correct that, or name another --state")
        for problem in check_environment(config, roots=False)
    ]
    nearest = next(place for place in (config.state, *config.state.parents) if os.path.isdir(place))  # noqa: PTH112 - this raises nothing
    kind, free = filesystem_type(nearest), shutil.disk_usage(nearest).free
    says = f"{config.state} is on {kind}, with {free / 2**30:.1f} GiB free"
    file = config.catalogue.file_in(config.state)
    if file is not None and is_network_mount(file.parent):
        says, advice = str(NetworkMountError(str(file), kind)), "keep it on a local disk"
        findings.append(Finding(check="state", health=Health.PROBLEM, says=says, advice=advice))
    elif free < _LOW_SPACE_BYTES:
        advice = "make room: a catalogue that cannot grow takes in nothing"
        findings.append(Finding(check="state", health=Health.WARNING, says=says, advice=advice))
    elif not findings:
        findings.append(Finding(check="state", says=says))
    return findings


def _extras(families: Families) -> list[tuple[Extra, list[str]]]:
    """Every optional part of damd, and the types that need it."""
    packages: dict[str, dict[str, str]] = defaultdict(dict)
    types: dict[str, set[str]] = defaultdict(set)
    for family in families:
        for mime_type, extra in family.extras.items():
            packages[extra.name].update(extra.packages)
            types[extra.name].add(mime_type)
    found = [(Extra(name, packages[name]), sorted(types[name])) for name in packages]
    return [*sorted(found), (_POSTGRESQL, [])]


async def _look_at_extra(world: World, extra: Extra, mime_types: list[str], scratch: Path) -> Finding:
    check = f"damd[{extra.name}]"
    missing = extra.missing()
    if missing is None:
        found = ", ".join(f"{package} {_version(package)}" for package in extra.packages)
        for mime_type in _BEGINNINGS.keys() & set(mime_types):
            if not await _is_usable(world, mime_type, scratch):
                says = f"{found} is installed, and its reader cannot use it"
                return Finding(check=check, health=Health.PROBLEM, says=says, advice=f"install damd[{extra.name}] anew")
        return Finding(check=check, says=found)
    if not mime_types:
        return Finding(check=check, says=f"{missing} is not installed: only a catalogue in PostgreSQL needs it")
    return Finding(
        check=check,
        health=Health.WARNING,
        says=f"{missing} is not installed: {', '.join(mime_types)} cannot be read",
        advice=f"install damd[{extra.name}]",
    )


async def _is_usable(world: World, mime_type: str, scratch: Path) -> bool:
    """Whether a type's reader finds its package; what it thinks of the file is no matter."""
    families, path = world.get_resource(Families), scratch / "beginning"
    await anyio.to_thread.run_sync(path.write_bytes, _BEGINNINGS[mime_type])
    family = families.of(mime_type)
    try:
        await _have_read(world, family.reader_of(mime_type) if family else "", path)
    except ReaderUnavailableError:
        return False
    except (FileError, KeyError):  # what is wrong with the reader as such, its own check tells
        return True
    return True


async def _have_read(world: World, reader: str, path: Path) -> None:
    """Have a worker read a file, without previews."""
    sandbox = world.get_resource(Sandbox)
    options: dict[str, Any] = {"previews": [], "format": "png", "quality": 80}
    await sandbox.call(reader, os.fspath(path), **options, max_pixels=sandbox.settings.max_pixels)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a module without its metadata: put there by hand
        return "of unknown version"


def _reader_names(world: World) -> set[str]:
    families = world.get_resource(Families)
    names = {family.reader_of(each) for each in families.mime_types if (family := families.of(each)) is not None}
    return names - {""}


async def _look_at_reader(world: World, name: str, scratch: Path) -> Finding:
    """Have a worker read a tiny picture; whoever reads no pictures must at least be able to say so."""
    sandbox, families = world.get_resource(Sandbox), world.get_resource(Families)
    check, path = f"reader {name}", scratch / "tiny.gif"
    await anyio.to_thread.run_sync(path.write_bytes, _TINY)
    family = families.of(_TINY_TYPE)
    reads_it = family is not None and family.reader_of(_TINY_TYPE) == name
    advice = "install damd and its extras anew, and see that its process may use so much memory (ingest.memory)"
    try:
        await _have_read(world, name, path)
    except FileError as error:
        cannot_work = (ReaderUnavailableError, ReaderCrashedError, LimitExceededError)
        if reads_it or isinstance(error, cannot_work):
            return Finding(check=check, health=Health.PROBLEM, says=str(error), advice=advice)
    except KeyError:
        says = "Its family names it, and nobody has added it to the sandbox"
        return Finding(check=check, health=Health.PROBLEM, says=says, advice="correct the plugin that brings it")
    return Finding(check=check, says=f"Its process starts, version {sandbox.version_of(name)}")


async def _look_at_soundness(world: World) -> Finding:
    check = "catalogue's files"
    advice = "stop damd, keep a copy of the state folder, and restore it from a backup"
    try:
        damage = await world.get_resource(Catalogue).read(functools.partial(find_damage, within_s=_QUICK_CHECK_S))
    except CatalogueError as error:
        return Finding(check=check, health=Health.PROBLEM, says=str(error), advice=advice)
    if damage is None:
        return Finding(
            check=check, says=f"Not checked to the end: a server's, or larger than {_QUICK_CHECK_S:g} s allow"
        )
    if damage:
        return Finding(check=check, health=Health.PROBLEM, says=f"Damaged: {'; '.join(damage)}", advice=advice)
    return Finding(check=check, says="Sound, says SQLite's quick_check")


async def _look_at_outdated(world: World) -> Finding:
    check, advice = "readings", "run damd refresh, when there is time for it"
    try:
        count = await count_outdated(world, within_s=_COUNT_S)
    except CatalogueError as error:
        return Finding(check=check, health=Health.PROBLEM, says=str(error), advice="see to the catalogue first")
    if not count.number:
        looked = "No asset" if count.complete else f"None of those that could be looked at in {_COUNT_S:g} s"
        return Finding(check=check, says=f"{looked} would be read otherwise today")
    assets = "1 asset" if count.number == 1 else f"{count.number} assets"
    many = assets if count.complete else f"at least {assets}"
    says = f"{many} would be read otherwise today, or lack a preview of a configured size"
    return Finding(check=check, health=Health.WARNING, says=says[0].upper() + says[1:], advice=advice)


async def _look_at_endpoints(world: World, config: Config) -> list[Finding]:
    """Only of those that take nothing; what a damaged catalogue thinks, nobody knows."""
    findings = []
    with suppress(CatalogueError):
        for each in await world.get_resource(Catalogue).read(endpoint_states):
            if each["name"] in config.endpoints and each["state"] in {"disabled", "failing"}:
                says = f"It is {each['state']}: {each['disabled_because'] or each['last_error']}"
                advice = "see damd webhooks list, and try it with damd webhooks test"
                check = f"endpoint {each['name']}"
                findings.append(Finding(check=check, health=Health.WARNING, says=says, advice=advice))
    return findings


async def _look_at_root(name: str, root: RootSettings, held_because: str | None) -> Finding:
    check = f"root {name}"
    try:
        problem = await in_time(lambda: why_unlistable(os.fsencode(root.path)))
        remote, kind = await in_time(lambda: (is_network_mount(root.path), filesystem_type(root.path)))
    except TimeoutError:
        says = f"{root.path} does not answer: its disk, or the host that has it, hangs"
        return Finding(check=check, health=Health.PROBLEM, says=says, advice="mount it anew; damd waits for it")
    if problem is not None:
        says = f"{root.path} cannot be listed ({problem})"
        advice = "create the folder, mount its disk, let damd's user read it, or correct its path; damd waits for it"
        return Finding(check=check, health=Health.PROBLEM, says=says, advice=advice)
    native = root.backend == "native" or (root.backend == "auto" and not remote and sys.platform == "linux")
    how = f"by the kernel's events, for {_watches()} folders at most" if native else "by polling"
    says = f"{root.path} is on {kind}, and is watched {how}"
    if native and remote:
        advice = "set `backend: auto`: the kernel does not see what other hosts change"
        return Finding(check=check, health=Health.WARNING, says=says, advice=advice)
    if held_because:
        advice = "mount what is missing, or see damd roots list and damd roots accept"
        return Finding(check=check, health=Health.WARNING, says=f"{says}; it is held: {held_because}", advice=advice)
    return Finding(check=check, says=says)


async def _held_roots(world: World) -> dict[str, str | None]:
    """Why each root is held that is; what a damaged catalogue thinks, nobody knows."""
    try:
        return {root["name"]: root["held_because"] for root in await world.get_resource(Catalogue).read(root_states)}
    except CatalogueError:
        return {}


def _watches() -> str:
    """How many folders one user's programs may watch together (inotify(7)), as far as the system says it."""
    try:
        return _MAX_USER_WATCHES.read_text().strip()
    except OSError:
        return "?"


async def _look_at_daemon(config: Config) -> Finding:
    check = "daemon"
    try:
        answer = await control.ask(config.state, "status")
    except DaemonUnreachableError as error:
        return Finding(check=check, says=str(error))
    except DamdError as error:
        return Finding(check=check, health=Health.WARNING, says=str(error))
    says = f"damd {answer['version']} runs here, process {answer['pid']}"
    if answer["version"] != __version__:
        return Finding(check=check, health=Health.WARNING, says=says, advice=f"restart it: this is damd {__version__}")
    if unwatched := sum(root["unwatched"] for root in answer["roots"]):
        advice = "raise the sysctl fs.inotify.max_user_watches, and restart it"
        says = f"{says}, and must poll {unwatched} folders, since no inotify watches are left"
        return Finding(check=check, health=Health.WARNING, says=says, advice=advice)
    return Finding(check=check, says=says)
