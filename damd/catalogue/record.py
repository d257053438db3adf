"""The transaction that makes an asset, and its lesser kin: a further location, a move.

Rows are written in the order of their foreign keys, and the unique hash decides who was first where two
processes bring the same bytes at the same moment. Statements on plain tables instead of mapped objects, and
each that is run for every file made only once: the rest costs several times as much on the one thread that writes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import bindparam, delete, insert, update
from sqlmodel import Session, col

from damd.catalogue.dialects import dialect_of, insert_into
from damd.catalogue.duplicates import Neighbour, record_neighbours
from damd.catalogue.outbox import store_event
from damd.catalogue.queries import Before, FormerLocation, find_asset, what_lies_at
from damd.catalogue.related import relate, unrelate_if_gone
from damd.catalogue.roots import Place
from damd.catalogue.tables import (
    Component,
    ContentHash,
    Entity,
    Failure,
    FileProperties,
    Location,
    as_row,
    now,
    table_of,
)
from damd.catalogue.volumes import VolumeKey, volume_id
from damd.events import Event, FileChangedEvent, FileDuplicateEvent, FileMovedEvent, readable_path
from damd.fingerprint import Signature


class Finding(NamedTuple):
    """A file as it was found: its key, and its signature from before it was hashed.

    `volume` is None outside every root; `born_ns` where the file system knows no birth times.
    """

    place: Place
    signature: Signature
    volume: VolumeKey | None = None
    born_ns: int | None = None


class Properties(NamedTuple):
    """A row of `FileProperties` without its ``entity_id``."""

    size_bytes: int
    first_name: str
    mime_type: str | None = None
    family: str | None = None


class NewAsset(NamedTuple):
    """All that makes an asset but its number: the rows' ``entity_id`` is filled in when it is known."""

    sha256: str
    finding: Finding
    properties: Properties
    components: Sequence[Component]


class Recorded(NamedTuple):
    """The asset with this content, whether it was made just now, and the events that were stored with it."""

    asset_id: int
    is_new: bool
    events: list[Event]


PathOf = Callable[[Place], bytes]
"""How a key becomes the path that events tell: `Roots.path_of`."""


Announce = Callable[[int, Sequence[Neighbour]], Sequence[Event]]
"""The events that an asset with this number was made, and that these look like it."""

FindAlike = Callable[[Session, int], Sequence[Neighbour]]
"""Which other assets look like the one with this number, by what the transaction sees."""


def record_asset(
    session: Session,
    asset: NewAsset,
    announce: Announce | None,
    path_of: PathOf | None = None,
    find_alike: FindAlike | None = None,
) -> Recorded:
    """Make the asset with its components, its location and its event, or add the location where it exists.

    Args:
        session: The transaction.
        asset: What is to be recorded.
        announce: The events of the making of the asset; None to tell nobody.
        path_of: As in `record_location`.
        find_alike: Which assets look like it, asked once its components are there.
    """
    asset_id = _make_entity(session, asset.sha256)
    if asset_id is None:
        existing = find_asset(session, asset.sha256)
        assert existing is not None  # noqa: S101 - its unique hash is what stopped us
        events = record_location(session, existing, asset.finding, path_of, announce_copy=announce is not None)
        return Recorded(existing, is_new=False, events=events)
    session.execute(_insert(FileProperties), asset.properties._asdict() | {"entity_id": asset_id})
    for component in asset.components:
        session.execute(_insert(type(component)), as_row(component) | {"entity_id": asset_id})
    # Before those that look alike are found: what lay here before, and lies nowhere now, is none of them.
    changes = record_location(session, asset_id, asset.finding, path_of)
    alike = find_alike(session, asset_id) if find_alike is not None else []
    record_neighbours(session, asset_id, alike)
    made = announce(asset_id, alike) if announce is not None else []
    told = [store_event(session, event, entity_id=asset_id) for event in made]
    return Recorded(asset_id, is_new=True, events=[*told, *changes])


def _make_entity(session: Session, sha256: str) -> int | None:
    """A new entity with this hash; None if there is one, also where it commits at this very moment."""
    asset_id: int | None = session.execute(_ENTITY, {"at": now(), "content": sha256}).scalar()
    if asset_id is None:
        return None
    content = {"entity_id": asset_id, "sha256": sha256}
    if session.execute(_content_hash(dialect_of(session)), content).first() is not None:
        return asset_id
    session.execute(delete(Entity).where(col(Entity.id) == asset_id))
    return None


