"""Which assets lie in several places, and which look alike: hashes to compare, pairs that were found, groups.

Who looks like whom `damd.similarity` decides; here is what it asks of the database, and what becomes of its answer.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import bindparam, delete, func, insert
from sqlmodel import Session

from damd.catalogue.roots import Place, Roots
from damd.catalogue.tables import (
    ContentHash,
    FileProperties,
    Location,
    NearDuplicate,
    PerceptualHash,
    Preview,
    Table,
    table_of,
)
from damd.events import readable_path

_COMMITS_BEHIND = 256
"""How many numbers below the highest a row may still appear, where several processes write at once."""

_TURN = 0x64616D64_73696D
"""The key of PostgreSQL's advisory lock that stands for finding neighbours; any number that is only ours."""


class Neighbour(NamedTuple):
    """Another asset that looks like one, `distance` bits apart."""

    asset_id: int
    distance: int


class Hashes(NamedTuple):
    """The columns of a `PerceptualHash`."""

    phash: str
    crops: str | None


class HashPage(NamedTuple):
    """Some assets and their hashes as two texts, which a database makes of a million rows in no time.

    `asset_ids` has commas between; `phashes` has nothing, and each is as long as it is, which should be 16 digits.
    """

    asset_ids: str
    phashes: str


class Pair(NamedTuple):
    """Two assets that look alike; `number` is that of the row."""

    number: int
    one: int
    other: int
    distance: int


_hashes, _locations, _pairs = (table_of(kind).c for kind in (PerceptualHash, Location, NearDuplicate))
_contents, _properties, _previews = (table_of(kind).c for kind in (ContentHash, FileProperties, Preview))
# A picture that is too plain for its hash to mean anything has no neighbours.
_COMPARED = (_hashes.crops.is_(None) | (_hashes.crops != "")) & (func.length(_hashes.phash) == 16)
_AFTER = (
    sqlalchemy.select(_hashes.entity_id, _hashes.phash)
    .where(_hashes.entity_id > bindparam("after"), _COMPARED)
    .order_by(_hashes.entity_id)
)
_SOME = _AFTER.limit(bindparam("limit")).subquery()
_PAGE = sqlalchemy.select(
    func.aggregate_strings(sqlalchemy.cast(_SOME.c.entity_id, sqlalchemy.String), ","),
    func.aggregate_strings(_SOME.c.phash, ""),
)
_OF = sqlalchemy.select(_hashes.entity_id, _hashes.phash, _hashes.crops).where(
    _hashes.entity_id.in_(bindparam("asset_ids", expanding=True)), _COMPARED
)


def hash_page(session: Session, after: int, limit: int) -> HashPage | None:
    """The next assets' hashes after this number, those that are compared; None: there are no more."""
    asset_ids, phashes = session.execute(_PAGE, {"after": after, "limit": limit}).one()
    return HashPage(asset_ids, phashes) if asset_ids else None


def hashes_after(session: Session, after: int) -> list[tuple[int, str]]:
    """Every asset after this number and its hash, if it is compared; meant for a few."""
    return [(asset_id, phash) for asset_id, phash in session.execute(_AFTER, {"after": after}).all()]


def hashes_of(session: Session, asset_ids: Collection[int]) -> dict[int, Hashes]:
    """The hashes of these assets, as far as they exist and are compared; at most a few thousand."""
    rows = session.execute(_OF, {"asset_ids": list(asset_ids)}).all()  # at once, which is quicker than one by one
    return {asset_id: Hashes(phash, crops) for asset_id, phash, crops in rows}


def settled_below(session: Session, highest: int) -> int:
    """The number up to which no asset will appear any more, when this one is the highest that was seen.

    SQLite has one writer at a time. On PostgreSQL, a number that was given earlier may commit later.
    """
    return highest if _is_sqlite(session) else max(0, highest - _COMMITS_BEHIND)


def take_turns(session: Session) -> None:
    """Wait until no other process looks for neighbours, and let none do so until this transaction has ended.

    Otherwise two that import alike pictures at the same moment would each look before the other one commits.
    """
    if not _is_sqlite(session):
        session.execute(sqlalchemy.select(func.pg_advisory_xact_lock(_TURN)))


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def record_neighbours(session: Session, asset_id: int, neighbours: Iterable[Neighbour], *, again: bool = False) -> None:
    """Record who looks like this asset: a row for each pair, on the asset that came later.

    Args:
        session: The transaction.
        asset_id: The asset.
        neighbours: What `damd.similarity.Similarity.neighbours` returned; the asset itself is none of them.
        again: Whether they take the place of what was recorded before, on either asset.
    """
    if again:
        session.execute(delete(NearDuplicate).where((_pairs.entity_id == asset_id) | (_pairs.other_id == asset_id)))
    rows = [
        {
            "entity_id": max(asset_id, neighbour.asset_id),
            "other_id": min(asset_id, neighbour.asset_id),
            "distance": neighbour.distance,
        }
        for neighbour in neighbours
    ]
    if rows:
        session.execute(insert(table_of(NearDuplicate)), rows)


