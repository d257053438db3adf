"""Which assets would be read otherwise today than they were, and the recording of a second reading.

Nothing is queued anywhere: what was done shows in the rows, so that a run which was interrupted goes on where it was.
So does what was tried in vain: an asset that today's reader could not read, or for which it made no preview, or none of
some size, is not read again for that until a newer reader does it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import delete, insert, update
from sqlmodel import Session, col

from damd import filetype
from damd.catalogue.components import FailedReading, Preview, ReaderVersion, UnmadePreviews
from damd.catalogue.duplicates import record_neighbours
from damd.catalogue.record import FindAlike
from damd.catalogue.related import relate
from damd.catalogue.roots import Place
from damd.catalogue.tables import Component, ContentHash, Failure, FileProperties, Location, as_row, now, table_of
from damd.errors import UnsupportedTypeError
from damd.fingerprint import Signature

_MOST_LOCATIONS = 50
"""Of one asset, how many are looked at for a file that is still there."""


class Reader(NamedTuple):
    """A reader's name and version: the one that has read an asset, or would today."""

    name: str
    version: int


FILETYPE = Reader(filetype.READER, filetype.VERSION)
"""Who has looked at what nobody reads: its type alone decided."""


class Today(NamedTuple):
    """What is read today, by MIME type, and which previews are wanted: their longest edges, format and folder."""

    readers: Mapping[str, Reader]
    sizes: Collection[int]
    format: str
    folder: Path
    filetype: Reader = FILETYPE

    def reader_of(self, mime_type: str | None, family: str | None) -> Reader | None:
        """Who would read an asset of this type and family, or look at its type; None: it is left as it is."""
        reader = self.readers.get(mime_type or "")
        return self.filetype if reader is None and family is None else reader


class Outdated(NamedTuple):
    """An asset that is to be read again, and why."""

    asset_id: int
    why: str


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


_properties, _versions, _locations, _failed, _unmade = (
    table_of(kind).c for kind in (FileProperties, ReaderVersion, Location, FailedReading, UnmadePreviews)
)
_IS_PRESENT = sqlalchemy.exists().where(
    _locations.entity_id == _properties.entity_id, _locations.missing_since.is_(None)
)
_PAGE = (
    sqlalchemy.select(
        *(_properties[name] for name in ("entity_id", "mime_type", "family")),
        *(_versions[name] for name in ("reader", "version")),
        *(_failed[name] for name in ("reader", "version", "permanent")),
        *(_unmade[name] for name in ("format", "sizes")),
    )
    .outerjoin(ReaderVersion, _versions.entity_id == _properties.entity_id)
    .outerjoin(FailedReading, _failed.entity_id == _properties.entity_id)
    .outerjoin(UnmadePreviews, _unmade.entity_id == _properties.entity_id)
    .where(_IS_PRESENT)
    .order_by(_properties.entity_id)
)


def outdated_page(
    session: Session, today: Today, *, after: int = 0, limit: int = 500, failed_before: datetime | None = None
) -> tuple[list[Outdated], int]:
    """Of the next assets after this number, those that are outdated; and the last number, 0 where there are no more.

    Looks for the previews' files, and so for as many of them as there are assets. An asset whose files are all missing
    is none of them, nor is one which today's reader could not read, for good.

    Args:
        session: The session.
        today: What is read today.
        after: The number of the last asset that was seen.
        limit: How many are looked at.
        failed_before: Given, only those that could not be read again before this moment; else only those that have not
            been tried.
    """
    tried = _failed.entity_id.is_(None) if failed_before is None else _failed.failed_at < failed_before
    rows = session.execute(_PAGE.where(_properties.entity_id > after, tried).limit(limit)).all()
    previews: dict[int, list[tuple[int, str]]] = defaultdict(list)
    wanted = sqlalchemy.select(col(Preview.entity_id), col(Preview.size), col(Preview.path))
    for asset_id, size, path in session.execute(wanted.where(col(Preview.entity_id).in_([row[0] for row in rows]))):
        previews[asset_id].append((size, path))
    found = []
    for asset_id, mime_type, family, name, version, failed, failed_version, permanent, unmade_format, unmade in rows:
        reader = today.reader_of(mime_type, family)
        if reader is None or (permanent and not is_outdated(Reader(failed, failed_version), reader)):
            continue
        why = _why(mime_type, family, None if name is None else Reader(name, version), reader)
        if why is None and family is not None:
            why = _lack(previews[asset_id], today, unmade if unmade_format == today.format else ())
        if why is not None:
            found.append(Outdated(asset_id, why))
    return found, rows[-1][0] if rows else 0