@functools.cache
def _insert(kind: type[Component | Entity]) -> sqlalchemy.Insert:
    return insert(table_of(kind))


_entities, _hashes, _failures = (table_of(kind).c for kind in (Entity, ContentHash, Failure))
_IS_KNOWN = sqlalchemy.exists().where(_hashes.sha256 == bindparam("content"))
_ENTITY = (
    _insert(Entity)
    .from_select(["created_at"], sqlalchemy.select(bindparam("at", type_=_entities.created_at.type)).where(~_IS_KNOWN))
    .returning(_entities.id)
)


@functools.cache
def _content_hash(dialect: str) -> sqlalchemy.Insert:
    """Inserts the hash, and returns nothing where somebody else has done so."""
    hashes = table_of(ContentHash)
    return insert_into(dialect, ContentHash).on_conflict_do_nothing().returning(hashes.c.entity_id)


def record_location(
    session: Session,
    asset_id: int,
    finding: Finding,
    path_of: PathOf | None = None,
    *,
    announce_copy: bool = False,
) -> list[Event]:
    """This path now holds this asset's bytes, whatever it held before; a failure of it is forgotten.

    Args:
        session: The transaction.
        asset_id: The asset.
        finding: The file.
        path_of: Given, another asset's bytes that lay there, and were not missing, are told of as changed.
        announce_copy: Whether it is told, too, that the asset has a further file.

    Returns:
        The events that were stored.
    """
    before = what_lies_at(session, finding.place, finding.volume)
    seen = _seen(session, finding, before.volume_id) | {"entity_id": asset_id}
    key = finding.place._asdict()
    statement = upsert(dialect_of(session), Location, tuple(seen))
    session.execute(statement, key | seen | {"first_seen_at": now()})
    if before.failure_id is not None:
        session.execute(FORGET_FAILURE, key)
    _relate(session, before, asset_id, finding.place)
    events = _tell_of_change(session, before, asset_id, finding.place, path_of)
    if announce_copy and path_of is not None and before.asset_id != asset_id:
        events += [_tell_of_copy(session, asset_id, finding, path_of)]
    return events


def record_link(
    session: Session,
    known: FormerLocation,
    finding: Finding,
    path_of: PathOf | None = None,
    *,
    announce_copy: bool = False,
) -> list[Event] | None:
    """The file of this location has this further name.

    Returns:
        The events that were stored; None, and nothing was done, where the location is not what it was.
    """
    # The known name keeps its old ctime, which the link changed: whoever looks at it next hashes it, lest an edit of
    # the same size and mtime hides behind the link.
    if not _stands(session, known):
        return None
    return record_location(session, known.asset_id, finding, path_of, announce_copy=announce_copy)


def record_move(session: Session, former: FormerLocation, finding: Finding, path_of: PathOf) -> list[Event] | None:
    """The file of this location lies elsewhere now; what lay there was overwritten.

    Args:
        session: The transaction.
        former: The location as it was read.
        finding: The file as it lies now.
        path_of: How keys become the paths that events tell.

    Returns:
        The events that were stored; None, and nothing was done, where the location is not what it was.
    """
    if not _stands(session, former):
        return None
    before = what_lies_at(session, finding.place, finding.volume)
    this = col(Location.id) == former.location_id
    session.execute(delete(Location).where(_is(Location, finding.place), ~this))
    values = finding.place._asdict() | _seen(session, finding, before.volume_id)
    session.execute(update(Location).where(this).values(values))
    session.execute(delete(Failure).where(_is(Failure, former.place) | _is(Failure, finding.place)))
    _relate(session, before, former.asset_id, finding.place)
    moved = store_event(session, _moved(former, finding.place, path_of), entity_id=former.asset_id)
    return [moved, *_tell_of_change(session, before, former.asset_id, finding.place, path_of)]


