"""The roots: whether each is there, may be read, and is watched in the way that its disk asks for."""

from __future__ import annotations

import sys

from damd.checks.environment import Fault, folder_fault
from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.mounts import filesystem_type, is_network_mount
from damd.patience import in_time
from damd.watch.base import RootSettings


async def look_at_roots(config: Config) -> list[Finding]:
    """Each root, however long the others take to answer."""
    return [await _look_at(name, root) for name, root in config.roots.items()]


async def _look_at(name: str, root: RootSettings) -> Finding:
    check, what = f"root {name}", f"The root {name} ({root.path})"
    try:
        fault, kind, remote = await in_time(lambda: _asked(root))
    except TimeoutError:
        says = f"{what} does not answer: its disk, or the host that has it, hangs"
        return Finding(check=check, health=Health.PROBLEM, says=says, advice="mount it anew; damd waits for it")
    if fault is not None:
        return Finding(check=check, health=Health.PROBLEM, says=f"{what} {fault.what}", advice=fault.advice)
    native = is_native(root, remote=remote)
    how = "by the kernel's events" if native else "by polling"
    says = f"{what} is on {kind}, and is watched {how}"
    if native and remote:
        advice = "set `backend: auto`: the kernel does not see what other hosts change"
        return Finding(check=check, health=Health.WARNING, says=says, advice=advice)
    return Finding(check=check, says=says)


def is_native(root: RootSettings, *, remote: bool) -> bool:
    """Whether a root's folders are watched by the kernel, as far as its settings and its disk say."""
    return root.backend == "native" or (root.backend == "auto" and not remote and sys.platform == "linux")


def _asked(root: RootSettings) -> tuple[Fault | None, str, bool]:
    return folder_fault(root.path), filesystem_type(root.path), is_network_mount(root.path)
