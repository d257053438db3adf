"""What is told of an asset that was made, and how all that was committed is told."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from structlog.contextvars import bound_contextvars

from damd.catalogue.duplicates import Neighbour
from damd.catalogue.record import NewAsset, PathOf
from damd.events import Alike, Event, FileImportedEvent, FileNearDuplicateEvent, readable_path
from damd.stages import told
from damd.world import World


def events_of_import(
    path_of: PathOf, asset: NewAsset, started_at_s: float | None, asset_id: int, alike: Sequence[Neighbour]
) -> list[Event]:
    """That it was imported, and, where it looks like others, that too.

    Args:
        path_of: How its key becomes a path.
        asset: What was recorded.
        started_at_s: When its file was first looked at, in seconds since 1970; None: just now.
        asset_id: Its number.
        alike: The assets that look like it, nearest first.
    """
    now_s = time.time()
    path, path_base64 = readable_path(path_of(asset.finding.place))
    root = asset.finding.place.root or None
    near_duplicates = [Alike(asset_id=each.asset_id, distance=each.distance) for each in alike]
    imported = FileImportedEvent(
        asset_id=asset_id,
        path=path,
        path_base64=path_base64,
        root=root,
        sha256=asset.sha256,
        size_bytes=asset.properties.size_bytes,
        mime_type=asset.properties.mime_type,
        family=asset.properties.family,
        duration_s=round(max(0.0, now_s - (now_s if started_at_s is None else started_at_s)), 3),
        near_duplicates=near_duplicates,
    )
    if not near_duplicates:
        return [imported]
    looks_alike = FileNearDuplicateEvent(
        asset_id=asset_id,
        path=path,
        path_base64=path_base64,
        root=root,
        sha256=asset.sha256,
        near_duplicates=near_duplicates,
    )
    return [imported, looks_alike]


async def tell(world: World, events: Iterable[Event]) -> None:
    """Dispatch what was committed of one file; the log's line of the first event says how long each stage took."""
    summary: dict[str, float] | None = None
    for event in events:
        summary = told() if summary is None else {}
        # Whoever handles it does so in this context, and all that they log says which event it was.
        with bound_contextvars(event_id=event.event_id, **summary):
            await world.dispatch_event(event)
