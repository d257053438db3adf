"""Every event that damd publishes.

An event is a fact in the past tense. ``event_type`` is what the outside calls it; ``data()`` is what the
outside is told, in plain JSON values, under a version that changes when the meaning of a field does.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, Self

from typing_extensions import TypedDict  # pydantic cannot use typing's before Python 3.12

from damd.world import BaseEvent


def _new_event_id() -> str:
    return f"evt_{uuid.uuid4().hex}"


def _now() -> datetime:
    return datetime.now(UTC)


class Alike(TypedDict):
    """An asset that looks like another one; the distance is in bits of their perceptual hashes."""

    asset_id: int
    distance: int


@dataclass(frozen=True, kw_only=True)
class Event(BaseEvent):
    """What all of damd's events have.

    Attributes:
        event_id: Never changes, whatever happens to the deliveries: the receiver's idempotency key.
        occurred_at: When it happened, with its time zone.
        revision: The catalogue numbers its events: of two about the same file or root, the one with the higher number
            is the newer. None until the event is stored.
    """

    event_type: ClassVar[str]
    version: ClassVar[int] = 1

    event_id: str = field(default_factory=_new_event_id)
    occurred_at: datetime = field(default_factory=_now)
    revision: int | None = None

    def own_data(self) -> dict[str, Any]:
        """The event's own fields as plain JSON values, with the version of their meaning: what is stored."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _ENVELOPE}
        return {"version": self.version, **own}

    def data(self) -> dict[str, Any]:
        """What the outside is told: `own_data` and the revision."""
        own = self.own_data()
        return {"version": own.pop("version", self.version), "revision": self.revision, **own}

    @classmethod
    def from_data(
        cls, data: dict[str, Any], *, event_id: str, occurred_at: datetime, revision: int | None = None
    ) -> Self:
        """The event that `data` was made from; fields that this version does not know are left out."""
        known = {f.name for f in dataclasses.fields(cls)} - _ENVELOPE
        own = {name: value for name, value in data.items() if name in known}
        return cls(event_id=event_id, occurred_at=occurred_at, revision=revision, **own)


_ENVELOPE = frozenset({"event_id", "occurred_at", "revision"})


@dataclass(frozen=True, kw_only=True)
class FileEvent(Event):
    """What all events about a file have.

    Attributes:
        path: Readable; where its bytes are no valid text, ``path_base64`` holds them. So it is with every path.
        root: The root's name, or None outside every root.
    """

    path: str
    path_base64: str | None = None
    root: str | None


@dataclass(frozen=True, kw_only=True)
class AssetEvent(FileEvent):
    """What those about a file in the catalogue have.

    Attributes:
        asset_id: The asset whose content it has.
        sha256: Of that content.
    """

    asset_id: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FileImportedEvent(AssetEvent):
    """A file's content became a new asset.

    Attributes:
        duration_s: From the first look at the file to the commit.
        near_duplicates: The assets that look like it, nearest first; at most a hundred.
    """

    event_type: ClassVar[str] = "file.imported"

    size_bytes: int
    mime_type: str | None
    family: str | None
    duration_s: float
    near_duplicates: list[Alike] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FileDuplicateEvent(AssetEvent):
    """A further file has the content of an asset that is known already: a copy, or a hard link.

    Attributes:
        other_path: Where that content was found first, of the places where it still lies; None if it lies nowhere else.
        other_root: The root of that place.
    """

    event_type: ClassVar[str] = "file.duplicate"

    size_bytes: int
    other_path: str | None
    other_path_base64: str | None = None
    other_root: str | None


@dataclass(frozen=True, kw_only=True)
class FileNearDuplicateEvent(AssetEvent):
    """A new asset looks like others; told beside its ``file.imported``.

    Attributes:
        near_duplicates: The assets that look like it, nearest first; at most a hundred.
    """

    event_type: ClassVar[str] = "file.near_duplicate"

    near_duplicates: list[Alike]


@dataclass(frozen=True, kw_only=True)
class FileChangedEvent(AssetEvent):
    """A file's content changed in place: another asset lies at its path now. The former asset remains in the catalogue.

    Attributes:
        previous_asset_id: The asset that lay there before.
        previous_sha256: Of its content.
    """

    event_type: ClassVar[str] = "file.changed"

    previous_asset_id: int
    previous_sha256: str


@dataclass(frozen=True, kw_only=True)
class FileMovedEvent(AssetEvent):
    """A file lies elsewhere now, under another name or in another folder or root; its content is what it was.

    Attributes:
        previous_path: Where it lay.
        previous_root: The root in which it lay, or None outside every root.
    """

    event_type: ClassVar[str] = "file.moved"

    previous_path: str
    previous_path_base64: str | None = None
    previous_root: str | None


@dataclass(frozen=True, kw_only=True)
class FileMissingEvent(AssetEvent):
    """A file is no longer where it was, though its root is there. The asset remains in the catalogue."""

    event_type: ClassVar[str] = "file.missing"


