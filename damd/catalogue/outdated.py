"""Which assets would be read otherwise today than they were, and the recording of a second reading.

Nothing is queued anywhere: what was done shows in the rows, so that a run which was interrupted goes on where it was.
An asset for which its reader made no preview at all is not asked for one again until a newer reader reads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import delete, insert, update
from sqlmodel import Session, col

from damd.catalogue.duplicates import record_neighbours
from damd.catalogue.record import FindAlike
from damd.catalogue.related import relate
from damd.catalogue.roots import Place
from damd.catalogue.tables import (
    Component,
    ContentHash,
    Failure,
    FileProperties,
    Location,
    Preview,
    ReaderVersion,
    as_row,
    now,
    table_of,
)
from damd.errors import UnsupportedTypeError
from damd.fingerprint import Signature

_MOST_LOCATIONS = 50
"""Of one asset, how many are looked at for a file that is still there."""


class Reader(NamedTuple):
    """A reader's name and version: the one that has read an asset, or would today."""

    name: str
    version: int


class Today(NamedTuple):
    """What is read today, by MIME type, and which previews are wanted: their longest edges, format and folder."""

    readers: Mapping[str, Reader]
    sizes: Collection[int]
    format: str
    folder: Path


class Outdated(NamedTuple):
    """An asset that is to be read again, and why.

    Where it is not `certain`, no reader reads the type that it is recorded with: its bytes decide whether another one
    is seen in them today, and whether `last`, which refused it perhaps, is still the newest that would.
    """

    asset_id: int
    why: str
    certain: bool = True
    last: Reader | None = None


class KnownAsset(NamedTuple):
    """What a second reading begins with; `locations` are those that are not missing, at most a few dozen."""

    asset_id: int
    sha256: str
    mime_type: str | None
    family: str | None
    locations: Sequence[tuple[Place, Signature]]


class SecondReading(NamedTuple):
    """What takes the place of an asset's rows in `tables`, of its previews, and of its type and family."""

    tables: Collection[type[Component]]
    components: Sequence[Component]
    mime_type: str | None
    family: str | None


def is_outdated(last: Reader | None, today: Reader) -> bool:
    """Whether what this reader found, or refused, is to be read again by today's; None: nobody knows which it was."""
    return last is None or last.name != today.name or last.version < today.version


_properties, _versions, _locations = (table_of(kind).c for kind in (FileProperties, ReaderVersion, Location))
_PAGE = (
    sqlalchemy.select(
        _properties.entity_id, _properties.mime_type, _properties.family, _versions.reader, _versions.version
    )
    .outerjoin(ReaderVersion, _versions.entity_id == _properties.entity_id)
    .order_by(_properties.entity_id)
)


def outdated_page(session: Session, today: Today, *, after: int = 0, limit: int = 500) -> tuple[list[Outdated], int]:
    """Of the next assets after this number, those that are outdated; and the last number, 0 where there are no more.

    Looks for the previews' files, and so for as many of them as there are assets.
    """
    rows = session.execute(_PAGE.where(_properties.entity_id > after).limit(limit)).all()
    previews: dict[int, list[tuple[int, str]]] = defaultdict(list)
    wanted = sqlalchemy.select(col(Preview.entity_id), col(Preview.size), col(Preview.path))
    for asset_id, size, path in session.execute(wanted.where(col(Preview.entity_id).in_([row[0] for row in rows]))):
        previews[asset_id].append((size, path))
    found = []
    for asset_id, mime_type, family, reader, version in rows:
        last = None if reader is None else Reader(reader, version)
        outdated = _judge(asset_id, mime_type, family, last, today)
        if outdated is None and family is not None and mime_type in today.readers:
            lack = _lack(previews[asset_id], today)
            outdated = Outdated(asset_id, lack) if lack else None
        if outdated is not None:
            found.append(outdated)
    return found, rows[-1][0] if rows else 0


def _judge(
    asset_id: int, mime_type: str | None, family: str | None, last: Reader | None, today: Today
) -> Outdated | None:
    reader = today.readers.get(mime_type or "")
    if reader is None:
        unsure = Outdated(asset_id, "its type may be known today", certain=False, last=last)
        return unsure if family is None else None
    if not is_outdated(last, reader):
        return None
    if family is None:
        return Outdated(asset_id, f"its type is read now ({mime_type})")
    was = f"version {last.version} of the reader {last.name}" if last else "an older damd"
    return Outdated(asset_id, f"{was} has read it, which now is version {reader.version} of {reader.name}")


