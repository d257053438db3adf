"""The components that several rooms share: what readers find, which asset belongs to which, and previews."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, Text, UniqueConstraint
from sqlmodel import Field

from damd.catalogue.tables import Component, UtcDateTime, now


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