@dataclass(frozen=True, kw_only=True)
class FileFailedEvent(FileEvent):
    """A file cannot be imported: it failed for good, or three times in a row; each of both is told once.

    Attributes:
        asset_id: The asset that lay at this path before, if one did.
        sha256: Of that asset's content.
        reason: Why, in words for a person.
        permanent: Whether the same bytes would only fail again. Otherwise damd tries again by itself.
        mime_type: Of a file of a type that nobody reads, if that is the reason.
        size_bytes: Of the file.
    """

    event_type: ClassVar[str] = "file.failed"

    asset_id: int | None
    sha256: str | None
    reason: str
    permanent: bool
    mime_type: str | None
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class RootHeldEvent(Event):
    """Nothing in a root is taken for deleted, or not all: it is not there, or too much went missing at once.

    Attributes:
        root: The root's name.
        path: Its folder.
        reason: Why, in words for a person.
        missing_files: How many files are not there; None where the root itself is not.
    """

    event_type: ClassVar[str] = "root.held"

    root: str
    path: str
    path_base64: str | None = None
    reason: str
    missing_files: int | None


EVENTS: dict[str, type[Event]] = {
    event.event_type: event
    for event in (
        FileImportedEvent,
        FileDuplicateEvent,
        FileNearDuplicateEvent,
        FileChangedEvent,
        FileMovedEvent,
        FileMissingEvent,
        FileFailedEvent,
        RootHeldEvent,
    )
}
"""Every event by its public name; a further event is one class above and one word here."""


class Subscription(NamedTuple):
    """What an endpoint asks for: the kind that it is of, and the types of event, or None for all of them."""

    kind: str
    events: tuple[str, ...] | None = None

    def wants(self, event_type: str) -> bool:
        """Whether it asks for this type."""
        return self.events is None or event_type in self.events


def known_event_types(names: tuple[str, ...]) -> tuple[str, ...]:
    """A setting's event types, as they are.

    Raises:
        ValueError: damd publishes no such event, so nobody would ever hear of it.
    """
    for name in names:
        if name not in EVENTS:
            raise ValueError(f"damd publishes no event {name!r}; it publishes {', '.join(EVENTS)}")
    return names


LARGEST_BODY_BYTES = 20_000
"""Standard Webhooks asks for bodies below that."""
_SHORTENED_TO = 500


def body_of(event: Event) -> bytes:
    """The JSON of an event for the outside, less than `LARGEST_BODY_BYTES`: type, timestamp and data.

    Where it would be more, the readable paths are cut, and ``…_base64`` holds the whole: paths of thousands of control
    characters, each of which JSON writes as six. Nothing else in an event of damd's own is as long as that.
    """
    body = _as_json(event, event.data())
    return body if len(body) < LARGEST_BODY_BYTES else _as_json(event, _with_short_paths(event.data()))


def _as_json(event: Event, data: Mapping[str, Any]) -> bytes:
    occurred_at = event.occurred_at.astimezone(UTC).isoformat(timespec="microseconds")
    envelope = {"type": event.event_type, "timestamp": occurred_at.replace("+00:00", "Z"), "data": data}
    # A lone surrogate becomes the escape that JSON has for it.
    return json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _with_short_paths(data: Mapping[str, Any]) -> dict[str, Any]:
    short = dict(data)
    for name, value in data.items():
        if f"{name}_base64" in data and isinstance(value, str) and len(value) > _SHORTENED_TO:
            whole = data[f"{name}_base64"] or base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
            short |= {name: f"{value[:_SHORTENED_TO]}…", f"{name}_base64": whole}
    return short


def json_schema(event_type: type[Event]) -> dict[str, Any]:
    """The JSON Schema of what `body_of` makes of an event of this type."""
    from pydantic import TypeAdapter

    found = TypeAdapter(event_type).json_schema()
    own = {name: field for name, field in found["properties"].items() if name not in _ENVELOPE}
    properties = {"version": {"const": event_type.version}, "revision": {"type": ["integer", "null"]}, **own}
    data = {"type": "object", "properties": properties, "required": list(properties)}
    stamp = {"type": "string", "format": "date-time", "description": "When it happened."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": event_type.event_type,
        "description": (event_type.__doc__ or "").partition("\n")[0],
        "type": "object",
        "properties": {"type": {"const": event_type.event_type}, "timestamp": stamp, "data": data},
        "required": ["type", "timestamp", "data"],
        **({"$defs": found["$defs"]} if "$defs" in found else {}),
    }


def readable_path(path: bytes) -> tuple[str, str | None]:
    """A path for JSON and people: the text, and base64 of the bytes where the text lost something."""
    text = path.decode("utf-8", "replace")
    lost = text.encode("utf-8") != path
    return text, base64.b64encode(path).decode("ascii") if lost else None


def readable(path: bytes | str | os.PathLike[str]) -> str:
    """A path for people, whatever bytes are in it."""
    return readable_path(os.fsencode(path))[0]
