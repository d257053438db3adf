"""The questions that are asked of the catalogue.

`is_path_imported` and `does_hash_exist` are the guide's, and take the World; the others take a session,
for `Catalogue.read`. The guide asks the same modules for `get_file_type` and `calculate_hash`: they are here
too, so that a program of its kind changes nothing but its imports.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread
import sqlalchemy
from sqlmodel import Session, col, select

from damd.catalogue.roots import Place, Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import (
    ContentHash,
    Failure,
    FileProperties,
    Location,
    Preview,
)
from damd.errors import FileError
from damd.filetype import get_file_type as get_file_type
from damd.fingerprint import Signature, take_signature
from damd.fingerprint import calculate_hash as calculate_hash
from damd.world import World


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


class KnownPath(NamedTuple):
    """What the catalogue knows of a path."""

    location: KnownLocation | None
    failure: KnownFailure | None


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
        return place, take_signature(Path(os.fsdecode(roots.path_of(place))))
    except FileError:
        return place, None


async def does_hash_exist(world: World, file_hash: str) -> bool:
    """Whether an asset with this SHA-256 exists."""
    return await world.get_resource(Catalogue).read(lambda session: find_asset(session, file_hash)) is not None


def find_asset(session: Session, sha256: str) -> int | None:
    """The asset with this content, if there is one."""
    return session.exec(select(ContentHash.entity_id).where(ContentHash.sha256 == sha256)).first()


def find_path(session: Session, place: Place) -> KnownPath:
    """What is known of this path: the asset that lies there, and the failure that it last ended in."""
    statement = (
        select(Location, ContentHash.sha256)
        .join(ContentHash, col(ContentHash.entity_id) == Location.entity_id)
        .where(Location.root == place.root, Location.path == place.path)
    )
    row = session.exec(statement).first()
    failure = session.exec(select(Failure).where(Failure.root == place.root, Failure.path == place.path)).first()
    return KnownPath(_known_location(*row) if row else None, _known_failure(failure) if failure else None)


def _known_location(location: Location, sha256: str) -> KnownLocation:
    return KnownLocation(location.entity_id, sha256, signature_of(location), location.missing_since is not None)


def _known_failure(failure: Failure) -> KnownFailure:
    return KnownFailure(
        signature_of(failure), failure.reason, failure.mime_type, failure.permanent, failure.next_attempt_at
    )


def signature_of(row: Location | Failure) -> Signature:
    """The signature in a row."""
    return Signature(row.size_bytes, row.mtime_ns, row.ctime_ns, row.inode)


def without_the_known(session: Session, root: str, found: Mapping[bytes, Signature]) -> list[bytes]:
    """Which of these paths of a root need to be looked at, in their order.

    Not those whose signature is an asset's location's, or that of a failure that would only be repeated.

    Args:
        session: The transaction.
        root: The root's name.
        found: Neighbours in the order of their paths' bytes, with the signatures that they have now.
    """
    if not found:
        return []
    unknown = dict(found)
    table: type[Failure | Location]
    for table, stands in ((Location, col(Location.missing_since).is_(None)), (Failure, col(Failure.permanent))):
        columns = (col(getattr(table, name)) for name in ("path", *Signature._fields))
        statement = (
            sqlalchemy.select(*columns)
            .where(col(table.root) == root, col(table.path).between(min(found), max(found)), stands)
            .execution_options(yield_per=1000)
        )
        for path, *numbers in session.execute(statement):
            if unknown.get(path) == Signature(*numbers):
                del unknown[path]
    return list(unknown)


def family_and_preview(session: Session, asset_id: int) -> tuple[str | None, str | None]:
    """An asset's family, and the path of its largest preview below the folder of previews."""
    family = session.exec(select(FileProperties.family).where(FileProperties.entity_id == asset_id)).first()
    largest = select(Preview.path).where(Preview.entity_id == asset_id).order_by(col(Preview.size).desc())
    return family, session.exec(largest).first()
