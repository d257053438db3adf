"""Entity, Component, and the components that several rooms share.

An entity is a number; all that is known of it are its components. Where an entity has at most one
component of a kind, the entity's number is that table's key. Events and deliveries are rows too, but
belong to no room above, so they stand here with the rest.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any, ClassVar

import sqlalchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Index,
    LargeBinary,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel

# Named constraints, so that a migration can name what it changes.
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A moment with its time zone, also where the database knows none."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - its interface
        """To UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - its interface
        """From UTC, or from whatever time zone a server that knows some speaks in."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


class Table(SQLModel):
    """The base of every table of damd's; their metadata is ``Table.metadata``."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMING)


class Entity(Table, table=True):
    """Something that components are attached to; an asset, once it has a `ContentHash`."""

    __tablename__ = "entity"

    id: int | None = Field(default=None, primary_key=True)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class Component(Table):
    """One row of one table, attached to one entity: a single aspect of it.

    Subclass it with ``table=True``; a subclass of which an entity may have several overrides
    ``entity_id`` with an index and has a key of its own. ``entity_id`` may be left out where a row is made
    for an asset that is yet to be recorded.
    """

    entity_id: int = Field(default=None, primary_key=True, foreign_key="entity.id", ondelete="CASCADE")


class ContentHash(Component, table=True):
    """What makes an entity an asset. Unique in the database: one content, one asset."""

    __tablename__ = "content_hash"

    sha256: str = Field(max_length=64, unique=True)


class FileProperties(Component, table=True):
    """What is true of the content whatever its type; `first_name` is the name it first came under."""

    __tablename__ = "file_properties"

    size_bytes: int = Field(sa_type=BigInteger)
    mime_type: str | None = Field(default=None, max_length=255)
    family: str | None = Field(default=None, max_length=64, index=True)
    first_name: str = Field(sa_type=Text)


class SeenPath(Table):
    """A path and the `Signature` that its file had; the columns that locations and failures share.

    `path` is below the root's folder, or absolute where `root` is empty, outside every root.
    """

    root: str = Field(max_length=64)
    path: bytes = Field(sa_type=LargeBinary)
    size_bytes: int = Field(sa_type=BigInteger)
    mtime_ns: int = Field(sa_type=BigInteger)
    ctime_ns: int = Field(sa_type=BigInteger)
    inode: int = Field(sa_type=BigInteger)


class Volume(Table, table=True):
    """A file system as a root met it: mounted at `path` below the root, or, where that is empty, carrying the root.

    `filesystem` is the number that `damd.mounts.Mounts` gives it. What lies on a volume that is not there is
    out of reach, not gone. Device numbers would not do: a reboot may change them.
    """

    __tablename__ = "volume"
    __table_args__ = (UniqueConstraint("root", "path", "filesystem"),)

    id: int | None = Field(default=None, primary_key=True)
    root: str = Field(max_length=64)
    path: bytes = Field(sa_type=LargeBinary)
    filesystem: int = Field(sa_type=BigInteger)


class Location(SeenPath, Component, table=True):
    """One place where an asset's bytes lie.

    Its signature is from before the file was hashed; `born_ns` is when the file was made, where its file system
    knows that. `volume_id` is unknown outside every root, and of what an older damd recorded.
    """

    __tablename__ = "location"
    __table_args__ = (UniqueConstraint("root", "path"), Index(None, "inode"))

    id: int | None = Field(default=None, primary_key=True)
    entity_id: int = Field(foreign_key="entity.id", ondelete="CASCADE", index=True)
    volume_id: int | None = Field(default=None, foreign_key="volume.id")
    born_ns: int | None = Field(default=None, sa_type=BigInteger)
    first_seen_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    missing_since: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Capture(Component, table=True):
    """How and where a picture, or a film, was taken, as the file says it.

    `taken_at` is ISO 8601 in the camera's own time, with its offset where the file says one. `exposure_s`
    is in seconds, `focal_length_mm` in millimetres, `altitude_m` in metres, positions in degrees.
    """

    __tablename__ = "capture"

    taken_at: str | None = Field(default=None, max_length=32, index=True)
    make: str | None = Field(default=None, max_length=255)
    model: str | None = Field(default=None, max_length=255)
    lens: str | None = Field(default=None, max_length=255)
    exposure_s: float | None = None
    aperture: float | None = None
    iso: int | None = Field(default=None, sa_type=BigInteger)
    focal_length_mm: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None