def _relate(session: Session, before: Before, asset_id: int, place: Place) -> None:
    """Find what the asset that lies here now belongs together with, in the stead of what lay here."""
    if before.asset_id not in {None, asset_id}:
        unrelate_if_gone(session, before.asset_id, place)
    relate(session, asset_id, place)


def _stands(session: Session, known: FormerLocation) -> bool:
    statement = sqlalchemy.select(col(Location.id)).where(
        _is(Location, known.place),
        col(Location.id) == known.location_id,
        col(Location.entity_id) == known.asset_id,
    )
    return session.execute(statement).first() is not None


def _seen(session: Session, finding: Finding, known_volume: int | None) -> dict[str, Any]:
    """What a location says of its file."""
    if finding.volume is None:
        known_volume = None
    elif known_volume is None:
        known_volume = volume_id(session, finding.place.root, finding.volume)
    return {
        **finding.signature._asdict(),
        "volume_id": known_volume,
        "born_ns": finding.born_ns,
        "missing_since": None,
    }


def _tell_of_change(
    session: Session, before: Before, asset_id: int, place: Place, path_of: PathOf | None
) -> list[Event]:
    if path_of is None or before.asset_id in {None, asset_id}:
        return []
    now_there = sqlalchemy.select(col(ContentHash.sha256)).where(col(ContentHash.entity_id) == asset_id)
    path, path_base64 = readable_path(path_of(place))
    event = FileChangedEvent(
        asset_id=asset_id,
        sha256=session.execute(now_there).scalar_one(),
        previous_asset_id=before.asset_id or 0,
        previous_sha256=before.sha256 or "",
        path=path,
        path_base64=path_base64,
        root=place.root or None,
    )
    return [store_event(session, event, entity_id=asset_id)]


_locations = table_of(Location).c
_OTHER_FILE = (
    sqlalchemy.select(_locations.root, _locations.path)
    .where(_locations.entity_id == bindparam("asset_id"), _locations.missing_since.is_(None))
    .where((_locations.root != bindparam("root")) | (_locations.path != bindparam("path")))
    .order_by(_locations.id)
    .limit(1)
)


def _tell_of_copy(session: Session, asset_id: int, finding: Finding, path_of: PathOf) -> FileDuplicateEvent:
    content = sqlalchemy.select(col(ContentHash.sha256)).where(col(ContentHash.entity_id) == asset_id)
    other = session.execute(_OTHER_FILE, finding.place._asdict() | {"asset_id": asset_id}).first()
    path, path_base64 = readable_path(path_of(finding.place))
    other_path, other_path_base64 = readable_path(path_of(Place(*other))) if other else (None, None)
    event = FileDuplicateEvent(
        asset_id=asset_id,
        sha256=session.execute(content).scalar_one(),
        path=path,
        path_base64=path_base64,
        root=finding.place.root or None,
        size_bytes=finding.signature.size_bytes,
        other_path=other_path,
        other_path_base64=other_path_base64,
        other_root=(other.root or None) if other else None,
    )
    return store_event(session, event, entity_id=asset_id)


def _moved(former: FormerLocation, place: Place, path_of: PathOf) -> FileMovedEvent:
    path, path_base64 = readable_path(path_of(place))
    previous_path, previous_path_base64 = readable_path(path_of(former.place))
    return FileMovedEvent(
        asset_id=former.asset_id,
        path=path,
        path_base64=path_base64,
        root=place.root or None,
        previous_path=previous_path,
        previous_path_base64=previous_path_base64,
        previous_root=former.place.root or None,
        sha256=former.sha256,
    )


FAILED_THERE = (_failures.root == bindparam("root")) & (_failures.path == bindparam("path"))
FORGET_FAILURE = delete(table_of(Failure)).where(FAILED_THERE)


def _is(table: type[Location | Failure], place: Place) -> sqlalchemy.ColumnElement[bool]:
    return (col(table.root) == place.root) & (col(table.path) == place.path)


@functools.cache
def upsert(dialect: str, kind: type[Location | Failure], overwritten: tuple[str, ...]) -> sqlalchemy.Insert:
    """Inserts the row of a path, or overwrites these columns of the one that is there."""
    statement = insert_into(dialect, kind)
    taken = {name: statement.excluded[name] for name in overwritten}
    return statement.on_conflict_do_update(index_elements=list(Place._fields), set_=taken)
