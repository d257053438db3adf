"""What the catalogue says of its assets, as plain JSON values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col, select

from damd.catalogue.components import NearDuplicate, Preview, RelatedTo
from damd.catalogue.duplicates import neighbours_of
from damd.catalogue.related import related
from damd.catalogue.roots import Place, Roots
from damd.catalogue.tables import (
    Component,
    ContentHash,
    Delivery,
    Endpoint,
    Failure,
    FileProperties,
    Location,
    Root,
    StoredEvent,
    Table,
    Volume,
    moment_text,
    table_of,
)
from damd.catalogue.volumes import VolumeKey
from damd.events import readable_path

_MOST_OTHERS = 5
"""Of an asset's other locations, where one of them is described."""

_OWN_PLACE: tuple[type[Component], ...] = (
    ContentHash,
    FileProperties,
    Location,
    Preview,
    RelatedTo,
    NearDuplicate,
)
"""Components that have a place or words of their own in a description; every other stands there as its columns."""


def describe_assets(session: Session, asset_ids: Sequence[int], roots: Roots, previews: Path) -> list[dict[str, Any]]:
    """The assets of these numbers, in their order; a number that is no asset is left out.

    Args:
        session: A transaction.
        asset_ids: At most a few hundred: they become parameters of one statement a table.
        roots: To tell paths.
        previews: The folder of previews.
    """
    statement = (
        select(ContentHash, FileProperties)
        .join(FileProperties, col(FileProperties.entity_id) == ContentHash.entity_id)
        .where(col(ContentHash.entity_id).in_(asset_ids))
    )
    found = {content.entity_id: (content, properties) for content, properties in session.exec(statement)}
    locations = _by_asset(session, Location, asset_ids)
    previews_of = _by_asset(session, Preview, asset_ids)
    others = {table: _by_asset(session, table, asset_ids) for table in _component_tables()}
    relations = {
        "related_to": related(session, asset_ids, roots),
        "near_duplicate": neighbours_of(session, asset_ids),
    }
    return [
        {
            "asset_id": asset_id,
            "sha256": found[asset_id][0].sha256,
            "size_bytes": found[asset_id][1].size_bytes,
            "mime_type": found[asset_id][1].mime_type,
            "family": found[asset_id][1].family,
            "first_name": found[asset_id][1].first_name,
            "locations": [_location(location, roots) for location in locations[asset_id]],
            "previews": [_preview(preview, previews) for preview in previews_of[asset_id]],
            "components": {
                **{
                    str(table.__tablename__): _columns(rows[asset_id])
                    for table, rows in others.items()
                    if rows[asset_id]
                },
                **{name: rows[asset_id] for name, rows in relations.items() if rows.get(asset_id)},
            },
        }
        for asset_id in asset_ids
        if asset_id in found
    ]


def asset_page(session: Session, *, after: int = 0, limit: int = 200, family: str | None = None) -> list[int]:
    """The numbers of the next assets after this one, in their order."""
    statement = select(FileProperties.entity_id).where(col(FileProperties.entity_id) > after)
    if family is not None:
        statement = statement.where(FileProperties.family == family)
    return list(session.exec(statement.order_by(col(FileProperties.entity_id)).limit(limit)))


def assets_at(session: Session, place: Place) -> list[int]:
    """The asset that lies at this path, if there is one."""
    return list(
        session.exec(select(Location.entity_id).where(Location.root == place.root, Location.path == place.path))
    )


def assets_by_hash(session: Session, prefix: str) -> list[int]:
    """The assets whose SHA-256 begins so, in letters of either case; at most ten."""
    begins = col(ContentHash.sha256).startswith(prefix.lower(), autoescape=True)
    statement = select(ContentHash.entity_id).where(begins)
    return list(session.exec(statement.limit(10)))


