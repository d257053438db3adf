"""Entity, Component, and the tables that everything rests on; `damd.catalogue.components` has the shared components.

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
    """An event as it committed; `data` is JSON. `fanned_out_at` is None until its deliveries exist.

    `revision` is never given twice, nor again after its event was forgotten. Of two events about one location or root
    it tells the newer, since both wrote that row before they were numbered; it is no order of commits.
    """

    __tablename__ = "event"
    __table_args__ = {"sqlite_autoincrement": True}

    revision: int | None = Field(default=None, primary_key=True)
    id: str = Field(unique=True, max_length=64)
    event_type: str = Field(max_length=64)
    occurred_at: datetime = Field(sa_type=UtcDateTime, index=True)
    entity_id: int | None = Field(default=None, foreign_key="entity.id", ondelete="SET NULL")
    data: str = Field(sa_type=Text)
    fanned_out_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)


class Delivery(Table, table=True):
    """One event on its way to one endpoint, until `delivered_at` says that it arrived.

    It is owed while `delivered_at` is None, and parked while its endpoint is disabled or removed. `attempts` counts
    since it was made or asked for again; the rest tells of the last one: its HTTP status and the beginning of
    what was answered, where there was an answer that refused it. `until_back`: that one failed because the endpoint
    was down, which asked for no time of its own, so that the next one is due as soon as it is back.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("subscriber", "event_id"),
        Index(None, "subscriber", "next_attempt_at"),
        Index(None, "subscriber", "attempts", "next_attempt_at"),  # what was never attempted is claimed first
    )

    id: int | None = Field(default=None, primary_key=True)
    event_id: str = Field(foreign_key="event.id", ondelete="CASCADE", max_length=64, index=True)
    subscriber: str = Field(max_length=64)
    attempts: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_attempt_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str | None = Field(default=None, sa_type=Text)
    last_status: int | None = None
    last_response: str | None = Field(default=None, sa_type=Text)
    until_back: bool = Field(default=False, sa_column_kwargs={"server_default": sqlalchemy.false()})


class Endpoint(Table, table=True):
    """A durable subscriber by its name: from when on it hears, and how it fares.

    It is owed the events of the types in `events`, or of all where that is None, whose revision is above
    `from_revision`. `failing_s` is for how long it has failed, with
    nothing but failures since `failing_since`: see `damd.catalogue.endpoints`.
    """

    __tablename__ = "endpoint"

    name: str = Field(primary_key=True, max_length=64)
    kind: str = Field(max_length=32)
    events: list[str] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    added_at: datetime = Field(sa_type=UtcDateTime)
    from_revision: int
    removed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    disabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    disabled_because: str | None = Field(default=None, sa_type=Text)
    enabled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_delivered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failing_since: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failing_s: float = 0.0
    last_failed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    last_error: str | None = Field(default=None, sa_type=Text)


def moment_text(moment: datetime | None) -> str | None:
    """A moment as answers tell it: ISO 8601, in UTC."""
    return None if moment is None else moment.astimezone(UTC).isoformat()


@functools.cache
def table_of(kind: type[Table]) -> sqlalchemy.Table:
    """The table behind a class; statements on it skip the object mapper, which costs more than the database."""
    table: sqlalchemy.Table = sqlalchemy.inspect(kind).local_table
    return table


def as_row(table_row: Table) -> dict[str, Any]:
    """A row's columns by name, those the database fills left out."""
    return {name: value for name, value in table_row.model_dump().items() if not (name == "id" and value is None)}
