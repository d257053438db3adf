"""The roots as the daemon has them: whether they are those of the configuration, and whether it hears of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from damd.checks.environment import folder_fault
from damd.checks.findings import Finding, Health
from damd.config import Config
from damd.patience import in_time
from damd.watch.state import NO_WATCHES_LEFT

_CHECK = "daemon's roots"
_MOST_REASONS = 8  # of one root, in the daemon's answer


async def look_at_watching(config: Config, answer: Mapping[str, Any]) -> list[Finding]:
    """A warning for whatever is not watched as the configuration asks."""
    roots = answer["roots"]
    known = await in_time(lambda: {root["name"] for root in roots if _is_told(root)})
    roots_to_tell = [root for root in roots if root["name"] not in known]
    return [*_others(config, roots), *_silent(roots_to_tell), *_closed(roots_to_tell), *_limited(roots_to_tell)]


def _is_told(root: dict[str, Any]) -> bool:
    """Whether the check of the roots has said what is wrong with this one's folder."""
    return folder_fault(Path(root.get("path", ""))) is not None


def _others(config: Config, roots: list[dict[str, Any]]) -> list[Finding]:
    watched, wanted = {root["name"] for root in roots}, set(config.roots)
    if not wanted or watched == wanted:  # without any, nobody has named the daemon's configuration
        return []
    words = [f"the daemon alone has {name}" for name in sorted(watched - wanted)]
    words += [f"the configuration alone has {name}" for name in sorted(wanted - watched)]
    advice = "damd reload has it take up this configuration, if it is the daemon's own (--config)"
    return [Finding(check=_CHECK, health=Health.WARNING, says=_sentence("; ".join(words)), advice=advice)]


def _silent(roots: list[dict[str, Any]]) -> list[Finding]:
    """Those without a watcher: their folder is gone, or answers nothing. Why one is held, the catalogue has told."""
    return [
        Finding(
            check=f"watch of root {root['name']}",
            health=Health.WARNING,
            says=f"The daemon does not watch {root.get('path', root['name'])} now, and tries again",
            advice="mount its disk, or let the user that damd runs as read it; damd's log has the reason",
        )
        for root in roots
        if root.get("backend", "") is None and not root.get("held")
    ]


def _closed(roots: list[dict[str, Any]]) -> list[Finding]:
    """Folders below a root that its user may not look into."""
    findings = []
    for root in roots:
        if closed := _unreadable(root):
            example = closed[0]
            several = f"{len(closed)} folders" if len(closed) < _MOST_REASONS else f"{_MOST_REASONS} folders or more"
            what = f"into {several}, such as" if len(closed) > 1 else "into"
            says = f"The daemon cannot look {what} {example}"
            advice = "let the user that damd runs as read and enter it (chmod, chown, setfacl), or ignore it"
            findings.append(
                Finding(check=f"folders of root {root['name']}", health=Health.WARNING, says=says, advice=advice)
            )
    return findings


def _limited(roots: list[dict[str, Any]]) -> list[Finding]:
    """The folders that the kernel would not watch."""
    reasons = [root for root in roots if len(_unreadable(root)) < root["unwatched"]]
    unwatched = sum(root["unwatched"] - len(_unreadable(root)) for root in reasons)
    # Of more than are named, the others may be closed just the same: the limits are only blamed where one names them.
    named = any(each.endswith(NO_WATCHES_LEFT) for root in reasons for each in root.get("unwatched_because", ()))
    if not unwatched or not (named or any("unwatched_because" not in root for root in reasons)):
        return []
    advice = "raise the sysctl fs.inotify.max_user_watches, and restart it"
    folders = "1 folder" if unwatched == 1 else f"{unwatched} folders"
    says = f"The daemon must poll {folders}, since no inotify watches are left"
    return [Finding(check="daemon's watches", health=Health.WARNING, says=says, advice=advice)]


def _unreadable(root: dict[str, Any]) -> list[str]:
    """``PATH: reason`` of those that cannot be looked into; an older daemon does not tell."""
    return [each for each in root.get("unwatched_because", ()) if not each.endswith(NO_WATCHES_LEFT)]


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
