"""What is told of an asset that was made."""

from __future__ import annotations

import time
from collections.abc import Sequence

from damd.catalogue.duplicates import Neighbour
from damd.catalogue.record import NewAsset, PathOf
from damd.events import Alike, Event, FileImportedEvent, FileNearDuplicateEvent, readable_path


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