def _why(mime_type: str | None, family: str | None, last: Reader | None, today: Reader) -> str | None:
    if not is_outdated(last, today):
        return None
    if family is not None:
        was = f"version {last.version} of the reader {last.name}" if last else "an older damd"
        return f"{was} has read it, which now is version {today.version} of {today.name}"
    return "its type may be known today" if today.name == filetype.READER else f"its type is read now ({mime_type})"


def _lack(previews: Collection[tuple[int, str]], today: Today, unmade: Collection[int]) -> str | None:
    """What an asset lacks in previews, if it has some at all; those that its reader did not make are not missed."""
    there = dict(previews)
    if not there:
        return None
    for size in today.sizes:
        path = there.get(size)
        if path is None and size in unmade:
            continue
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
    kinds: set[type[Component]] = {
        *reading.tables,
        *map(type, reading.components),
        ReaderVersion,
        Preview,
        FailedReading,
        UnmadePreviews,
    }
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


def remember_failure(
    session: Session, asset_id: int, reader: Reader, reason: str, *, permanent: bool, at: datetime
) -> None:
    """Note that this reader should have read an asset, and could not; all that is known of it stays."""
    session.execute(delete(FailedReading).where(col(FailedReading.entity_id) == asset_id))
    row = FailedReading(reader=reader.name, version=reader.version, reason=reason, permanent=permanent, failed_at=at)
    values = as_row(row) | {"entity_id": asset_id}
    there = sqlalchemy.select(col(FileProperties.entity_id)).where(col(FileProperties.entity_id) == asset_id)
    if session.execute(there).first() is not None:
        session.execute(insert(table_of(FailedReading)), values)


class FailedFile(NamedTuple):
    """A file that failed, and may not any more; `for_its_type`: no reader has seen it."""

    number: int
    place: Place
    for_its_type: bool


_FOR_ITS_TYPE = col(Failure.reason).startswith(str(UnsupportedTypeError())) & (
    col(Failure.reader).is_(None) | (col(Failure.reader) == filetype.READER)
)


def unsupported_page(
    session: Session,
    roots: Collection[str],
    versions: Mapping[str, int],
    mime_types: Collection[str],
    *,
    filetype_version: int = FILETYPE.version,
    after: int = 0,
    limit: int = 200,
) -> list[FailedFile]:
    """The next files in these roots that failed by a reader older than that of today, or for their type alone.

    Of the latter, those whose type is read now, and those that were judged before more types were told.

    Args:
        session: The session.
        roots: The roots' names.
        versions: The readers of today.
        mime_types: Those that are read today.
        filetype_version: That of `damd.filetype`.
        after: The number of the last failure that was seen.
        limit: How many at most.

    Returns:
        The failures, in the order of their numbers.
    """
    older = [(col(Failure.reader) == name) & (col(Failure.reader_version) < now) for name, now in versions.items()]
    may_be_read = (
        col(Failure.mime_type).in_(mime_types)
        | col(Failure.reader).is_(None)
        | (col(Failure.reader_version) < filetype_version)
    )
    statement = (
        sqlalchemy.select(col(Failure.id), col(Failure.root), col(Failure.path), _FOR_ITS_TYPE)
        .where(
            sqlalchemy.or_(_FOR_ITS_TYPE & may_be_read, *older),
            col(Failure.root).in_(roots),
            col(Failure.id) > after,
        )
        .order_by(col(Failure.id))
        .limit(limit)
    )
    return [
        FailedFile(number, Place(root, path), bool(for_its_type))
        for number, root, path, for_its_type in session.execute(statement)
    ]


def remember_type(session: Session, place: Place, mime_type: str | None) -> None:
    """Note that a file that failed for its type is still of none that is read, as types are told today."""
    statement = update(Failure).where(col(Failure.root) == place.root, col(Failure.path) == place.path, _FOR_ITS_TYPE)
    session.execute(statement.values(mime_type=mime_type, reader=FILETYPE.name, reader_version=FILETYPE.version))


def make_due(session: Session, place: Place) -> None:
    """Let a file that failed be tried again now, and remember the failure until that has been done."""
    statement = update(Failure).where(col(Failure.root) == place.root, col(Failure.path) == place.path)
    session.execute(statement.values(permanent=False, next_attempt_at=now()))
