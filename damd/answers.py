"""What a running daemon answers on its control socket: how it stands, for people and for Prometheus."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session

from damd import __version__, control
from damd.catalogue.describe import events_waiting, summary
from damd.catalogue.endpoints import endpoint_states
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import now
from damd.config import Config
from damd.errors import CatalogueUnavailableError
from damd.events import readable
from damd.intake import Intake
from damd.metrics import EndpointNumbers, Numbers, Outbox, RootNumbers, exposition
from damd.watch.root import WatchedRoot
from damd.world import World

_TOLD = {"ignore", "include", "recursive", "follow_symlinks"}  # of a root's settings, for who asks without them


class Answers:
    """The daemon's answers; `by_command` is what `damd.control.serve` takes."""

    def __init__(self, config: Config, world: World, intake: Intake, roots: Sequence[WatchedRoot]) -> None:
        self._config = config
        self._catalogue = world.get_resource(Catalogue)
        self._intake = intake
        self._roots = roots

    @property
    def by_command(self) -> dict[str, control.Answer]:
        """Each answer by the command that asks for it."""
        return {"status": self._status, "scan": self._scan, "explain": self._explain, "metrics": self._metrics}

    async def _status(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "version": __version__,
            "pid": os.getpid(),
            "state": str(self._config.state),
            "roots": [
                {
                    "name": root.tree.root,
                    "path": readable(root.tree.folder),
                    **dataclasses.asdict(root.state),
                    "held": root.held,
                    "waiting": self._intake.waiting_in(root.tree.root),
                    "settings": root.settings.model_dump(mode="json", include=_TOLD),
                }
                for root in self._roots
            ],
            "endpoints": await self._catalogue.read(self._endpoints),
            "waiting": self._intake.waiting,
            "oldest_s": round(self._intake.oldest_s, 1),
            "in_work": self._intake.in_work,
            "since_start": dict(self._intake.outcomes),
            "catalogue": await self._catalogue.read(summary),
        }

    def _endpoints(self, session: Session) -> list[dict[str, Any]]:
        """Of those that this daemon serves; the catalogue may know others."""
        return [each for each in endpoint_states(session) if each["name"] in self._config.endpoints]

    async def _scan(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Compare a root, or all of them, with the catalogue soon."""
        asked = [root for root in self._roots if request.get("root") in {None, root.tree.root}]
        for root in asked:
            root.mark(root.tree.folder)
        return {"roots": [root.tree.root for root in asked]}

    async def _explain(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Where a path stands that the intake knows."""
        path = base64.b64decode(str(request.get("path_base64", "")))
        return {"intake": self._intake.explain(path)}

    async def _metrics(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """What Prometheus reads."""
        roots = {
            root.tree.root: RootNumbers(
                watched=root.state.backend is not None,
                held=root.held is not None,
                waiting=self._intake.waiting_in(root.tree.root),
                polled_folders=root.state.unwatched,
                renewals=root.state.renewals,
            )
            for root in self._roots
        }
        try:
            outbox = await self._catalogue.read(self._outbox)
        except CatalogueUnavailableError:
            outbox = None  # the other numbers are wanted all the more
        numbers = Numbers(
            version=__version__,
            files_in_work=self._intake.in_work,
            oldest_waiting_s=self._intake.oldest_s,
            files=self._intake.outcomes,
            roots=roots,
            outbox=outbox,
        )
        return {"text": exposition(numbers)}

    def _outbox(self, session: Session) -> Outbox:
        endpoints = {each["name"]: _endpoint_numbers(each, now()) for each in self._endpoints(session)}
        return Outbox(events_waiting=events_waiting(session), endpoints=endpoints)


def _endpoint_numbers(state: Mapping[str, Any], at: datetime) -> EndpointNumbers:
    since = state["failing_since"]
    failing_s = 0.0 if since is None else max(0.0, (at - datetime.fromisoformat(since)).total_seconds())
    return EndpointNumbers(owed=state["owed"], disabled=state["state"] == "disabled", failing_s=failing_s)