def failure_page(session: Session, roots: Roots, *, after: int = 0, limit: int = 200) -> list[dict[str, Any]]:
    """The next failures after this number, in their order; each with the number that the next page begins after."""
    statement = select(Failure).where(col(Failure.id) > after).order_by(col(Failure.id)).limit(limit)
    return [_failure(failure, roots) for failure in session.exec(statement)]


def failure_at(session: Session, place: Place, roots: Roots) -> dict[str, Any] | None:
    """The failure that this path ended in last, as `failure_page` tells it; None: it did not fail."""
    statement = select(Failure).where(Failure.root == place.root, Failure.path == place.path)
    failure = session.exec(statement).first()
    return None if failure is None else _failure(failure, roots)


def location_at(session: Session, place: Place, roots: Roots) -> dict[str, Any] | None:
    """What is known of a path that is an asset's location; None: it is none.

    Of the other places where the asset lies, missing ones left out: ``others`` holds the first few in the order in
    which they were found, ``other_count`` says how many there are, and ``duplicate_of`` is the first one if it was
    found before this.
    """
    statement = (
        select(Location, ContentHash.sha256)
        .join(ContentHash, col(ContentHash.entity_id) == Location.entity_id)
        .where(Location.root == place.root, Location.path == place.path)
    )
    found = session.exec(statement).first()
    if found is None:
        return None
    location, sha256 = found
    elsewhere = (
        (col(Location.entity_id) == location.entity_id)
        & (col(Location.id) != location.id)
        & col(Location.missing_since).is_(None)
    )
    others = session.exec(select(Location).where(elsewhere).order_by(col(Location.id)).limit(_MOST_OTHERS)).all()
    paths = [_readable(roots.path_of(Place(other.root, other.path))) for other in others]
    return {
        "asset_id": location.entity_id,
        "sha256": sha256,
        "imported_at": moment_text(location.first_seen_at),
        "missing_since": moment_text(location.missing_since),
        "duplicate_of": paths[0] if others and (others[0].id or 0) < (location.id or 0) else None,
        "others": paths,
        "other_count": _count(session, Location, elsewhere),
    }


def volume_at(session: Session, place: Place) -> VolumeKey | None:
    """The volume on which a location lay when it was last seen; None where that is not known."""
    statement = (
        sqlalchemy.select(col(Volume.path), col(Volume.filesystem))
        .join(Location, col(Location.volume_id) == col(Volume.id))
        .where(col(Location.root) == place.root, col(Location.path) == place.path)
    )
    found = session.execute(statement).first()
    return None if found is None else VolumeKey(*found)


def known_below(session: Session, place: Place) -> dict[str, int]:
    """How much is known below a folder, or in a whole root: locations, those of them that are missing, failures."""
    within = {table: _is_below(table, place) for table in (Location, Failure)}
    gone = col(Location.missing_since).is_not(None)
    return {
        "locations": _count(session, Location, *within[Location]),
        "missing": _count(session, Location, *within[Location], gone),
        "failures": _count(session, Failure, *within[Failure]),
    }


def _is_below(table: type[Location | Failure], place: Place) -> list[sqlalchemy.ColumnElement[bool]]:
    conditions = [col(table.root) == place.root]
    if place.path:
        folder = place.path.rstrip(b"/")
        # 0 comes after the slash.
        conditions += [col(table.path) > folder + b"/", col(table.path) < folder + b"0"]
    return conditions


def root_states(session: Session) -> list[dict[str, Any]]:
    """Every root that the catalogue knows, by name: how many locations, how many of them missing, and whether held."""
    counted = sqlalchemy.select(col(Location.root), func.count(), func.count(col(Location.missing_since)))
    rows = session.execute(counted.group_by(col(Location.root)))
    counts = {root: (locations, missing) for root, locations, missing in rows}
    return [
        {
            "name": root.name,
            **_readable(root.path),
            "locations": counts.get(root.name, (0, 0))[0],
            "missing": counts.get(root.name, (0, 0))[1],
            "held_since": moment_text(root.held_since),
            "held_because": root.held_because,
            "held_missing": root.held_missing,
            "accepted_at": moment_text(root.accepted_at),
        }
        for root in session.exec(select(Root).order_by(col(Root.name)))
    ]


