"""What belongs together, as rows: `damd.catalogue.belonging` has the rule, this finds who is concerned.

`relate` runs inside the transaction that recorded a location. Files arrive in any order, so each looks for all that
it may belong to, and whoever comes last finds the others.

What is found is kept: a file that is renamed, moved to another folder (as people part RAW from JPEG) or missing still
is what it was to the other. A relation ends where the bytes at a path are replaced by others, with `unrelate_if_gone`,
and where a sidecar turns out to belong to another file, which came after it, or which it was moved beside.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import bindparam, delete
from sqlmodel import Session, col, select

from damd.catalogue.belonging import INVERSE, SIDECAR, File, Relation, beginnings, pairs
from damd.catalogue.components import ContentIdentifier, Description, RelatedTo, SidecarProperties
from damd.catalogue.dialects import dialect_of, insert_into
from damd.catalogue.duplicates import take_turns
from damd.catalogue.neighbourhood import Neighbourhood
from damd.catalogue.roots import Place, Roots
from damd.catalogue.tables import FileProperties, Location, table_of
from damd.events import readable_path

_MOST_TWINS = 50
_MOST_PLACES = 50
_MOST_ROWS = 500

_locations, _properties, _identifiers, _sidecars, _related = (
    table_of(kind).c for kind in (Location, FileProperties, ContentIdentifier, SidecarProperties, RelatedTo)
)

_PLACES = (
    sqlalchemy.select(_locations.root, _locations.path, _locations.missing_since.is_(None))
    .where(_locations.entity_id == bindparam("asset_id"))
    .limit(_MOST_PLACES)
)
_REPLACED = (
    sqlalchemy.select(_related.other_id)
    .where(
        _related.entity_id == bindparam("asset_id"),
        _related.kind == SIDECAR,
        ~sqlalchemy.exists().where(_locations.entity_id == _related.other_id),
    )
    .limit(_MOST_ROWS)
)
_NAMES = sqlalchemy.select(_sidecars.names).where(_sidecars.entity_id == bindparam("asset_id"))
_TWINS = (
    sqlalchemy.select(_identifiers.entity_id, _properties.family, _properties.mime_type)
    .join(FileProperties, _properties.entity_id == _identifiers.entity_id)
    .where(
        _identifiers.identifier == bindparam("identifier"),
        sqlalchemy.exists().where(_locations.entity_id == _identifiers.entity_id),
    )
    .limit(_MOST_TWINS)
)
_RELATED = sqlalchemy.select(_related.other_id, _related.kind).where(
    _related.entity_id == bindparam("asset_id"), _related.other_id.in_(bindparam("others", expanding=True))
)
_FORMER = (
    sqlalchemy.select(_related.other_id)
    .where(
        _related.entity_id == bindparam("asset_id"),
        _related.kind == INVERSE[SIDECAR],
        _related.other_id.not_in(bindparam("owners", expanding=True)),
    )
    .limit(_MOST_ROWS)
)


def relate(session: Session, asset_id: int, place: Place) -> None:
    """Record what the asset at this place belongs together with; call it after its location was recorded.

    It may be called again at any time. At most some hundred files of one stem are looked at. On PostgreSQL, no other
    process does the same until this transaction has ended: of two files that are recorded at one moment, one sees the
    other.
    """
    take_turns(session)
    hood = Neighbourhood(session, place)
    hood.take(beginnings(hood.name))
    mine = next((file for file in hood.files if file.place == place), None) or hood.one(place)
    if mine is None or mine.asset_id != asset_id:
        return
    if mine.is_sidecar:
        hood.take(beginnings(mine.name, mine.names))
    else:
        hood.take_naming(mine.name)
    if len(hood.files) < 2 and mine.identifier is None:
        return
    sidecars = [mine] if mine.is_sidecar else hood.sidecars_of(mine)
    for sidecar in sidecars:
        hood.take(beginnings(sidecar.name, sidecar.names))
    found = pairs([*hood.files, *_twins(session, mine)])
    concerned = {sidecar.asset_id for sidecar in sidecars}
    wanted = {relation for relation in found if _is_certain(relation, asset_id, concerned)}
    neighbours = {file.asset_id for file in hood.files}
    for sidecar_id in concerned:
        owners = {other for one, _, other in wanted if one == sidecar_id}
        _take_back(session, sidecar_id, owners, neighbours)
    if wanted:
        _insert(session, wanted)
    if mine.is_sidecar:
        for one, kind, _ in wanted:
            if kind == SIDECAR:
                _forget_replaced(session, one)


def _is_certain(relation: Relation, asset_id: int, sidecars: Collection[int]) -> bool:
    """Whether all was looked at that decides it: whose a sidecar is, its other neighbours may decide."""
    one, kind, other = relation
    if kind in {SIDECAR, INVERSE[SIDECAR]}:
        return (other if kind == SIDECAR else one) in sidecars
    return asset_id in {one, other}


def _twins(session: Session, file: File) -> list[File]:
    """All that has the same content identifier, wherever it lies."""
    if file.identifier is None:
        return []
    nowhere = Place("", b"")
    rows = session.execute(_TWINS, {"identifier": file.identifier})
    return [File(asset_id, nowhere, family, mime_type, None, file.identifier) for asset_id, family, mime_type in rows]


def _take_back(session: Session, sidecar_id: int, owners: Collection[int], neighbours: Collection[int]) -> None:
    """A sidecar's relations to those to which it does not belong after all.

    Those are among its neighbours; and, where its one place is beside an owner, all that it was beside before.
    """
    values = {"asset_id": sidecar_id, "owners": list(owners)}
    former = list(session.scalars(_FORMER, values))
    if former and not (owners and len(session.execute(_PLACES, {"asset_id": sidecar_id}).all()) == 1):
        strangers = set(neighbours).difference(owners)
        former = [other for other, kind in _among(session, sidecar_id, strangers) if kind == INVERSE[SIDECAR]]
        _delete(session, sidecar_id, former)
        return
    while former:
        _delete(session, sidecar_id, former)
        former = list(session.scalars(_FORMER, values)) if len(former) == _MOST_ROWS else []


def _among(session: Session, asset_id: int, others: Iterable[int]) -> list[tuple[int, str]]:
    """Those of these others to which this asset has a relation, and which: it may have any number of them."""
    return [
        (other, kind)
        for part in _parts(others)
        for other, kind in session.execute(_RELATED, {"asset_id": asset_id, "others": part})
    ]


def _parts(asset_ids: Iterable[int]) -> Iterator[list[int]]:
    """As many at a time as a statement may have parameters."""
    numbers = sorted(asset_ids)
    for first in range(0, len(numbers), _MOST_ROWS):
        yield numbers[first : first + _MOST_ROWS]


def _forget_replaced(session: Session, owner_id: int) -> None:
    """An asset's sidecars whose every place holds other bytes now: one that was missing is replaced without a word."""
    _delete(session, owner_id, [other for (other,) in session.execute(_REPLACED, {"asset_id": owner_id})])