def _lack(previews: Collection[tuple[int, str]], today: Today) -> str | None:
    """What an asset lacks in previews, if it has some at all."""
    there = dict(previews)
    if not there:
        return None
    for size in today.sizes:
        path = there.get(size)
        if path is None:
            return f"it has no preview of {size} pixels"
        if PurePosixPath(path).suffix != f".{today.format}":
            return f"its preview of {size} pixels is no {today.format}"
        if not (today.folder / path).exists():
            return f"the file of its preview of {size} pixels is gone"
    return None


def known_asset(session: Session, asset_id: int) -> KnownAsset | None:
    """What is known of the asset with this number; None: there is none."""
    statement = (
        sqlalchemy.select(col(ContentHash.sha256), _properties.mime_type, _properties.family)
        .join(FileProperties, _properties.entity_id == ContentHash.entity_id)
        .where(col(ContentHash.entity_id) == asset_id)
    )
    asset = session.execute(statement).first()
    if asset is None:
        return None
    present = (
        sqlalchemy.select(_locations.root, _locations.path, *(_locations[name] for name in Signature._fields))
        .where(_locations.entity_id == asset_id, _locations.missing_since.is_(None))
        .order_by(_locations.id)
        .limit(_MOST_LOCATIONS)
    )
    locations = [(Place(root, path), Signature(*seen)) for root, path, *seen in session.execute(present)]
    sha256, mime_type, family = asset
    return KnownAsset(asset_id, sha256, mime_type, family, locations)


def record_reading(
    session: Session, asset_id: int, reading: SecondReading, find_alike: FindAlike | None = None
) -> list[str] | None:
    """Put what was read now in the place of what an older reader read; components of other tables stay.

    What follows from them, what belongs together and what looks alike, is found anew.

    Args:
        session: The transaction.
        asset_id: The asset.
        reading: What was read.
        find_alike: As in `damd.catalogue.record.record_asset`.

    Returns:
        The paths of previews that nothing names any more, below the folder of previews; None where the asset is gone.
    """
    properties = (
        update(FileProperties)
        .where(col(FileProperties.entity_id) == asset_id)
        .values(mime_type=reading.mime_type, family=reading.family)
        .returning(col(FileProperties.entity_id))
    )
    if session.execute(properties).first() is None:
        return None
    paths = sqlalchemy.select(col(Preview.path)).where(col(Preview.entity_id) == asset_id)
    before = set(session.scalars(paths))
    kinds: set[type[Component]] = {*reading.tables, *map(type, reading.components), ReaderVersion, Preview}
    for kind in kinds:
        session.execute(delete(kind).where(col(kind.entity_id) == asset_id))
    for component in reading.components:
        session.execute(insert(table_of(type(component))), as_row(component) | {"entity_id": asset_id})
    record_neighbours(session, asset_id, find_alike(session, asset_id) if find_alike else [], again=True)
    present = sqlalchemy.select(_locations.root, _locations.path).where(
        _locations.entity_id == asset_id, _locations.missing_since.is_(None)
    )
    for root, path in session.execute(present.limit(_MOST_LOCATIONS)).all():
        relate(session, asset_id, Place(root, path))
    return sorted(before - set(session.scalars(paths)))


def unsupported_page(
    session: Session, roots: Collection[str], versions: Mapping[str, int], *, after: int = 0, limit: int = 200
) -> list[tuple[int, Place]]:
    """The next files in these roots that failed for their type alone, or by a reader older than that of today.

    Args:
        session: The session.
        roots: The roots' names.
        versions: The readers of today.
        after: The number of the last failure that was seen.
        limit: How many at most.

    Returns:
        Each failure's number and key, in this order.
    """
    for_its_type = col(Failure.reason).startswith(str(UnsupportedTypeError())) & col(Failure.reader).is_(None)
    older = [(col(Failure.reader) == name) & (col(Failure.reader_version) < now) for name, now in versions.items()]
    statement = (
        sqlalchemy.select(col(Failure.id), col(Failure.root), col(Failure.path))
        .where(
            sqlalchemy.or_(for_its_type, *older),
            col(Failure.root).in_(roots),
            col(Failure.id) > after,
        )
        .order_by(col(Failure.id))
        .limit(limit)
    )
    return [(number, Place(root, path)) for number, root, path in session.execute(statement)]


def make_due(session: Session, place: Place) -> None:
    """Let a file that failed be tried again now, and remember the failure until that has been done."""
    statement = update(Failure).where(col(Failure.root) == place.root, col(Failure.path) == place.path)
    session.execute(statement.values(permanent=False, next_attempt_at=now()))
