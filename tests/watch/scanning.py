"""What the tests of scans work with: a root that is scanned, and a very small ingest."""

import os
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
from sqlmodel import Session, col, select, update

from damd.catalogue import absence
from damd.catalogue.outbox import restore_event
from damd.catalogue.record import Finding, NewAsset, Properties, record_asset, record_location
from damd.catalogue.roots import Place, Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Location, Root, StoredEvent, now
from damd.catalogue.volumes import VolumeKey
from damd.errors import WatchLostError
from damd.events import Event
from damd.fingerprint import Signature
from damd.mounts import Mounts
from damd.watch.base import RootSettings
from damd.watch.ignore import IgnoreRules
from damd.watch.presence import Presence
from damd.watch.scan import Scanner, Surroundings
from damd.watch.tree import Tree

OWN, CARD = VolumeKey(b"", 1), VolumeKey(b"card", 2)
WHOLE = [""]
"""What a scan says that wants all of the root scanned again."""


class Sink:
    """Takes everything; what waits is dealt with by `deal`, called when somebody waits for it."""

    def __init__(self) -> None:
        self.offered: list[bytes] = []
        self.moves: list[tuple[bytes, bytes]] = []
        self.asked = 0
        self.inodes: frozenset[int] = frozenset()
        self.deal: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint

    def sight(
        self, path: bytes, *, root: str, settle_s: float, closed: bool = False, moved_from: bytes | None = None
    ) -> bool:
        raise AssertionError

    async def offer(self, path: bytes, *, root: str, settle_s: float, moved_from: bytes | None = None) -> None:
        assert (root, settle_s) == ("inbox", 0.5)
        await anyio.lowlevel.checkpoint()
        self.offered.append(path)
        if moved_from is not None:
            self.moves.append((moved_from, path))

    async def caught_up(self, root: str) -> frozenset[int]:
        assert root == "inbox"
        self.asked += 1
        await self.deal()
        return self.inodes


class ManyMounts(Mounts):
    """This system's table of mounts, which changes when it is told so."""

    changes = 0

    @property
    def version(self) -> int:
        return self.changes


class Bench:
    """A root that is scanned, and a very small ingest."""

    def __init__(self, folder: Path, catalogue: Catalogue, roots: Roots) -> None:
        self.folder, self.catalogue, self.roots = folder, catalogue, roots
        self.sink = Sink()
        self.mounts = ManyMounts()
        self.announced: list[Event] = []
        self.demanded = 0
        self.is_disturbed = False
        self.presence = self.with_volumes(OWN)
        self.scanner = self.new_scanner()

    def new_scanner(self) -> Scanner:
        settings = RootSettings.model_validate({"path": self.folder})
        path = os.fsencode(self.folder)
        rules = IgnoreRules(["*.raw"], folder=path)
        self.tree = Tree(root="inbox", folder=path, recursive=True, rules=rules, excluded=b"/nowhere")
        around = Surroundings(catalogue=self.catalogue, roots=self.roots, mounts=self.mounts, announce=self.announce)
        return Scanner(settings, self.tree, around, anyio.CapacityLimiter(2))

    def with_volumes(self, *keys: VolumeKey) -> Presence:
        status = self.folder.stat()
        return Presence((status.st_dev, status.st_ino), keys)

    async def announce(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        self.announced.append(event)

    async def demand(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.demanded += 1
        status = self.folder.stat()
        if (status.st_dev, status.st_ino) != self.presence.identity:
            raise WatchLostError("another folder")

    async def scan(self, *paths: str, moved_from: str | None = None) -> list[str]:
        """Scan these paths, or all; which are to be scanned again."""
        origin = None if moved_from is None else os.fsencode(self.folder / moved_from)
        with anyio.fail_after(20):
            again = await self.scanner.scan(
                dict.fromkeys([os.fsencode(path) for path in paths] or [b""], origin),
                whole=not paths,
                presence=self.presence,
                demand=self.demand,
                sink=self.sink,
                is_disturbed=lambda: self.is_disturbed,
            )
        return [os.fsdecode(path) for path in again]

    # The files, and what is known of them.

    def write(self, *paths: str) -> None:
        for path in paths:
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(path)

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.folder / path).unlink()

    async def ingest(self, *paths: str) -> None:
        """Record these files, or all; one whose inode is known at a path that is gone has moved."""
        found = {path: Signature(*numbers) for files in self.tree.walk() for path, numbers in files}
        wanted = [os.fsencode(path) for path in paths] or list(found)
        card = any(key == CARD for key in self.presence.volumes)

        def change(session: Session) -> None:
            known = {row.inode: row for row in session.exec(select(Location)).all()}
            for path in wanted:
                volume = CARD if card and path.startswith(b"card/") else OWN
                finding = Finding(Place("inbox", path), found[path], volume)
                before = known.get(found[path].inode)
                if before is None:
                    properties = Properties(size_bytes=1, first_name="a")
                    record_asset(session, NewAsset(uuid.uuid4().hex * 2, finding, properties, []), None)
                elif before.path in found:
                    record_location(session, before.entity_id, finding)
                else:
                    this = col(Location.id) == before.id
                    session.execute(update(Location).where(this).values(path=path, **found[path]._asdict()))

        await self.catalogue.write(change)

    async def imported(self, *paths: str) -> None:
        """Files that are there and known, as a first scan found them."""
        self.write(*paths)
        await self.ingest()
        assert not await self.scan()
        self.sink.asked = self.demanded = 0

    async def missing(self) -> list[str]:
        rows = await self.catalogue.read(lambda session: session.exec(select(Location)).all())
        return sorted(os.fsdecode(row.path) for row in rows if row.missing_since)

    async def known(self) -> list[str]:
        rows = await self.catalogue.read(lambda session: session.exec(select(Location)).all())
        return sorted(os.fsdecode(row.path) for row in rows if not row.missing_since)

    async def held(self) -> str | None:
        """Why it is held, as scanner and catalogue say alike."""
        root = await self.catalogue.read(lambda session: session.exec(select(Root)).one())
        assert root.held_because == self.scanner.held
        assert (root.held_since is None) == (root.held_because is None)
        return root.held_because

    async def accept(self) -> bool:
        return await self.catalogue.write(partial(absence.accept, root="inbox", at=now()))

    async def stored(self) -> Sequence[Event]:
        rows = await self.catalogue.read(lambda session: session.exec(select(StoredEvent)).all())
        return [restore_event(row) for row in rows]
