"""Whether the kernel's limits (inotify(7)) let every folder be watched."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from damd.checks.findings import Finding, Health
from damd.checks.roots import is_native
from damd.checks.walking import folders_of
from damd.config import Config
from damd.mounts import is_network_mount
from damd.patience import in_time
from damd.watch.base import RootSettings

_LIMITS = Path("/proc/sys/fs/inotify")
_MOST_S = 10.0
_LEAST_ADVISED = 524_288
_FEWEST_ADVISED = 512
_FILE = "/etc/sysctl.d/90-damd.conf"
_OTHERS_INSTANCES = 16
"""What other programs of the same user may need beside damd; a service's user has none."""


@dataclass
class _Count:
    folders: int = 0
    roots: int = 0
    is_complete: bool = True


async def look_at_watches(config: Config, *, limits: Path = _LIMITS) -> list[Finding]:
    """How many watches and instances the configuration needs, and how many this user may have.

    Args:
        config: The configuration.
        limits: The folder of the limits.
    """
    if sys.platform != "linux" or not config.watch:
        return []
    count = _Count()
    give_up_at_s = time.monotonic() + _MOST_S
    for root in config.watch:
        await _count(root, config, count, give_up_at_s)
    watches, instances = _limit(limits / "max_user_watches"), _limit(limits / "max_user_instances")
    return [_watches(count, watches), *_instances(count, instances)]


async def _count(root: RootSettings, config: Config, count: _Count, give_up_at_s: float) -> None:
    def walk() -> None:
        if not is_native(root, remote=is_network_mount(root.path)):
            return
        count.roots += 1
        for _ in folders_of(root, config.state):
            if time.monotonic() > give_up_at_s:
                count.is_complete = False
                return
            count.folders += 1

    try:
        await in_time(walk, within_s=max(1.0, give_up_at_s + 1 - time.monotonic()))
    except TimeoutError:  # it hangs; the check of the roots tells
        count.is_complete = False


def _limit(file: Path) -> int | None:
    """None where the system does not tell, as in a service with ``ProcSubset=pid``."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _watches(count: _Count, limit: int | None) -> Finding:
    check, at_least = "inotify watches", "" if count.is_complete else "at least "
    folders = f"{at_least}{count.folders} folder{'' if count.folders == 1 else 's'}"
    may = f"{limit} for each user" if limit is not None else "a number that the system does not tell"
    says = f"The kernel is to watch {folders}, of {may} (fs.inotify.max_user_watches)"
    if limit is None or count.folders <= limit * 0.9:
        return Finding(check=check, says=says)
    wanted = max(_LEAST_ADVISED, 1 << (2 * count.folders).bit_length())
    return Finding(check=check, health=Health.WARNING, says=says, advice=_advice("max_user_watches", wanted))


def _instances(count: _Count, limit: int | None) -> list[Finding]:
    """One for each root; the others' are polled."""
    if limit is None or count.roots + _OTHERS_INSTANCES <= limit:
        return []
    needed = f"{count.roots} inotify instance{'' if count.roots == 1 else 's'}"
    says = f"damd needs {needed}, of {limit} for each user (fs.inotify.max_user_instances)"
    advice = _advice("max_user_instances", max(_FEWEST_ADVISED, 1 << (2 * count.roots).bit_length()))
    return [Finding(check="inotify instances", health=Health.WARNING, says=says, advice=advice)]


def _advice(name: str, value: int) -> str:
    return f"put fs.inotify.{name}={value} into {_FILE}, and run sysctl --system; what is not watched is polled"
