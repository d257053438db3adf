"""How a running daemon stands: the facts, for people and for machines; `damd.daemon.answers` tells them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from damd import __version__
from damd.config import Config
from damd.daemon.watching import Watching
from damd.events import readable
from damd.intake import Intake
from damd.metrics import RootNumbers
from damd.relay.relay import Relay
from damd.watch.root import WatchedRoot

_TOLD = {"ignore", "include", "recursive", "follow_symlinks"}  # of a root's settings, for who asks without them
_MOST_FILES = 16


@dataclass(frozen=True, kw_only=True)
class Reload:
    """What came of a reload.

    Attributes:
        at: When it ended.
        ok: Whether the new configuration was taken.
        problems: Why not, a sentence each.
        changed: The keys whose new values are in force now.
        restart: The keys that have other values than those in force, until damd is restarted.
    """

    at: datetime
    ok: bool
    problems: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """As plain JSON values."""
        lists = {name: list(getattr(self, name)) for name in ("problems", "changed", "restart")}
        return {"at": self.at.isoformat(), "ok": self.ok, **lists}


@dataclass
class Standing:
    """A daemon, for whoever tells of it.

    Attributes:
        config: What is in force; another one after a reload.
        path: The file that it was read from.
        intake: What is in work.
        watching: The roots.
        relay: The deliveries.
        is_armed: Whether all roots have been armed once, or turned out not to be there.
        is_stopping: Whether the drain has begun.
        is_reloading: Whether another configuration is being read, or taken.
        reload: What came of the last reload.
        started_at: When it began.
        reloaded_at: When the configuration in force was taken.
    """

    config: Config
    path: Path | None
    intake: Intake
    watching: Watching
    relay: Relay
    is_armed: bool = False
    is_stopping: bool = False
    is_reloading: bool = False
    reload: Reload | None = None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    reloaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def sentence(self) -> str:
        """On a line, as ``systemctl status`` shows it."""
        return "; ".join(self._clauses())

    def _clauses(self) -> Iterator[str]:
        intake, roots = self.intake, self.watching.roots
        if self.is_stopping:
            yield f"Stopping, {_files(intake.lanes.in_work)} in work"
            return
        absent = [root.tree.root for root in roots if root.state.backend is None and not root.state.scanning]
        there = f"{len(roots) - len(absent)} of " if absent and self.is_armed else ""
        folders = f"{there}{len(roots)} folder{'' if len(roots) == 1 else 's'}"
        scanning = sum(root.state.scanning for root in roots)
        if self.is_reloading:
            yield "Reloading"
        if not self.is_armed:
            yield f"Beginning to watch {folders}"
        else:
            yield f"Watching {folders}" + (f", comparing {scanning} of them" if scanning else "")
        if intake.paused_since is not None:
            yield "PAUSED (damd resume)"
        if intake.lanes.waiting or intake.lanes.in_work:
            yield f"{_files(intake.lanes.waiting)} waiting, {intake.lanes.in_work} in work"
        if absent and self.is_armed:
            yield f"NOT WATCHED: {', '.join(absent)} (damd status)"
        if held := [root.tree.root for root in roots if root.held is not None and root.tree.root not in absent]:
            yield f"HELD: {', '.join(held)} (damd roots list)"
        if unread := sum(len(root.state.unreadable) for root in roots):
            yield f"{unread} folder{'' if unread == 1 else 's'} CLOSED to damd (damd status)"
        if troubled := self.relay.troubled:
            yield f"FAILING: {', '.join(troubled)} (damd webhooks list)"
        if failed := intake.outcomes["failed"]:
            yield f"{_files(failed)} failed since the start (damd failures list)"
        if self.reload is not None and not self.reload.ok:
            yield "the new configuration was REFUSED (damd status)"
        elif self.reload is not None and self.reload.restart:
            yield f"restart for: {', '.join(self.reload.restart)}"

    def numbers_of(self, root: WatchedRoot) -> RootNumbers:
        """What there is to count of one root."""
        name, state, tally = root.tree.root, root.state, self.intake.tally.of(root.tree.root)
        return RootNumbers(
            watched=state.backend is not None,
            held=root.held is not None,
            waiting=self.intake.lanes.waiting_in(name),
            oldest_s=round(self.intake.lanes.oldest_in(name), 1),
            unwatched=state.unwatched,
            renewals=state.renewals,
            overflows=state.overflows,
            watches=state.watches,
            sightings=dict(state.sightings),
            outcomes=dict(tally.outcomes),
            imported_bytes=tally.imported_bytes,
            last_imported_at=tally.last_imported_at,
        )

    def facts_of(self, root: WatchedRoot) -> dict[str, Any]:
        """One root's, as plain JSON values."""
        numbers = self.numbers_of(root)
        return {
            "name": root.tree.root,
            "path": readable(root.tree.folder),
            "backend": root.state.backend,
            "scanning": root.state.scanning,
            **vars(numbers),
            "held": root.held,
            "unwatched_because": root.state.unwatched_because,
            "in_work": self.intake.lanes.in_work_in(root.tree.root),
            "last_imported_at": _text(numbers.last_imported_at),
            "settings": root.settings.model_dump(mode="json", include=_TOLD),
        }

    def facts(self) -> dict[str, Any]:
        """All but what the catalogue knows, as plain JSON values."""
        intake, now = self.intake, time.monotonic()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "state": str(self.config.state),
            "config": str(self.path) if self.path is not None else None,
            "started_at": self.started_at.isoformat(),
            "paused_since": _text(intake.paused_since),
            "reload": self.reload.told() if self.reload is not None else None,
            "roots": [self.facts_of(root) for root in self.watching.roots],
            "waiting": intake.lanes.waiting,
            "oldest_s": round(intake.lanes.oldest_s, 1),
            "in_work": intake.lanes.in_work,
            "retrying": intake.retrying,
            "files": list(islice(self._files_in_work(now), _MOST_FILES)),
            "rates": intake.tally.rates(now_s=now),
            "since_start": dict(intake.outcomes),
        }

    def _files_in_work(self, now: float) -> Iterator[dict[str, Any]]:
        for path, root, queued in self.intake.lanes.files_in_work():
            stage = queued.way.stage if queued.way is not None else None
            yield {"path": readable(path), "root": root, "stage": stage, "since_s": round(now - queued.since, 1)}


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
