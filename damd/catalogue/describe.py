"""What the catalogue says of its assets, as plain JSON values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import func
from sqlmodel import Session, col, select

from damd.catalogue.roots import Place, Roots
from damd.catalogue.tables import (
    Component,
    ContentHash,
    Delivery,
    Failure,
    FileProperties,
    Location,
    Preview,
    StoredEvent,
    Table,
    table_of,
)
from damd.events import readable_path

_OWN_PLACE: tuple[type[Component], ...] = (ContentHash, FileProperties, Location, Preview)
"""Components that have a place of their own in a description; every other stands under ``components``."""


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
                str(table.__tablename__): _columns(rows[asset_id]) for table, rows in others.items() if rows[asset_id]
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
    return [
        {
            "failure_id": failure.id,
            **_readable(roots.path_of(Place(failure.root, failure.path))),
            "root": failure.root or None,
            "reason": failure.reason,
            "permanent": failure.permanent,
            "attempts": failure.attempts,
            "first_failed_at": _moment(failure.first_failed_at),
            "last_failed_at": _moment(failure.last_failed_at),
            "next_attempt_at": _moment(failure.next_attempt_at),
        }
        for failure in session.exec(statement)
    ]


def failing_paths(session: Session, roots: Roots) -> list[bytes]:
    """Every path that has failed."""
    rows = session.execute(sqlalchemy.select(col(Failure.root), col(Failure.path)).order_by(col(Failure.id)))
    return [roots.path_of(Place(root, path)) for root, path in rows]


def summary(session: Session) -> dict[str, int]:
    """How much the catalogue holds: assets, locations, failures, and deliveries that are still owed."""
    owed = col(Delivery.delivered_at).is_(None)
    waiting = col(StoredEvent.fanned_out_at).is_(None)
    return {
        "assets": _count(session, ContentHash),
        "locations": _count(session, Location),
        "failures": _count(session, Failure),
        "deliveries_pending": _count(session, Delivery, owed),
        "events_waiting": _count(session, StoredEvent, waiting),
    }


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


def _location(location: Location, roots: Roots) -> dict[str, Any]:
    return {
        **_readable(roots.path_of(Place(location.root, location.path))),
        "root": location.root or None,
        "size_bytes": location.size_bytes,
        "mtime_ns": location.mtime_ns,
        "missing_since": _moment(location.missing_since),
    }


def _readable(path: bytes) -> dict[str, str]:
    text, path_base64 = readable_path(path)
    return {"path": text} if path_base64 is None else {"path": text, "path_base64": path_base64}


def _preview(preview: Preview, folder: Path) -> dict[str, Any]:
    return {"path": str(folder / preview.path), "width": preview.width, "height": preview.height}


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
