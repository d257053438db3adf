"""What a running daemon answers, on its control socket and over HTTP: how it stands, and what it is told to do."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any

import anyio
import anyio.to_thread
from sqlmodel import Session

from damd import __version__, control
from damd.catalogue.describe import events_waiting, summary
from damd.catalogue.endpoints import endpoint_states, oldest_owed_at
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import now
from damd.daemon.reloading import Reloader
from damd.daemon.standing import Standing
from damd.errors import CatalogueUnavailableError, DamdError, UnknownNameError
from damd.metrics import EndpointNumbers, Numbers, Outbox
from damd.watch.root import WatchedRoot
from damd.world import World


class Answers:
    """The daemon's answers; `by_command` is what `damd.control.serve` takes.

    Args:
        world: Whose catalogue.
        standing: How it stands.
        reloader: Reloads when it is told to.
    """

    def __init__(self, world: World, standing: Standing, reloader: Reloader) -> None:
        self._catalogue = world.get_resource(Catalogue)
        self._standing = standing
        self._intake = standing.intake
        self._reloader = reloader

    @property
    def by_command(self) -> dict[str, control.Answer]:
        """Each answer by the command that asks for it."""
        return {
            "status": self._status,
            "explain": self._explain,
            "metrics": self._exposition,
            "scan": self._scan,
            "wait": self._wait,
            "pause": self._pause,
            "resume": self._resume,
            "reload": self._reload,
        }

    async def status(self) -> dict[str, Any]:
        """How the daemon stands, in plain JSON values; ``catalogue`` is None while that cannot be asked."""
        facts = self._standing.facts()
        try:
            endpoints, catalogue = await self._catalogue.read(self._known)
        except CatalogueUnavailableError:
            return facts | {"endpoints": [], "catalogue": None}
        return facts | {"endpoints": endpoints, "catalogue": catalogue}

    async def not_ready(self) -> list[str]:
        """Why it cannot do its work at the moment, each in a sentence; none where it can."""
        reasons = [] if self._standing.is_armed else ["The roots are not all watched yet"]
        if self._standing.is_reloading:
            reasons.append("The configuration is being reloaded")
        absent = [root for root in self._standing.watching.roots if root.state.backend is None]
        if self._standing.is_armed:
            reasons += [root.held or f"The root {root.tree.root} is not watched" for root in absent]
        try:
            await self._catalogue.read(events_waiting)
        except CatalogueUnavailableError as error:
            reasons.append(str(error))
        return reasons

    async def metrics(self) -> Numbers:
        """What there is to count."""
        standing, intake = self._standing, self._intake
        try:
            outbox = await self._catalogue.read(self._outbox)
        except CatalogueUnavailableError:
            outbox = None  # the other numbers are wanted all the more
        return Numbers(
            version=__version__,
            files_in_work=intake.lanes.in_work,
            files_retrying=intake.retrying,
            paused=intake.paused_since is not None,
            reload_successful=standing.reload is None or standing.reload.ok,
            reload_succeeded_at=standing.reloaded_at,
            roots={root.tree.root: standing.numbers_of(root) for root in standing.watching.roots},
            stages=intake.durations.numbers(),
            deliveries=standing.relay.attempts,
            outbox=outbox,
        )

    def _outbox(self, session: Session) -> Outbox:
        at = now()
        endpoints = {each["name"]: _endpoint_numbers(session, each, at) for each in self._endpoints(session)}
        return Outbox(events_waiting=events_waiting(session), endpoints=endpoints)

    def _known(self, session: Session) -> tuple[list[dict[str, Any]], dict[str, int]]:
        return self._endpoints(session), summary(session)

    def _endpoints(self, session: Session) -> list[dict[str, Any]]:
        """Of those that this daemon serves; the catalogue may know others."""
        return [each for each in endpoint_states(session) if each["name"] in self._standing.config.endpoints]

    async def _status(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        return await self.status()

    async def _exposition(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """What Prometheus reads."""
        numbers = await self.metrics()
        return {"text": await anyio.to_thread.run_sync(_exposition, numbers)}

    async def _explain(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Where a path stands that the intake knows."""
        path = base64.b64decode(str(request.get("path_base64", "")))
        return {"intake": self._intake.explain(path)}

    def _asked_roots(self, request: Mapping[str, Any]) -> list[WatchedRoot]:
        """The root that is named, or all.

        Raises:
            DamdError: None is watched of that name.
        """
        name, roots = request.get("root"), self._standing.watching.roots
        asked = [root for root in roots if name is None or name == root.tree.root]
        if not asked and name is None:
            raise DamdError("No root is watched at the moment, since the configuration is being reloaded: ask again")
        if not asked:
            known = ", ".join(root.tree.root for root in roots)
            raise UnknownNameError(f"No root is called {name}; those that are watched: {known}")
        return asked

    async def _scan(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Compare a root, or all of them, with the catalogue soon."""
        asked = self._asked_roots(request)
        for root in asked:
            root.mark(root.tree.folder)
        return {"roots": [root.tree.root for root in asked]}

    async def _wait(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer when all that is there now is catalogued or has failed; what will be tried again has failed.

        A file that is written for ever is waited for as long.
        """
        asked = self._asked_roots(request)
        problems: list[str] = []

        async def unless(event: Awaitable[object], problem: str) -> None:
            await event
            problems.append(problem)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            paused = "damd is paused, so this would not end: damd resume"
            tasks.start_soon(unless, self._intake.until_paused(), paused)
            for root in asked:
                left = f"The root {root.tree.root} is watched no more, or not as it was: ask again"
                tasks.start_soon(unless, self._standing.watching.until_left(root), left)
            async with anyio.create_task_group() as waiting:
                for root in asked:
                    waiting.start_soon(self._until_done, root, problems)
            tasks.cancel_scope.cancel()
        if problems:
            raise DamdError("\n".join(sorted(set(problems))))
        unread = [each for root in asked for each in root.state.unreadable]
        return {"roots": [root.tree.root for root in asked]} | ({"unread": unread} if unread else {})

    async def _until_done(self, root: WatchedRoot, problems: list[str]) -> None:
        try:
            await root.compared()
            await self._intake.until_ended(root.tree.root)
        except DamdError as error:
            problems.append(str(error))

    async def _pause(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """Begin no further file."""
        return {"paused_since": self._intake.pause().isoformat()}

    async def _resume(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """Go on."""
        self._intake.resume()
        return {"paused_since": None}

    async def _reload(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """Read the configuration again, and tell what came of it."""
        return (await self._reloader.reload()).told()


def _exposition(numbers: Numbers) -> str:
    from damd.metrics.exposition import exposition  # it takes its time, and most daemons are never asked

    return exposition(numbers)


def _endpoint_numbers(session: Session, state: Mapping[str, Any], at: datetime) -> EndpointNumbers:
    oldest = oldest_owed_at(session, state["name"]) if state["owed"] else None
    since = state["failing_since"]
    return EndpointNumbers(
        owed=state["owed"],
        disabled=state["state"] == "disabled",
        failing_s=_seconds(datetime.fromisoformat(since), at) if since is not None else 0.0,
        oldest_owed_s=_seconds(oldest, at) if oldest is not None else 0.0,
    )


def _seconds(since: datetime, at: datetime) -> float:
    return max(0.0, (at - since).total_seconds())
