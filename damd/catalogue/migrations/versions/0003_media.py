"""Families beside images: what they say of a file, what belongs together, and what looks alike."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("failure", sa.Column("reader", sa.String(length=64), nullable=True))
    op.add_column("failure", sa.Column("reader_version", sa.Integer(), nullable=True))
    _component(
        "description",
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("creator", sa.Text(), nullable=True),
        sa.Column("copyright", sa.Text(), nullable=True),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("keywords", sa.JSON(), nullable=False),
    )
    _component("content_identifier", sa.Column("identifier", sa.String(length=64), nullable=False))
    op.create_index("ix_content_identifier_identifier", "content_identifier", ["identifier"], unique=False)
    _component(
        "reader_version",
        sa.Column("reader", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
    )
    _component(
        "failed_reading",
        sa.Column("reader", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("permanent", sa.Boolean(), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
    )
    _component(
        "unmade_previews",
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("sizes", sa.JSON(), nullable=False),
    )
    _several(
        "related_to",
        *_other("related_to"),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.UniqueConstraint("entity_id", "other_id", "kind", name="uq_related_to_entity_id_other_id_kind"),
    )
    op.create_index("ix_related_to_other_id", "related_to", ["other_id"], unique=False)
    _several(
        "near_duplicate",
        *_other("near_duplicate"),
        sa.Column("distance", sa.Integer(), nullable=False),
        sa.UniqueConstraint("entity_id", "other_id", name="uq_near_duplicate_entity_id_other_id"),
    )
    op.create_index("ix_near_duplicate_other_id", "near_duplicate", ["other_id"], unique=False)
    op.add_column("perceptual_hash", sa.Column("crops", sa.String(length=144), nullable=True))
    _component(
        "video_properties",
        sa.Column("container", sa.String(length=64), nullable=False),
        sa.Column("video_codec", sa.String(length=32), nullable=False),
        sa.Column("audio_codec", sa.String(length=32), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("frame_rate", sa.Float(), nullable=True),
        sa.Column("bit_rate", sa.BigInteger(), nullable=True),
    )
    _several(
        "frame_hash",
        sa.Column("at_s", sa.Float(), nullable=False),
        sa.Column("phash", sa.String(length=16), nullable=False),
    )
    op.create_index("ix_frame_hash_entity_id", "frame_hash", ["entity_id"], unique=False)
    _component(
        "audio_properties",
        sa.Column("codec", sa.String(length=32), nullable=False),
        sa.Column("container", sa.String(length=64), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("sample_rate", sa.Integer(), nullable=True),
        sa.Column("channels", sa.Integer(), nullable=True),
        sa.Column("bit_rate", sa.BigInteger(), nullable=True),
    )
    _component(
        "audio_tags",
        *(sa.Column(name, sa.String(length=500), nullable=True) for name in ("title", "artist", "album")),
        sa.Column("track", sa.Integer(), nullable=True),
        sa.Column("year", sa.Integer(), nullable=True),
        sa.Column("genre", sa.String(length=200), nullable=True),
    )
    _component(
        "document_properties",
        sa.Column("encrypted", sa.Boolean(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=True),
        *(sa.Column(name, sa.String(length=500), nullable=True) for name in ("title", "author")),
        sa.Column("created_at", sa.String(length=32), nullable=True),
    )
    _component(
        "sidecar_properties",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("names", sa.String(length=255), nullable=True),
    )
    op.create_index("ix_sidecar_properties_names", "sidecar_properties", ["names"], unique=False)


def _component(name: str, *columns: sa.Column[Any]) -> None:
    """A table of which an entity has at most one row."""
    op.create_table(
        name,
        sa.Column("entity_id", sa.Integer(), nullable=False),
        *columns,
        _entity(name, "entity_id"),
        sa.PrimaryKeyConstraint("entity_id", name=f"pk_{name}"),
    )


def _several(name: str, *columns: sa.Column[Any] | sa.UniqueConstraint | sa.ForeignKeyConstraint) -> None:
    """A table of which an entity may have several rows."""
    op.create_table(
        name,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("entity_id", sa.Integer(), nullable=False),
        *columns,
        _entity(name, "entity_id"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{name}"),
    )


def _other(name: str) -> tuple[sa.Column[Any], sa.ForeignKeyConstraint]:
    return sa.Column("other_id", sa.Integer(), nullable=False), _entity(name, "other_id")


def _entity(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["entity.id"], name=f"fk_{table}_{column}_entity", ondelete="CASCADE")