class PerceptualHash(Component, table=True):
    """64 bits that look alike where pictures do, as 16 hexadecimal digits (imagehash's ``phash``).

    `crops` are the hashes of nine slight crops of the picture, one after another, by which cropped copies are
    found; empty where the picture is too plain for its hash to mean anything, None where an older reader took none.
    """

    __tablename__ = "perceptual_hash"

    phash: str = Field(max_length=16)
    crops: str | None = Field(default=None, max_length=144)


class Description(Component, table=True):
    """What people wrote into the file about it.

    `rating` is 0 to 5 stars, or -1 for rejected, as XMP has it; `keywords` is a list of texts.
    """

    __tablename__ = "description"

    title: str | None = Field(default=None, sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    creator: str | None = Field(default=None, sa_type=Text)
    copyright: str | None = Field(default=None, sa_type=Text)
    rating: int | None = None
    keywords: list[str] = Field(default_factory=list, sa_type=JSON)


class ContentIdentifier(Component, table=True):
    """What the still and the film of a Live Photo have in common: Apple's identifier, a UUID."""

    __tablename__ = "content_identifier"

    identifier: str = Field(max_length=64, index=True)


class SidecarProperties(Component, table=True):
    """What kind of sidecar this is: ``xmp``, ``takeout`` for the JSON of Google's export, or ``exiftool``'s JSON.

    `names` is the name of the file that it says it belongs to, where it says one.
    """

    __tablename__ = "sidecar_properties"

    kind: str = Field(max_length=16)
    names: str | None = Field(default=None, max_length=255, index=True)


class RelatedTo(Component, table=True):
    """This asset belongs together with another; `kind` says what the other one is to it.

    Each pair has two rows, one for each of the two: a picture's says ``sidecar`` of the other, and the sidecar's
    ``sidecar_of``.
    """

    __tablename__ = "related_to"
    __table_args__ = (UniqueConstraint("entity_id", "other_id", "kind"),)

    id: int | None = Field(default=None, primary_key=True)
    entity_id: int = Field(default=None, nullable=False, foreign_key="entity.id", ondelete="CASCADE")
    other_id: int = Field(foreign_key="entity.id", ondelete="CASCADE", index=True)
    kind: str = Field(max_length=32)


class NearDuplicate(Component, table=True):
    """An asset that was there before this one and looks like it, `distance` bits apart."""

    __tablename__ = "near_duplicate"
    __table_args__ = (UniqueConstraint("entity_id", "other_id"),)

    id: int | None = Field(default=None, primary_key=True)
    entity_id: int = Field(default=None, nullable=False, foreign_key="entity.id", ondelete="CASCADE")
    other_id: int = Field(foreign_key="entity.id", ondelete="CASCADE", index=True)
    distance: int


class ReaderVersion(Component, table=True):
    """Which reader found this asset's other components, and which version of it; `damd.readers.READERS` has them.

    Of an asset that no family read, it is who refused it: a reader, or, where none reads its type, `damd.filetype`.
    """

    __tablename__ = "reader_version"

    reader: str = Field(max_length=64)
    version: int


class FailedReading(Component, table=True):
    """An asset could not be read again, so that what an older reader found still stands.

    `reader` and `version` are those that should have read it; where it is `permanent`, only newer ones try again.
    """

    __tablename__ = "failed_reading"

    reader: str = Field(max_length=64)
    version: int
    reason: str = Field(sa_type=Text)
    permanent: bool
    failed_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class UnmadePreviews(Component, table=True):
    """The sizes, in pixels, in which the reader that has read this asset made no preview, though it was asked for them.

    `format` is the one that it was asked for. An asset of which there is no preview at all needs no such row.
    """

    __tablename__ = "unmade_previews"

    format: str = Field(max_length=16)
    sizes: list[int] = Field(default_factory=list, sa_type=JSON)


class Preview(Component, table=True):
    """One preview; `path` is below the folder of previews, `size` the longest edge that was asked for, in pixels."""

    __tablename__ = "preview"
    __table_args__ = (UniqueConstraint("entity_id", "size"),)

    id: int | None = Field(default=None, primary_key=True)
    entity_id: int = Field(default=None, nullable=False, foreign_key="entity.id", ondelete="CASCADE")
    size: int
    path: str = Field(max_length=255)
    width: int
    height: int


class Root(Table, table=True):
    """A watched folder by its name, so that a location's path is known without the configuration.

    `claimed_at` is when the catalogue was first told of it. While it is held, nothing in it is taken for
    deleted, and `held_because` says why; `held_missing` is how many files that is about, None where the root is not
    there. `accepted_at` is when a person said that it may pass, and `accepted_missing` how many files still may.
    """

    __tablename__ = "root"

    name: str = Field(primary_key=True, max_length=64)
    path: bytes = Field(sa_type=LargeBinary)
    claimed_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    held_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    held_because: str | None = Field(default=None, sa_type=Text)
    held_missing: int | None = None
    accepted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    accepted_missing: int | None = None


class Failure(SeenPath, table=True):
    """A path that could not be ingested, with the signature under which it was tried.

    `next_attempt_at` is None where the same bytes would only fail again; `mime_type` is that of a file that
    no family read; `reader` and `reader_version` say who found the fault, where a reader did, or `damd.filetype`, where
    nobody reads its type.
    """

    __tablename__ = "failure"
    __table_args__ = (UniqueConstraint("root", "path"),)

    id: int | None = Field(default=None, primary_key=True)
    reason: str = Field(sa_type=Text)
    mime_type: str | None = Field(default=None, max_length=255)
    reader: str | None = Field(default=None, max_length=64)
    reader_version: int | None = None
    permanent: bool
    attempts: int
    first_failed_at: datetime = Field(sa_type=UtcDateTime)
    last_failed_at: datetime = Field(sa_type=UtcDateTime)
    next_attempt_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)


