"""Volumes: on which file system a location lies, so that one which is gone is not taken for empty.

A volume is known by its root, the place below the root where it is mounted, and the number of its file system.
Some file systems get another number with every mount; then a sample of what is known to lie on the volume
tells whether this is the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import delete, insert, update
from sqlmodel import Session, col

from damd.catalogue.tables import Location, Volume, table_of

_SAMPLE = 50
_ENOUGH = 0.9


class VolumeKey(NamedTuple):
    """What a volume is known by within its root.

    Attributes:
        path: Where it is mounted, below the root's folder; empty for the one that carries the folder itself.
        filesystem: The file system's number, of `damd.mounts.Mounts`.
    """

    path: bytes
    filesystem: int


class KnownFile(NamedTuple):
    """A file that is known to lie on a volume: its path below the root, its size and its mtime."""

    path: bytes
    size_bytes: int
    mtime_ns: int


def volume_id(session: Session, root: str, key: VolumeKey) -> int:
    """The number of this volume, which is made where it is new."""
    statement = sqlalchemy.select(col(Volume.id)).where(*_is(root, key))
    known = session.execute(statement).scalar()
    if known is None:
        values = {"root": root, **key._asdict()}
        known = session.execute(insert(Volume).values(values).returning(col(Volume.id))).scalar_one()
    number: int = known
    return number


def sample(session: Session, root: str, key: VolumeKey) -> list[tuple[int, list[KnownFile]]]:
    """Of each other volume that was ever mounted where this one is: its number, and some files known to lie on it."""
    here = (col(Volume.root) == root) & (col(Volume.path) == key.path)
    others = sqlalchemy.select(table_of(Volume).c.id).where(here, col(Volume.filesystem) != key.filesystem)
    return [(other, _files_on(session, root, other)) for other in session.scalars(others).all()]


def _files_on(session: Session, root: str, volume: int) -> list[KnownFile]:
    these = (col(Location.root) == root, col(Location.volume_id) == volume, col(Location.missing_since).is_(None))
    count = sqlalchemy.select(sqlalchemy.func.count(), sqlalchemy.func.min(col(Location.id))).where(*these)
    known, first = session.execute(count).one()
    # From all over it: neighbours may share a folder that was moved away.
    scattered = (col(Location.id) - (first or 0)) % max(1, known // _SAMPLE) == 0
    statement = (
        sqlalchemy.select(col(Location.path), col(Location.size_bytes), col(Location.mtime_ns))
        .where(*these, scattered)
        .limit(_SAMPLE)
    )
    return [KnownFile(*row) for row in session.execute(statement)]


def is_the_same(files: Sequence[KnownFile], look: Callable[[bytes], tuple[int, int] | None]) -> bool:
    """Whether nearly all of a sample is there, by size and mtime; blocks as `look` does.

    A disk that holds a copy of another one has most of its files.

    Args:
        files: The sample; an empty one is there.
        look: The size and mtime of what lies at a path below the root; None for nothing.
    """
    found = sum(look(file.path) == (file.size_bytes, file.mtime_ns) for file in files)
    return found >= _ENOUGH * len(files)


def recognise_as(session: Session, volume: int, root: str, key: VolumeKey) -> None:
    """A volume is known by this key now; if another one is, they are the same."""
    known = session.execute(sqlalchemy.select(col(Volume.id)).where(*_is(root, key))).scalar()
    if known is None:
        session.execute(update(Volume).where(col(Volume.id) == volume).values(filesystem=key.filesystem))
    else:
        session.execute(update(Location).where(col(Location.volume_id) == volume).values(volume_id=known))
        session.execute(delete(Volume).where(col(Volume.id) == volume))


def present_volumes(session: Session, root: str, keys: Sequence[VolumeKey]) -> dict[VolumeKey, int]:
    """The numbers of the volumes that are mounted now; new ones are made."""
    return {key: volume_id(session, root, key) for key in keys}


def accept(session: Session, root: str, keys: Sequence[VolumeKey]) -> None:
    """Forget where each file of the root lay: it is looked for where it would lie now.

    That concerns what lay on volumes that are not mounted, or on a folder over which another is mounted, and what
    nobody knows the volume of.
    """
    present = present_volumes(session, root, keys)
    # What is mounted within another comes after it.
    for key in sorted(present, key=lambda key: len(key.path)):
        there = (col(Location.root) == root) & col(Location.volume_id).is_distinct_from(present[key])
        if key.path:
            inside = (col(Location.path) >= key.path + b"/") & (col(Location.path) < key.path + b"0")
            there &= (col(Location.path) == key.path) | inside
        session.execute(update(Location).where(there).values(volume_id=present[key]))
    absent = sqlalchemy.select(col(Volume.id)).where(col(Volume.root) == root, col(Volume.id).not_in(present.values()))
    gone = list(session.scalars(absent))
    # What went to another root with its volume; the next scan of that one sees where it lies.
    session.execute(update(Location).where(col(Location.volume_id).in_(gone)).values(volume_id=None))
    session.execute(delete(Volume).where(col(Volume.id).in_(gone)))


def _is(root: str, key: VolumeKey) -> list[sqlalchemy.ColumnElement[bool]]:
    return [
        col(Volume.root) == root,
        col(Volume.path) == key.path,
        col(Volume.filesystem) == key.filesystem,
    ]
