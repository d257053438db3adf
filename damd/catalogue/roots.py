"""Roots by name: how an absolute path and a location's key become one another.

A location is known by its root's name and the path below it, so that a drive that is mounted elsewhere
keeps its catalogue. The catalogue remembers every root it was ever told of, and so a question, or an
ingest beside the daemon, needs no configuration to find a path's key.
"""

# ruff: noqa: PTH118 - pathlib has no paths of bytes

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import delete, insert, update
from sqlmodel import Session, col, select

from damd.catalogue.tables import Failure, Location, Root, Volume, now
from damd.catalogue.volumes import VolumeKey, volume_id
from damd.mounts import Mounts


class Place(NamedTuple):
    """The key of a location or a failure: the root's name (empty outside every root), and the path below it."""

    root: str
    path: bytes


class Roots:
    """The roots of this catalogue; a resource of the World.

    Args:
        roots: All that the catalogue knows.
        mounts: What is mounted; None where no location's volume is asked for.
        following: The names of those in which symbolic links are followed.
    """

    def __init__(self, roots: Iterable[Root], mounts: Mounts | None = None, following: Collection[str] = ()) -> None:
        self._mounts = mounts
        self.renew(roots, following)

    def renew(self, roots: Iterable[Root], following: Collection[str]) -> None:
        """Know these from now on, instead of those that were known."""
        self._paths = {root.name: root.path for root in roots}
        self._following = frozenset(following)

    def folder(self, name: str) -> bytes:
        """The absolute path of a root's folder."""
        return self._paths[name]

    def follows(self, name: str) -> bool:
        """Whether symbolic links are followed in this root."""
        return name in self._following

    def place(self, path: str | bytes | os.PathLike[str]) -> Place:
        """The key of an absolute or relative path; blocking.

        Links among the path's folders are resolved, so that one file has one key; the last part is not. Below
        the folder of a root in which links are followed, each spelling is a key of its own.
        """
        raw = os.fsencode(path)
        spelt = self._as_spelt(raw) if self._following else None
        if spelt is not None:
            return spelt
        folder, name = os.path.split(raw)
        if name in {b"", b".", b".."}:
            return self.place_of(os.path.realpath(raw))
        return self.place_of(os.path.join(os.path.realpath(folder or b"."), name))

    def _as_spelt(self, raw: bytes) -> Place | None:
        """The key of a path into a root in which links are followed: resolved as far as its folder, and no further."""
        parts = [part for part in os.path.join(os.fsencode(Path.cwd()), raw).split(b"/") if part not in {b"", b"."}]
        real = b"/"
        for number, part in enumerate(parts):
            rest = parts[number:]
            if b".." not in rest:
                place = self.place_of(os.path.join(real, *rest))
                if place.root in self._following:
                    return place
            real = os.path.realpath(os.path.join(real, part))
        return None

    def place_of(self, absolute: bytes) -> Place:
        """The key of a path that is known to be absolute, with no link among its folders."""
        # A root within another is a former one: its own key is the more precise.
        root = max(
            (name for name in self._paths if _is_below(absolute, self._paths[name])), key=self._length, default=""
        )
        return Place(root, absolute[self._length(root) + 1 :]) if root else Place("", absolute)

    def _length(self, root: str) -> int:
        return len(self._paths[root].rstrip(b"/"))

    def path_of(self, place: Place) -> bytes:
        """The absolute path of a location's key."""
        if not place.root or place.root not in self._paths:
            return place.path
        return os.path.join(self._paths[place.root], place.path)

    def volume_of(self, place: Place) -> VolumeKey | None:
        """The volume that lies now where this key's file lies, or lay; None outside every root. Blocking.

        Raises:
            OSError: Its file system cannot be asked.
        """
        folder = self._paths.get(place.root)
        if self._mounts is None or folder is None:
            return None
        mount = self._mounts.holding(os.path.join(folder, place.path)).path
        if _is_below(mount, folder):
            return VolumeKey(mount[self._length(place.root) + 1 :], self._mounts.filesystem_of(mount))
        return VolumeKey(b"", self._mounts.carrier_of(folder))


def _is_below(path: bytes, folder: bytes) -> bool:
    return path.startswith(folder.rstrip(b"/") + b"/")


def known_roots(session: Session) -> list[Root]:
    """Every root that the catalogue was ever told of."""
    return list(session.exec(select(Root)))


def claim(session: Session, wanted: Iterable[Place]) -> list[Root]:
    """Record the configured roots, each a name and the real path of its folder; returns all that are known.

    What the catalogue knows below a new root by another key, since it was ingested outside every root or
    under a root that is no longer configured, gets its key from this one.
    """
    known = {root.name: root.path for root in known_roots(session)}
    for name, path in wanted:
        if known.get(name) == path:
            continue
        others = {"": b"/"} | {other: folder for other, folder in known.items() if other != name}
        for other, folder in others.items():
            if _is_below(path, folder) or _is_below(folder, path) or path == folder:
                _move_keys(session, other, folder, Place(name, path))
            if other and (folder == path or _is_below(folder, path)):
                session.execute(delete(Volume).where(col(Volume.root) == other))
                session.execute(delete(Root).where(col(Root.name) == other))
                del known[other]
        if name in known:
            session.execute(update(Root).where(col(Root.name) == name).values(path=path))
        else:
            session.execute(insert(Root).values(name=name, path=path, claimed_at=now()))
        known[name] = path
    return known_roots(session)


def _move_keys(session: Session, other: str, folder: bytes, root: Place) -> None:
    table: type[Location | Failure]
    volumes: dict[int, int | None] = {}
    for table in (Location, Failure):
        taken = set(session.scalars(sqlalchemy.select(col(table.path)).where(col(table.root) == root.root)))
        volume = col(Location.volume_id) if table is Location else sqlalchemy.null()
        columns = (col(table.id), col(table.path), volume)
        rows = session.execute(sqlalchemy.select(*columns).where(col(table.root) == other))
        for row_id, path, lay_on in rows.all():
            absolute = os.path.join(folder, path)
            if not _is_below(absolute, root.path):
                continue
            below = absolute[len(root.path.rstrip(b"/")) + 1 :]
            this = col(table.id) == row_id
            if below in taken:
                session.execute(delete(table).where(this))
                continue
            values: dict[str, object] = {"root": root.root, "path": below}
            if lay_on is not None:
                if lay_on not in volumes:
                    volumes[lay_on] = _renamed_volume(session, lay_on, folder, root)
                values["volume_id"] = volumes[lay_on]
            session.execute(update(table).where(this).values(values))


def _renamed_volume(session: Session, number: int, folder: bytes, root: Place) -> int | None:
    """The volume as the new root calls it; None where only the table of mounts could tell, if it were mounted now."""
    volume = session.exec(select(Volume).where(Volume.id == number)).one()
    if volume.path:
        mounted_at = os.path.join(folder, volume.path)
        below = mounted_at[len(root.path.rstrip(b"/")) + 1 :] if _is_below(mounted_at, root.path) else b""
    elif folder == root.path or _is_below(root.path, folder):
        below = b""
    else:
        return None
    return volume_id(session, root.root, VolumeKey(below, volume.filesystem))