def failing_paths(session: Session, roots: Roots) -> list[bytes]:
    """Every path that has failed."""
    rows = session.execute(sqlalchemy.select(col(Failure.root), col(Failure.path)).order_by(col(Failure.id)))
    return [roots.path_of(Place(root, path)) for root, path in rows]


def summary(session: Session) -> dict[str, int]:
    """How much the catalogue holds: assets, locations, failures, and deliveries that are still owed, or parked."""
    owed = col(Delivery.next_attempt_at).is_not(None)
    left_out = col(Endpoint.disabled_at).is_not(None) | col(Endpoint.removed_at).is_not(None)
    parked = col(Delivery.subscriber).in_(sqlalchemy.select(col(Endpoint.name)).where(left_out))
    return {
        "assets": _count(session, ContentHash),
        "locations": _count(session, Location),
        "failures": _count(session, Failure),
        "deliveries_pending": _count(session, Delivery, owed, ~parked),
        "deliveries_parked": _count(session, Delivery, owed, parked),
        "events_waiting": events_waiting(session),
    }


def events_waiting(session: Session) -> int:
    """How many events no endpoint has been told of yet."""
    return _count(session, StoredEvent, col(StoredEvent.fanned_out_at).is_(None))


def _count(session: Session, table: type[Table], *conditions: sqlalchemy.ColumnElement[bool]) -> int:
    count: int = session.execute(sqlalchemy.select(func.count()).select_from(table).where(*conditions)).scalar_one()
    return count


def _component_tables() -> Iterator[type[Component]]:
    pending = [Component]
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        if getattr(kind, "__tablename__", None) in Table.metadata.tables and kind not in _OWN_PLACE:
            yield kind


def _by_asset(session: Session, table: type[Component], asset_ids: Iterable[int]) -> dict[int, list[Any]]:
    rows: dict[int, list[Any]] = defaultdict(list)
    for row in session.exec(select(table).where(col(table.entity_id).in_(asset_ids))):
        rows[row.entity_id].append(row)
    return rows


def _columns(rows: Sequence[Component]) -> dict[str, Any] | list[dict[str, Any]]:
    """One object for a component of which an asset has at most one, else a list of them."""
    names = [column.name for column in table_of(type(rows[0])).columns if column.name not in {"id", "entity_id"}]
    dumped = [row.model_dump(mode="json") for row in rows]
    described = [{name: values[name] for name in names} for values in dumped]
    has_one_at_most = "id" not in type(rows[0]).model_fields
    return described[0] if has_one_at_most else described


def _failure(failure: Failure, roots: Roots) -> dict[str, Any]:
    return {
        "failure_id": failure.id,
        **_readable(roots.path_of(Place(failure.root, failure.path))),
        "root": failure.root or None,
        "reason": failure.reason,
        "mime_type": failure.mime_type,
        "permanent": failure.permanent,
        "attempts": failure.attempts,
        "first_failed_at": moment_text(failure.first_failed_at),
        "last_failed_at": moment_text(failure.last_failed_at),
        "next_attempt_at": moment_text(failure.next_attempt_at),
    }


def _location(location: Location, roots: Roots) -> dict[str, Any]:
    return {
        **_readable(roots.path_of(Place(location.root, location.path))),
        "root": location.root or None,
        "size_bytes": location.size_bytes,
        "mtime_ns": location.mtime_ns,
        "missing_since": moment_text(location.missing_since),
    }


def _readable(path: bytes) -> dict[str, str]:
    text, path_base64 = readable_path(path)
    return {"path": text} if path_base64 is None else {"path": text, "path_base64": path_base64}


def _preview(preview: Preview, folder: Path) -> dict[str, Any]:
    return {"path": str(folder / preview.path), "width": preview.width, "height": preview.height}
