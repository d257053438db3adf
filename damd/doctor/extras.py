"""The optional packages: which are installed, work, and what is not read without them."""

from __future__ import annotations

from collections import defaultdict
from importlib import metadata
from pathlib import Path

import anyio.to_thread

from damd.checks.findings import Finding, Health
from damd.doctor.patient import Patient
from damd.doctor.readers import have_read
from damd.errors import FileError, ReaderUnavailableError
from damd.media.base import Extra, Families
from damd.world import World

_BEGINNINGS = {
    "image/heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "image/jxl": b"\xff\x0a",
}
"""Of files whose reader asks for their package only when it meets one: enough to be taken for their type, and no more.

The packages of other types are asked for when their reader starts.
"""

_POSTGRESQL = Extra("postgresql", {"psycopg": "psycopg"})


async def look_at_extras(patient: Patient) -> list[Finding]:
    """Each of them."""
    found = _extras(patient.world.get_resource(Families))
    return [await _look_at(patient.world, extra, mime_types, patient.scratch) for extra, mime_types in found]


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


async def _look_at(world: World, extra: Extra, mime_types: list[str], scratch: Path) -> Finding:
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
        await have_read(world, family.reader_of(mime_type) if family else "", path)
    except ReaderUnavailableError:
        return False
    except (FileError, KeyError):  # what is wrong with the reader as such, its own check tells
        return True
    return True


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a module without its metadata: put there by hand
        return "of unknown version"
