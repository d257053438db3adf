"""Which assets lie in several places, and which look alike: hashes to compare, pairs that were found, groups.

Who looks like whom `damd.similarity` decides; here is what it asks of the database, and what becomes of its answer.
"""

from __future__ import annotations

import functools
import operator
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import bindparam, delete, func, insert
from sqlmodel import Session

from damd.catalogue.components import NearDuplicate, PerceptualHash, Preview, RelatedTo
from damd.catalogue.roots import Place, Roots
from damd.catalogue.tables import ContentHash, FileProperties, Location, Table, table_of
from damd.events import readable_path

MOST_NEIGHBOURS = 100
"""Of one asset, the nearest."""

DIGITS = 16
"""Hexadecimal digits of one hash."""

CROPS = 9
"""How many crops of a picture are hashed besides it."""

_COMMITS_BEHIND = 256
"""How many numbers below the highest a row may still appear, where several processes write at once."""

_TURN = 0x64616D64_73696D
"""The key of PostgreSQL's advisory lock that stands for finding neighbours; any number that is only ours."""


class Neighbour(NamedTuple):
    """Another asset that looks like one, `distance` bits apart."""

    asset_id: int
    distance: int


class HashPage(NamedTuple):
    """Some assets and their hashes as two texts, which a database makes of a million rows in no time.

    `asset_ids` has commas between; `digits` has nothing, and each asset's are as long as they are, which should be 160.
    """

    asset_ids: str
    digits: str


class Pair(NamedTuple):
    """Two assets that look alike; `number` is that of the row."""

    number: int
    one: int
    other: int
    distance: int


_hashes, _locations, _pairs, _related = (
    table_of(kind).c for kind in (PerceptualHash, Location, NearDuplicate, RelatedTo)
)
_contents, _properties, _previews = (table_of(kind).c for kind in (ContentHash, FileProperties, Preview))
# A picture that is too plain for its hash to mean anything has no neighbours.
_COMPARED = (_hashes.crops.is_(None) | (_hashes.crops != "")) & (func.length(_hashes.phash) == DIGITS)
# Where there are no crops, the own hash stands for each of them.
_DIGITS_OF = _hashes.phash + func.coalesce(_hashes.crops, functools.reduce(operator.add, [_hashes.phash] * CROPS))
_AFTER = (
    sqlalchemy.select(_hashes.entity_id, _DIGITS_OF.label("digits"))
    .where(_hashes.entity_id > bindparam("after"), _COMPARED)
    .order_by(_hashes.entity_id)
)
_SOME = _AFTER.limit(bindparam("limit")).subquery()
_PAGE = sqlalchemy.select(
    func.aggregate_strings(sqlalchemy.cast(_SOME.c.entity_id, sqlalchemy.String), ","),
    func.aggregate_strings(_SOME.c.digits, ""),
)
_COUNT = sqlalchemy.select(func.count()).where(
    _hashes.entity_id > bindparam("after"), _hashes.entity_id <= bindparam("until")
)


def _lies_somewhere(asset_id: sqlalchemy.ColumnElement[int]) -> sqlalchemy.ColumnElement[bool]:
    """Whether there is a place of this asset that is not missing; on a disk that is away nothing counts as missing."""
    return sqlalchemy.exists().where(_locations.entity_id == asset_id, _locations.missing_since.is_(None))


_OF = sqlalchemy.select(_hashes.entity_id, _DIGITS_OF).where(
    _hashes.entity_id.in_(bindparam("asset_ids", expanding=True)), _COMPARED, _lies_somewhere(_hashes.entity_id)
)


def hash_page(session: Session, after: int, limit: int) -> HashPage | None:
    """The next assets' hashes after this number, those that are compared; None: there are no more."""
    asset_ids, digits = session.execute(_PAGE, {"after": after, "limit": limit}).one()
    return HashPage(asset_ids, digits) if asset_ids else None


def hashes_after(session: Session, after: int, until: int | None = None) -> list[tuple[int, str]]:
    """Every asset after this number and its hashes' digits, if it is compared; meant for a few."""
    statement = _AFTER if until is None else _AFTER.where(_hashes.entity_id <= until)
    return [(asset_id, digits) for asset_id, digits in session.execute(statement, {"after": after}).all()]


