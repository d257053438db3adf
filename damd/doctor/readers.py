"""The readers: whether their processes start and read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio.to_thread

from damd.checks.findings import Finding, Health
from damd.doctor.patient import Patient
from damd.errors import FileError, LimitExceededError, ReaderCrashedError, ReaderUnavailableError
from damd.media.base import Families
from damd.sandbox import Sandbox
from damd.world import World

_TINY_TYPE = "image/gif"
_TINY = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
"""A picture of one pixel."""


async def look_at_readers(patient: Patient) -> list[Finding]:
    """Each of them."""
    return [await _look_at(patient.world, name, patient.scratch) for name in sorted(_reader_names(patient.world))]


def _reader_names(world: World) -> set[str]:
    families = world.get_resource(Families)
    names = {family.reader_of(each) for each in families.mime_types if (family := families.of(each)) is not None}
    return names - {""}


async def _look_at(world: World, name: str, scratch: Path) -> Finding:
    """Have a worker read a tiny picture; whoever reads no pictures must at least be able to say so."""
    sandbox, families = world.get_resource(Sandbox), world.get_resource(Families)
    check, path = f"reader {name}", scratch / "tiny.gif"
    await anyio.to_thread.run_sync(path.write_bytes, _TINY)
    family = families.of(_TINY_TYPE)
    reads_it = family is not None and family.reader_of(_TINY_TYPE) == name
    advice = "install damd and its extras anew, and see that its process may use so much memory (ingest.memory)"
    try:
        await have_read(world, name, path)
    except FileError as error:
        cannot_work = (ReaderUnavailableError, ReaderCrashedError, LimitExceededError)
        if reads_it or isinstance(error, cannot_work):
            return Finding(check=check, health=Health.PROBLEM, says=str(error), advice=advice)
    except KeyError:
        says = "Its family names it, and nobody has added it to the sandbox"
        return Finding(check=check, health=Health.PROBLEM, says=says, advice="correct the plugin that brings it")
    return Finding(check=check, says=f"Its process starts, version {sandbox.version_of(name)}")


async def have_read(world: World, reader: str, path: Path) -> None:
    """Have a worker read a file, without previews."""
    sandbox = world.get_resource(Sandbox)
    options: dict[str, Any] = {"previews": [], "format": "png", "quality": 80}
    await sandbox.call(reader, os.fspath(path), **options, max_pixels=sandbox.settings.max_pixels)
