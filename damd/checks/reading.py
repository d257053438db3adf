"""Whether damd's user may read what is in the roots, as far as a sample tells."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from damd.checks.findings import Finding, Health
from damd.checks.walking import folders_of
from damd.config import Config
from damd.events import readable
from damd.patience import in_time
from damd.watch.base import RootSettings

_MOST_FILES = 5_000
_MOST_S = 2.0
"""For each root."""


@dataclass
class _Sample:
    looked_at: int = 0
    closed: int = 0
    example: bytes = b""


async def look_at_reading(config: Config) -> list[Finding]:
    """A warning for each root with files or folders that this user may not read."""
    found = [await _look_at(name, root, config) for name, root in config.roots.items()]
    return [finding for finding in found if finding is not None]


async def _look_at(name: str, root: RootSettings, config: Config) -> Finding | None:
    check = f"files of root {name}"
    if os.geteuid() == 0:
        return Finding(check=check, says="Root may read them: ask as damd's user, to hear what that one may")
    sample = _Sample()
    try:
        await in_time(lambda: _look(root, config, sample, time.monotonic() + _MOST_S))
    except TimeoutError:
        says = f"{root.path} does not answer after {_count(sample)}: its disk, or the host that has it, hangs"
        return Finding(check=check, health=Health.WARNING, says=says, advice="mount it anew; damd waits for it")
    if not sample.looked_at or sample.example == os.fsencode(root.path):
        return None  # it is not there, or closed, as the check of the roots tells
    if sample.closed:
        says = f"{sample.closed} of {_count(sample)} cannot be read, such as {readable(sample.example)}"
        if sample.closed == 1:
            says = f"{readable(sample.example)} cannot be read, 1 of {_count(sample)}"
        advice = "let the user that damd runs as read them (chmod, chown, setfacl), or ignore them"
        return Finding(check=check, health=Health.WARNING, says=says, advice=advice)
    return Finding(check=check, says=f"What was looked at can be read: {_count(sample)}")


def _count(sample: _Sample) -> str:
    return "1 file or folder" if sample.looked_at == 1 else f"{sample.looked_at} files and folders"


def _look(root: RootSettings, config: Config, sample: _Sample, give_up_at_s: float) -> None:
    effective = os.access in os.supports_effective_ids
    for path, is_open in _entries(root, config, effective=effective):
        if sample.looked_at >= _MOST_FILES or time.monotonic() > give_up_at_s:
            return
        sample.looked_at += 1
        if not is_open:
            sample.closed += 1
            sample.example = sample.example or path


def _entries(root: RootSettings, config: Config, *, effective: bool) -> Iterator[tuple[bytes, bool]]:
    """Each folder and file, and whether it is open; what is in a closed folder is one fault with it."""
    for folder, files, is_readable in folders_of(root, config.state):
        is_open = is_readable and os.access(folder, os.X_OK, effective_ids=effective)
        yield folder, is_open
        for file in files if is_open else ():
            # A link that leads nowhere is nothing that could be read.
            yield file, os.path.islink(file) or os.access(file, os.R_OK, effective_ids=effective)  # noqa: PTH114 - bytes
