"""The roots as the daemon has them: whether they are those of the configuration, and whether it hears of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from damd.checks.findings import Finding, Health
from damd.config import Config

_CHECK = "daemon's roots"


async def look_at_watching(config: Config, answer: Mapping[str, Any]) -> list[Finding]:
    """A warning for whatever is not watched as the configuration asks."""
    roots = answer["roots"]
    return [*_others(config, roots), *_silent(roots), *_unwatched(roots)]


def _others(config: Config, roots: list[dict[str, Any]]) -> list[Finding]:
    watched, wanted = {root["name"] for root in roots}, set(config.roots)
    if not wanted or watched == wanted:  # without any, nobody has named the daemon's configuration
        return []
    words = [f"the daemon alone has {name}" for name in sorted(watched - wanted)]
    words += [f"the configuration alone has {name}" for name in sorted(wanted - watched)]
    advice = "damd reload has it take up this configuration, if it is the daemon's own (--config)"
    return [Finding(check=_CHECK, health=Health.WARNING, says=_sentence("; ".join(words)), advice=advice)]


def _silent(roots: list[dict[str, Any]]) -> list[Finding]:
    """Those without a watcher: their folder is gone, or answers nothing."""
    return [
        Finding(
            check=f"watch of root {root['name']}",
            health=Health.WARNING,
            says=f"The daemon does not watch {root.get('path', root['name'])} now, and tries again",
            advice="mount its disk, or let the user that damd runs as read it; damd's log has the reason",
        )
        for root in roots
        if root.get("backend", "") is None
    ]


def _unwatched(roots: list[dict[str, Any]]) -> list[Finding]:
    unwatched = sum(root["unwatched"] for root in roots)
    if not unwatched:
        return []
    advice = "raise the sysctl fs.inotify.max_user_watches, and restart it"
    says = f"The daemon must poll {unwatched} folders, since no inotify watches are left"
    return [Finding(check="daemon's watches", health=Health.WARNING, says=says, advice=advice)]


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
