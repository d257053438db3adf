"""A daemon that the tests of a module share: each rewrites its configuration, and has folders of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import yaml
from daemons import Daemon, locations, running

from damd import control

SLOW = """
import os
import anyio
from damd.ingest.process_by_hash import ProcessFileByHashCommand

async def wait(cmd: ProcessFileByHashCommand) -> None:
    while not await anyio.Path(os.environ["GO"]).exists():
        await anyio.sleep(0.01)

def setup(world):
    world._systems[ProcessFileByHashCommand].insert(0, world._resolve(wait, ProcessFileByHashCommand))
"""
"""A plugin that has each file wait in work until the file ``$GO`` is there."""

_serials = count()


class Place:
    """A configuration that is rewritten, and its folders, whose roots have names that no other test uses."""

    def __init__(self, folder: Path, state: Path, **keys: Any) -> None:
        serial = next(_serials)
        self.folder = folder / f"{serial}"
        self.state = state
        self.config = folder / "damd.yaml"
        self.inbox, self.other = self.folder / f"inbox{serial}", self.folder / f"other{serial}"
        for made in (self.inbox, self.other):
            made.mkdir(parents=True)
        self._keys: dict[str, Any] = {"state": str(state), "watch": [self.root(self.inbox)]} | keys
        self.write()

    def write(self, **keys: Any) -> None:
        self.config.write_text(yaml.safe_dump(self._keys | keys))

    def root(self, folder: Path, **keys: Any) -> dict[str, Any]:
        return {"path": str(folder), "settle": "50ms"} | keys

    def ask(self, command: str, **details: Any) -> dict[str, Any]:
        return anyio.run(lambda: control.ask(self.state, command, waits=True, **details))

    def reload(self) -> dict[str, Any]:
        return self.ask("reload")

    def roots(self) -> list[str]:
        return [root["name"] for root in self.ask("status")["roots"]]

    def locations(self) -> list[tuple[str, str]]:
        """Where the files of this place lie, by root and path."""
        known = {self.inbox.name, self.other.name, f"renamed.{self.inbox.name}"}
        return sorted(location for location in locations(self.state) if location[0] in known)


class Served:
    """A daemon, and a place for each test in turn."""

    def __init__(self, folder: Path, state: Path, daemon: Daemon, **keys: Any) -> None:
        self.daemon = daemon
        self._folder = folder
        self._state = state
        self._keys = keys

    def move_on(self) -> Place:
        """To a place of its own, with nothing left in force or in the log of what was before."""
        place = Place(self._folder, self._state, **self._keys)
        told = place.reload()
        assert (told["ok"], told["problems"], told["restart"]) == (True, [], [])
        self.daemon.forget()
        return place


@contextmanager
def served(folder: Path, state: Path, *, plugins: dict[str, str] | None = None) -> Iterator[Served]:
    """A daemon with these plugins, by their names; it ends well."""
    (folder / "plugins").mkdir(parents=True)
    for name, code in (plugins or {}).items():
        (folder / "plugins" / f"{name}.py").write_text(code)
    keys = {"plugins": list(plugins)} if plugins else {}
    first = Place(folder, state, **keys)
    with running("--config", first.config, PYTHONPATH=folder / "plugins") as daemon:
        daemon.wait_for("ready")
        yield Served(folder, state, daemon, **keys)
        assert daemon.stop() == 0