class StoredEvent(Table, table=True):
    """An event as it committed; `data` is JSON. `fanned_out_at` is None until its deliveries exist."""

    __tablename__ = "event"

    id: str = Field(primary_key=True, max_length=64)
    event_type: str = Field(max_length=64)
    occurred_at: datetime = Field(sa_type=UtcDateTime, index=True)
    entity_id: int | None = Field(default=None, foreign_key="entity.id", ondelete="SET NULL")
    data: str = Field(sa_type=Text)
    fanned_out_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)


class Delivery(Table, table=True):
    """One event on its way to one durable subscriber, until `delivered_at` says that it arrived."""

    __tablename__ = "delivery"
    __table_args__ = (UniqueConstraint("subscriber", "event_id"), Index(None, "subscriber", "next_attempt_at"))

    id: int | None = Field(default=None, primary_key=True)
    event_id: str = Field(foreign_key="event.id", ondelete="CASCADE", max_length=64, index=True)
    subscriber: str = Field(max_length=64)
    attempts: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str | None = Field(default=None, sa_type=Text)


@functools.cache
def table_of(kind: type[Table]) -> sqlalchemy.Table:
    """The table behind a class; statements on it skip the object mapper, which costs more than the database."""
    table: sqlalchemy.Table = sqlalchemy.inspect(kind).local_table
    return table


def as_row(table_row: Table) -> dict[str, Any]:
    """A row's columns by name, those the database fills left out."""
    return {name: value for name, value in table_row.model_dump().items() if not (name == "id" and value is None)}
