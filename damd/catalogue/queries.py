"""The questions that are asked of the catalogue.

`is_path_imported` and `does_hash_exist` are the guide's, and take the World; the others take a session,
for `Catalogue.read`. The guide asks the same modules for `get_file_type` and `calculate_hash`: they are here
too, so that a program of its kind changes nothing but its imports.

What is asked for every file is a statement on plain tables, made once: to make one, and to map its rows to
objects, costs several times what the database takes to answer it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread
import sqlalchemy
from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from damd.catalogue.components import Preview
from damd.catalogue.roots import Place, Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import ContentHash, Failure, FileProperties, Location, Volume, table_of
from damd.catalogue.volumes import VolumeKey
from damd.errors import FileError
from damd.filetype import get_file_type as get_file_type
from damd.fingerprint import Signature, take_signature
from damd.fingerprint import calculate_hash as calculate_hash
from damd.world import World

_MOST_FORMER = 50
"""How many locations are looked at where one may have moved: of one inode, or one content, there are few."""


class KnownLocation(NamedTuple):
    """What the catalogue knows of a path that is an asset's location."""

    asset_id: int
    sha256: str
    signature: Signature
    missing: bool


class KnownFailure(NamedTuple):
    """What the catalogue knows of a path that failed."""

    signature: Signature
    reason: str
    mime_type: str | None
    permanent: bool
    next_attempt_at: datetime | None
    reader: str | None = None
    reader_version: int | None = None


class KnownPath(NamedTuple):
    """What the catalogue knows of a path."""

    location: KnownLocation | None
    failure: KnownFailure | None


class FormerLocation(NamedTuple):
    """A location that may be another path's former one: its row's number, its key, and what is known of its file.

    One that is `missing` is followed only where this is certainly the same file.
    """

    location_id: int
    place: Place
    asset_id: int
    sha256: str
    volume: VolumeKey | None
    born_ns: int | None
    missing: bool = False


async def is_path_imported(world: World, path: str | os.PathLike[str]) -> bool:
    """Whether this path, with the size and mtime that it has now, is already an asset's location.

    A path that cannot be looked at now is judged by its name alone.
    """
    place, signature = await anyio.to_thread.run_sync(_look_at, world.get_resource(Roots), path)
    known = (await world.get_resource(Catalogue).read(lambda session: find_path(session, place))).location
    if known is None or signature is None:
        return known is not None
    return known.signature[:2] == signature[:2]


def _look_at(roots: Roots, path: str | os.PathLike[str]) -> tuple[Place, Signature | None]:
    place = roots.place(path)
    try:
        path = Path(os.fsdecode(roots.path_of(place)))
        return place, take_signature(path, follow_symlinks=roots.follows(place.root))
    except FileError:
        return place, None


async def does_hash_exist(world: World, file_hash: str) -> bool:
    """Whether an asset with this SHA-256 exists."""
    return await world.get_resource(Catalogue).read(lambda session: find_asset(session, file_hash)) is not None


_hashes, _locations, _failures, _volumes = (table_of(kind).c for kind in (ContentHash, Location, Failure, Volume))

_ASSET = sqlalchemy.select(_hashes.entity_id).where(_hashes.sha256 == bindparam("sha256"))


def find_asset(session: Session, sha256: str) -> int | None:
    """The asset with this content, if there is one."""
    found: int | None = session.execute(_ASSET, {"sha256": sha256}).scalar()
    return found


_LOCATION = (
    sqlalchemy.select(
        _locations.entity_id,
        _hashes.sha256,
        _locations.missing_since.is_not(None),
        *(_locations[name] for name in Signature._fields),
    )
    .join(ContentHash, _hashes.entity_id == _locations.entity_id)
    .where(_locations.root == bindparam("root"), _locations.path == bindparam("path"))
)
_FAILURE = sqlalchemy.select(
    *(_failures[name] for name in (*KnownFailure._fields[1:], *Signature._fields)),
).where(_failures.root == bindparam("root"), _failures.path == bindparam("path"))


def find_path(session: Session, place: Place) -> KnownPath:
    """What is known of this path: the asset that lies there, and the failure that it last ended in."""
    key = place._asdict()
    location = session.execute(_LOCATION, key).first()
    failure = session.execute(_FAILURE, key).first()
    return KnownPath(_known_location(*location) if location else None, _known_failure(*failure) if failure else None)


def _known_location(asset_id: int, sha256: str, missing: bool, *signature: int) -> KnownLocation:  # noqa: FBT001 - a column
    return KnownLocation(asset_id, sha256, Signature(*signature), missing)


