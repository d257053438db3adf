"""Every event that damd publishes.

An event is a fact in the past tense. ``event_type`` is what the outside calls it; ``data()`` is what the
outside is told, in plain JSON values, under a version that changes when the meaning of a field does.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from damd.world import BaseEvent


def _new_event_id() -> str:
    return f"evt_{uuid.uuid4().hex}"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Event(BaseEvent):
    """What all of damd's events have.

    Attributes:
        event_id: Never changes, whatever happens to the deliveries: the receiver's idempotency key.
        occurred_at: When it happened, with its time zone.
    """

    event_type: ClassVar[str]
    version: ClassVar[int] = 1

    event_id: str = field(default_factory=_new_event_id)
    occurred_at: datetime = field(default_factory=_now)

    def data(self) -> dict[str, Any]:
        """The event's own fields as plain JSON values, with the version of their meaning."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _ENVELOPE}
        return {"version": self.version, **own}

    @classmethod
    def from_data(cls, data: dict[str, Any], *, event_id: str, occurred_at: datetime) -> Self:
        """The event that `data` was made from; fields that this version does not know are left out."""
        known = {f.name for f in dataclasses.fields(cls)} - _ENVELOPE
        own = {name: value for name, value in data.items() if name in known}
        return cls(event_id=event_id, occurred_at=occurred_at, **own)


_ENVELOPE = frozenset({"event_id", "occurred_at"})


@dataclass(frozen=True, kw_only=True)
class FileImportedEvent(Event):
    """A file's content became a new asset.

    Attributes:
        path: Readable; where its bytes are no valid text, ``path_base64`` holds them.
        root: The root's name, or None outside every root.
        duration_s: From the first look at the file to the commit.
        near_duplicates: The assets that look like it, nearest first, each ``{"asset_id", "distance"}``: the distance
            is in bits of their perceptual hashes. At most a hundred.
    """

    event_type: ClassVar[str] = "file.imported"

    asset_id: int
    path: str
    path_base64: str | None = None
    root: str | None
    sha256: str
    size_bytes: int
    mime_type: str | None
    family: str | None
    duration_s: float
    near_duplicates: list[dict[str, int]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FileMovedEvent(Event):
    """A file lies elsewhere now, under another name or in another folder or root; its content is what it was.

    Attributes:
        path: Where it lies now; of both paths, ``…_base64`` holds the bytes where they are no valid text.
        previous_path: Where it lay.
        previous_root: The root in which it lay, or None outside every root.
    """

    event_type: ClassVar[str] = "file.moved"

    asset_id: int
    path: str
    path_base64: str | None = None
    root: str | None
    previous_path: str
    previous_path_base64: str | None = None
    previous_root: str | None
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FileChangedEvent(Event):
    """A file's content changed in place: another asset lies at its path now. The former asset remains in the catalogue.

    Attributes:
        asset_id: The asset with the new content.
        previous_asset_id: The asset that lay there before.
    """

    event_type: ClassVar[str] = "file.changed"

    asset_id: int
    sha256: str
    previous_asset_id: int
    previous_sha256: str
    path: str
    path_base64: str | None = None
    root: str | None


@dataclass(frozen=True, kw_only=True)
class FileMissingEvent(Event):
    """A file is no longer where it was, though its root is there. The asset remains in the catalogue."""

    event_type: ClassVar[str] = "file.missing"

    asset_id: int
    sha256: str
    path: str
    path_base64: str | None = None
    root: str | None


EVENTS: dict[str, type[Event]] = {
    event.event_type: event for event in (FileImportedEvent, FileMovedEvent, FileChangedEvent, FileMissingEvent)
}
"""Every event by its public name; a further event is one class above and one word here."""


def known_event_types(names: tuple[str, ...]) -> tuple[str, ...]:
    """A setting's event types, as they are.

    Raises:
        ValueError: damd publishes no such event, so nobody would ever hear of it.
    """
    for name in names:
        if name not in EVENTS:
            raise ValueError(f"damd publishes no event {name!r}; it publishes {', '.join(EVENTS)}")
    return names


def readable_path(path: bytes) -> tuple[str, str | None]:
    """A path for JSON and people: the text, and base64 of the bytes where the text lost something."""
    text = path.decode("utf-8", "replace")
    lost = text.encode("utf-8") != path
    return text, base64.b64encode(path).decode("ascii") if lost else None


def readable(path: bytes | str | os.PathLike[str]) -> str:
    """A path for people, whatever bytes are in it."""
    return readable_path(os.fsencode(path))[0]