def hashes_of(session: Session, asset_ids: Collection[int]) -> list[tuple[int, str]]:
    """The digits of these assets' hashes, as far as they are compared and lie somewhere; at most a few thousand.

    What is away with its disk lies somewhere; what was deleted, or took on other bytes in its place, lies nowhere.
    """
    rows = session.execute(_OF, {"asset_ids": list(asset_ids)}).all()  # at once, which is quicker than one by one
    return [(asset_id, digits) for asset_id, digits in rows]


def count_hashes(session: Session, after: int, until: int) -> int:
    """How many assets of these numbers have hashes, whether they are compared or not."""
    count: int = session.execute(_COUNT, {"after": after, "until": until}).scalar_one()
    return count


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
        again: Whether they take the place of what was recorded before, on either asset. Pairs that nobody looked at
            stay where the hashes of today say the same or better: with what lies nowhere now and may come back,
            and with whatever comes after the nearest hundred.
    """
    neighbours = list(neighbours)
    if again:
        _forget_pairs(session, asset_id, neighbours)
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


def _forget_pairs(session: Session, asset_id: int, neighbours: Sequence[Neighbour]) -> None:
    """Delete the asset's pairs but those that `neighbours` says nothing of and that are right still."""
    digits = session.execute(sqlalchemy.select(_DIGITS_OF).where(_hashes.entity_id == asset_id, _COMPARED)).scalar()
    taken = {each.asset_id for each in neighbours}
    farthest = max((each.distance for each in neighbours), default=0)
    is_complete = len(neighbours) < MOST_NEIGHBOURS
    gone = []
    for mine, other in ((_pairs.entity_id, _pairs.other_id), (_pairs.other_id, _pairs.entity_id)):
        statement = (
            sqlalchemy.select(_pairs.id, other, _pairs.distance, _DIGITS_OF, _lies_somewhere(other))
            .outerjoin(PerceptualHash, (_hashes.entity_id == other) & _COMPARED)
            .where(mine == asset_id)
        )
        for number, other_id, distance, others, lies in session.execute(statement).all():
            was_looked_at = other_id in taken or (is_complete and lies)
            if was_looked_at or _bits_apart(digits, others) > max(distance, farthest):
                gone.append(number)
    if gone:
        session.execute(
            delete(table_of(NearDuplicate)).where(_pairs.id == bindparam("number")), [{"number": each} for each in gone]
        )


def _bits_apart(one: str | None, other: str | None) -> int:
    """The fewest bits between a picture's own hash and those of the other, either way; all where one has none."""
    mine, others = _numbers(one), _numbers(other)
    either_way = [(mine[:1], others), (others[:1], mine)]
    return min(((own ^ each).bit_count() for owns, them in either_way for own in owns for each in them), default=64)


def _numbers(digits: str | None) -> list[int]:
    try:
        return [int((digits or "")[at : at + DIGITS], 16) for at in range(0, len(digits or ""), DIGITS)]
    except ValueError:
        return []


def pairs_after(session: Session, after: int, *, distance: int | None = None, limit: int = 10_000) -> list[Pair]:
    """The next pairs after this row, of assets that both still lie somewhere; no more than `distance` bits apart.

    What belongs together anyway is left out, a RAW file and its JPEG, a Live Photo's still and film: neither is one
    too many.
    """
    together = sqlalchemy.exists().where(
        _related.entity_id == _pairs.entity_id, _related.other_id == _pairs.other_id
    )  # of both rows that a pair of parts has, one will do
    statement = (
        sqlalchemy.select(_pairs.id, _pairs.other_id, _pairs.entity_id, _pairs.distance)
        .where(_pairs.id > after, _lies_somewhere(_pairs.other_id), _lies_somewhere(_pairs.entity_id), ~together)
        .order_by(_pairs.id)
        .limit(limit)
    )
    if distance is not None:
        statement = statement.where(_pairs.distance <= distance)
    return [Pair(*row) for row in session.execute(statement)]


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

    What lies nowhere any more is left out.

    Args:
        session: A transaction.
        asset_ids: At most a few hundred.
    """
    found: dict[int, list[dict[str, int]]] = defaultdict(list)
    for mine, other in ((_pairs.entity_id, _pairs.other_id), (_pairs.other_id, _pairs.entity_id)):
        statement = sqlalchemy.select(mine, other, _pairs.distance).where(mine.in_(asset_ids), _lies_somewhere(other))
        for asset_id, other_id, distance in session.execute(statement):
            found[asset_id].append({"asset_id": other_id, "distance": distance})
    nearest = operator.itemgetter("distance", "asset_id")
    return {asset_id: sorted(others, key=nearest) for asset_id, others in found.items()}