def _known_failure(
    reason: str,
    mime_type: str | None,
    permanent: bool,  # noqa: FBT001 - a column
    next_attempt_at: datetime | None,
    reader: str | None,
    reader_version: int | None,
    *signature: int,
) -> KnownFailure:
    return KnownFailure(Signature(*signature), reason, mime_type, permanent, next_attempt_at, reader, reader_version)


_FORMER = (
    sqlalchemy.select(
        *(_locations[name] for name in ("id", "root", "path", "entity_id", "born_ns")),
        _hashes.sha256,
        _volumes.path,
        _volumes.filesystem,
        _locations.missing_since.is_not(None),
    )
    .join(ContentHash, _hashes.entity_id == _locations.entity_id)
    .outerjoin(Volume, _volumes.id == _locations.volume_id)
    .where(
        _locations.size_bytes == bindparam("size_bytes"),
        _locations.mtime_ns == bindparam("mtime_ns"),
        (_locations.root != bindparam("root")) | (_locations.path != bindparam("path")),
    )
    .limit(_MOST_FORMER)
)
_FORMER_BY_INODE = _FORMER.where(_locations.inode == bindparam("inode"))
_FORMER_BY_CONTENT = _FORMER.where(_locations.entity_id == bindparam("asset_id"), _locations.missing_since.is_(None))


def former_by_inode(session: Session, place: Place, signature: Signature) -> list[FormerLocation]:
    """Which other locations are known by the inode, size and mtime of the file at this path, missing or not."""
    return _former(session, _FORMER_BY_INODE, place._asdict() | signature._asdict())


def former_by_content(session: Session, asset_id: int, place: Place, signature: Signature) -> list[FormerLocation]:
    """Which other locations of this asset are known by this size and mtime, and not missing.

    None where the path is a location of the asset itself.
    """
    there = find_path(session, place).location
    if there is not None and there.asset_id == asset_id:
        return []
    return _former(session, _FORMER_BY_CONTENT, place._asdict() | signature._asdict() | {"asset_id": asset_id})


def _former(session: Session, statement: sqlalchemy.Select[Any], values: Mapping[str, Any]) -> list[FormerLocation]:
    return [
        FormerLocation(
            location_id,
            Place(root, path),
            asset_id,
            sha256,
            None if mounted_at is None else VolumeKey(mounted_at, filesystem),
            born_ns,
            missing,
        )
        for location_id, root, path, asset_id, born_ns, sha256, mounted_at, filesystem, missing in session.execute(
            statement, values
        )
    ]


class Before(NamedTuple):
    """What was known of a path before something is recorded there.

    That is the number of its volume, the asset that lies there and is not missing, and the number of its failure.
    """

    volume_id: int | None
    asset_id: int | None
    sha256: str | None
    failure_id: int | None


_LIES_THERE = (
    (_locations.root == bindparam("root")) & (_locations.path == bindparam("path")) & _locations.missing_since.is_(None)
)
# In one statement, since it is asked for every file on the one thread that writes.
_BEFORE = sqlalchemy.select(
    sqlalchemy.select(_volumes.id)
    .where(
        _volumes.root == bindparam("root"),
        _volumes.path == bindparam("mounted_at"),
        _volumes.filesystem == bindparam("filesystem"),
    )
    .scalar_subquery(),
    sqlalchemy.select(_locations.entity_id).where(_LIES_THERE).scalar_subquery(),
    sqlalchemy.select(_hashes.sha256)
    .join(Location, _locations.entity_id == _hashes.entity_id)
    .where(_LIES_THERE)
    .scalar_subquery(),
    sqlalchemy.select(_failures.id)
    .where(_failures.root == bindparam("root"), _failures.path == bindparam("path"))
    .scalar_subquery(),
)


def what_lies_at(session: Session, place: Place, volume: VolumeKey | None) -> Before:
    """What is known of a path, and of the volume on which it lies now."""
    mounted_at, filesystem = volume or (b"", 0)
    values = {"mounted_at": mounted_at, "filesystem": filesystem}
    return Before(*session.execute(_BEFORE, place._asdict() | values).one())


def family_and_preview(session: Session, asset_id: int) -> tuple[str | None, str | None]:
    """An asset's family, and the path of its largest preview below the folder of previews."""
    family = session.exec(select(FileProperties.family).where(FileProperties.entity_id == asset_id)).first()
    largest = select(Preview.path).where(Preview.entity_id == asset_id).order_by(col(Preview.size).desc())
    return family, session.exec(largest).first()