def pairs_after(session: Session, after: int, *, distance: int | None = None, limit: int = 10_000) -> list[Pair]:
    """The next pairs after this row, of assets that both still lie somewhere; no more than `distance` bits apart."""
    statement = (
        sqlalchemy.select(_pairs.id, _pairs.other_id, _pairs.entity_id, _pairs.distance)
        .where(_pairs.id > after, _lies_somewhere(_pairs.other_id), _lies_somewhere(_pairs.entity_id))
        .order_by(_pairs.id)
        .limit(limit)
    )
    if distance is not None:
        statement = statement.where(_pairs.distance <= distance)
    return [Pair(*row) for row in session.execute(statement)]


def _lies_somewhere(asset_id: sqlalchemy.ColumnElement[int]) -> sqlalchemy.ColumnElement[bool]:
    return sqlalchemy.exists().where(_locations.entity_id == asset_id, _locations.missing_since.is_(None))


def exact_duplicates_after(session: Session, after: int, limit: int = 200) -> list[int]:
    """The next assets after this number that lie in several places, missing ones not counted."""
    statement = (
        sqlalchemy.select(_locations.entity_id)
        .where(_locations.entity_id > after, _locations.missing_since.is_(None))
        .group_by(_locations.entity_id)
        .having(func.count() > 1)
        .order_by(_locations.entity_id)
        .limit(limit)
    )
    return list(session.scalars(statement))


def describe_duplicates(
    session: Session, asset_ids: Sequence[int], roots: Roots, previews: Path
) -> dict[int, dict[str, Any]]:
    """What tells duplicates from one another, by the assets' numbers; one that is no asset is left out.

    `locations` are the paths where an asset lies, missing ones left out; `locations_base64` goes with them where a
    path is no text. `width` and `height` are those of the family's own component, None where there is none.

    Args:
        session: A transaction.
        asset_ids: At most a few hundred.
        roots: To tell paths.
        previews: The folder of previews.
    """
    assets = sqlalchemy.select(_contents.entity_id, _contents.sha256, _properties.size_bytes).join(
        FileProperties, _properties.entity_id == _contents.entity_id
    )
    present = sqlalchemy.select(_locations.entity_id, _locations.root, _locations.path).where(
        _locations.missing_since.is_(None)
    )
    made = sqlalchemy.select(_previews.entity_id, _previews.path)
    paths, files = defaultdict(list), defaultdict(list)
    for asset_id, root, path in session.execute(
        present.where(_locations.entity_id.in_(asset_ids)).order_by(_locations.id)
    ):
        paths[asset_id].append(readable_path(roots.path_of(Place(root, path))))
    for asset_id, path in session.execute(made.where(_previews.entity_id.in_(asset_ids)).order_by(_previews.size)):
        files[asset_id].append(str(previews / path))
    sizes = _dimensions(session, asset_ids)
    return {
        asset_id: {
            "sha256": sha256,
            "size_bytes": size_bytes,
            **dict(zip(("width", "height"), sizes.get(asset_id, (None, None)), strict=True)),
            **_told(paths[asset_id]),
            "previews": files[asset_id],
        }
        for asset_id, sha256, size_bytes in session.execute(assets.where(_contents.entity_id.in_(asset_ids)))
    }


def _dimensions(session: Session, asset_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Each asset's width and height, from whichever family's component has them."""
    found: dict[int, tuple[int, int]] = {}
    for table in Table.metadata.sorted_tables:
        columns = table.columns
        if {"entity_id", "width", "height"} <= set(columns.keys()) and "id" not in columns:
            statement = sqlalchemy.select(columns["entity_id"], columns["width"], columns["height"])
            rows = session.execute(statement.where(columns["entity_id"].in_(asset_ids)))
            found |= {asset_id: (width, height) for asset_id, width, height in rows}
    return found


def _told(paths: Sequence[tuple[str, str | None]]) -> dict[str, list[Any]]:
    told: dict[str, list[Any]] = {"locations": [text for text, _ in paths]}
    if any(path_base64 for _, path_base64 in paths):
        told["locations_base64"] = [path_base64 for _, path_base64 in paths]
    return told


def neighbours_of(session: Session, asset_ids: Sequence[int]) -> dict[int, list[dict[str, int]]]:
    """What looks like these assets, whichever of the two came first: ``asset_id`` and ``distance``, nearest first.

    Args:
        session: A transaction.
        asset_ids: At most a few hundred.
    """
    found: dict[int, list[dict[str, int]]] = defaultdict(list)
    for mine, other in ((_pairs.entity_id, _pairs.other_id), (_pairs.other_id, _pairs.entity_id)):
        statement = sqlalchemy.select(mine, other, _pairs.distance).where(mine.in_(asset_ids))
        for asset_id, other_id, distance in session.execute(statement):
            found[asset_id].append({"asset_id": other_id, "distance": distance})
    nearest = operator.itemgetter("distance", "asset_id")
    return {asset_id: sorted(others, key=nearest) for asset_id, others in found.items()}