def _delete(session: Session, asset_id: int, others: Iterable[int]) -> None:
    one, other = col(RelatedTo.entity_id), col(RelatedTo.other_id)
    for part in _parts(others):
        session.execute(delete(RelatedTo).where(one == asset_id, other.in_(part)))
        session.execute(delete(RelatedTo).where(other == asset_id, one.in_(part)))


def _insert(session: Session, relations: Iterable[Relation]) -> None:
    rows = [{"entity_id": one, "kind": kind, "other_id": other} for one, kind, other in sorted(relations)]
    session.execute(_statement(dialect_of(session)), rows)


@functools.cache
def _statement(dialect: str) -> sqlalchemy.Insert:
    return insert_into(dialect, RelatedTo).on_conflict_do_nothing()


def unrelate_if_gone(session: Session, asset_id: int, place: Place) -> None:
    """The bytes of this asset no longer lie at this place, since others do: forget what they belonged to there.

    All of it where the asset has no location left, missing ones counted; else only what is said by none of its
    others. Sidecars that say little are often the same bytes many times.
    """
    take_turns(session)  # before it locks any row, lest two wait for each other
    places = session.execute(_PLACES, {"asset_id": asset_id}).all()
    if not places:
        either = (col(RelatedTo.entity_id) == asset_id) | (col(RelatedTo.other_id) == asset_id)
        session.execute(delete(RelatedTo).where(either))
        return
    names = session.execute(_NAMES, {"asset_id": asset_id}).scalar()
    beside = {file.asset_id for file in _beside(session, place, names)}
    here = {other for other, _ in _among(session, asset_id, beside)}
    for root, path, is_there in places:
        if here and is_there:
            found = pairs(_beside(session, Place(root, path), names))
            here -= {other for one, _, other in found if one == asset_id}
    _delete(session, asset_id, here)


def _beside(session: Session, place: Place, names: str | None) -> Collection[File]:
    """The files in a folder that one there may belong together with; `names` is what that one names."""
    hood = Neighbourhood(session, place)
    hood.take(beginnings(hood.name, names))
    hood.take_naming(hood.name)
    return hood.files


def related(session: Session, asset_ids: Sequence[int], roots: Roots) -> dict[int, list[dict[str, Any]]]:
    """What belongs together with each of these assets, as plain JSON values: sidecars with what they say.

    Args:
        session: A transaction.
        asset_ids: At most a few hundred: they become parameters of one statement.
        roots: To tell paths.

    Returns:
        By asset, in the order of the others' numbers: ``asset_id``, ``kind``, ``path`` of one of its locations (one
        that is not missing, if there is one; None where it has none), and ``description`` for a sidecar that has one.
    """
    statement = (
        sqlalchemy.select(_related.entity_id, _related.other_id, _related.kind)
        .where(_related.entity_id.in_(asset_ids))
        .order_by(_related.entity_id, _related.other_id, _related.kind)
    )
    rows = session.execute(statement).all()
    others = sorted({row.other_id for row in rows})
    paths = _paths(session, others, roots)
    sidecars = [row.other_id for row in rows if row.kind == SIDECAR]
    said = {
        one.entity_id: one.model_dump(mode="json", exclude={"entity_id"})
        for one in session.exec(select(Description).where(col(Description.entity_id).in_(sidecars)))
    }
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for asset_id, other, kind in rows:
        entry = {"asset_id": other, "kind": kind, **paths.get(other, {"path": None})}
        if kind == SIDECAR and other in said:
            entry["description"] = said[other]
        found[asset_id].append(entry)
    return dict(found)


def _paths(session: Session, asset_ids: Sequence[int], roots: Roots) -> dict[int, dict[str, Any]]:
    statement = (
        sqlalchemy.select(_locations.entity_id, _locations.root, _locations.path)
        .where(_locations.entity_id.in_(asset_ids))
        .order_by(_locations.missing_since.is_not(None), _locations.id)
    )
    found: dict[int, dict[str, Any]] = {}
    for asset_id, root, path in session.execute(statement):
        if asset_id not in found:
            text, path_base64 = readable_path(roots.path_of(Place(root, path)))
            found[asset_id] = {"path": text} if path_base64 is None else {"path": text, "path_base64": path_base64}
    return found
