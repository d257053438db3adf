"""Events are numbered, deliveries remember their last attempt, and endpoints are known by their names."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_EVENT = "id, event_type, occurred_at, entity_id, data, fanned_out_at"
_DELIVERY = "id, event_id, subscriber, attempts, next_attempt_at, delivered_at, last_error"
_WAITS = "attempts > 0 AND delivered_at IS NULL"


def upgrade() -> None:
    # SQLite gives a table no other primary key: both are made anew, and what was in them is put back.
    op.execute("CREATE TABLE former_event AS SELECT * FROM event")
    op.execute("CREATE TABLE former_delivery AS SELECT * FROM delivery")
    op.drop_table("delivery")
    op.drop_table("event")
    _make_event()
    _make_delivery()
    _make_endpoint()
    op.execute(f"INSERT INTO event ({_EVENT}) SELECT {_EVENT} FROM former_event ORDER BY occurred_at, id")  # noqa: S608
    op.execute(f"INSERT INTO delivery ({_DELIVERY}) SELECT {_DELIVERY} FROM former_delivery")  # noqa: S608
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SELECT setval(pg_get_serial_sequence('delivery', 'id'), coalesce(max(id), 0) + 1) FROM delivery")
    # What was put off was so in the past: else it would be taken for put off by a clock that has gone back since.
    op.execute(f"UPDATE delivery SET last_attempt_at = '2000-01-01 00:00:00' WHERE {_WAITS}")  # noqa: S608
    # Who was owed anything hears of what is waiting, too; its kind and its types are set right at the next start,
    # before anything is fanned out. So does who is attached first after this: by the row that has no name.
    op.execute(
        "INSERT INTO endpoint (name, kind, added_at, from_revision, failing_s) "
        "SELECT subscriber, 'webhook', min(event.occurred_at), 0, 0 "
        "FROM former_delivery JOIN event ON event.id = event_id GROUP BY subscriber "
        "UNION SELECT '', '', min(occurred_at), 0, 0 FROM event WHERE fanned_out_at IS NULL HAVING count(*) > 0"
    )
    for name in ("event", "delivery"):
        op.drop_table(f"former_{name}")


def _make_event() -> None:
    op.create_table(
        "event",
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("event_type", sa.String(length=64), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entity_id", sa.Integer(), nullable=True),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("fanned_out_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["entity_id"], ["entity.id"], name="fk_event_entity_id_entity", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("revision", name="pk_event"),
        sa.UniqueConstraint("id", name="uq_event_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_event_fanned_out_at", "event", ["fanned_out_at"], unique=False)
    op.create_index("ix_event_occurred_at", "event", ["occurred_at"], unique=False)


def _make_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("subscriber", sa.String(length=64), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_response", sa.Text(), nullable=True),
        sa.Column("until_back", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["event.id"], name="fk_delivery_event_id_event", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_delivery"),
        sa.UniqueConstraint("subscriber", "event_id", name="uq_delivery_subscriber_event_id"),
    )
    op.create_index("ix_delivery_event_id", "delivery", ["event_id"], unique=False)
    op.create_index(
        "ix_delivery_subscriber_next_attempt_at", "delivery", ["subscriber", "next_attempt_at"], unique=False
    )
    op.create_index(
        "ix_delivery_subscriber_attempts_next_attempt_at",
        "delivery",
        ["subscriber", "attempts", "next_attempt_at"],
        unique=False,
    )


def _make_endpoint() -> None:
    op.create_table(
        "endpoint",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("events", sa.JSON(), nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_revision", sa.Integer(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_because", sa.Text(), nullable=True),
        sa.Column("enabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_s", sa.Float(), nullable=False),
        sa.Column("last_failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_endpoint"),
    )
