"""Where files lie: volumes, birth times, and roots that are held.

A location's device number goes: it meant nothing after a reboot. Rows of locations are rewritten once.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "volume",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("filesystem", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_volume"),
        sa.UniqueConstraint("root", "path", "filesystem", name="uq_volume_root_path_filesystem"),
    )
    with op.batch_alter_table("location") as location:
        location.drop_column("device")
        location.add_column(sa.Column("volume_id", sa.Integer(), nullable=True))
        location.add_column(sa.Column("born_ns", sa.BigInteger(), nullable=True))
        location.create_foreign_key("fk_location_volume_id_volume", "volume", ["volume_id"], ["id"])
    op.create_index("ix_location_inode", "location", ["inode"], unique=False)
    for column in (
        sa.Column("held_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_because", sa.Text(), nullable=True),
        sa.Column("held_missing", sa.Integer(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_missing", sa.Integer(), nullable=True),
    ):
        op.add_column("root", column)
