"""The schema's version: old catalogues, new ones, foreign ones, and everything that can happen on the way."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, ClassVar

import alembic.op
import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, Session

from damd.catalogue.endpoints import attach, endpoint_states, known_endpoints
from damd.catalogue.engine import WRITES
from damd.catalogue.schema import alembic_config, head_revision, upgrade
from damd.catalogue.tables import Component, Entity, Table, now
from damd.errors import CatalogueError, CatalogueTooNewError
from damd.events import Subscription


@pytest.fixture(scope="module")
def note() -> Iterator[type[Component]]:
    """A plugin's component."""

    class PluginNote(Component, table=True):
        __tablename__: ClassVar[str] = "plugin_note"

        words: str = Field(max_length=80)

    yield PluginNote
    Table.metadata.remove(Table.metadata.tables["plugin_note"])


@pytest.fixture
def empty(empty_url: str, open_engine: Callable[[str], Engine]) -> Engine:
    return open_engine(empty_url)


@pytest.fixture
def engine(empty: Engine) -> Engine:
    """A catalogue whose schema may be changed: nobody else's."""
    upgrade(empty, Table.metadata)
    return empty


def own_tables() -> MetaData:
    """The tables of damd itself, without those that other tests bring."""
    metadata = MetaData(naming_convention=Table.metadata.naming_convention)
    own = {mapper.local_table for mapper in _mappers() if mapper.class_.__module__.startswith("damd.")}
    for table in Table.metadata.sorted_tables:
        if table in own:
            table.to_metadata(metadata)
    return metadata


def _mappers() -> Iterator[Any]:
    pending: list[type[Table]] = [Table]
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        if hasattr(kind, "__table__"):
            yield inspect(kind)


def table_names(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return ScriptDirectory.from_config(alembic_config(connection, Table.metadata)).get_current_head()


def described(engine: Engine) -> dict[str, Any]:
    """Everything that the database says of its tables."""
    inspector = inspect(engine)

    def in_order(rows: Any) -> list[Any]:
        return sorted(rows, key=lambda row: str(row["name"]))

    return {
        name: (
            in_order({**column, "type": str(column["type"])} for column in inspector.get_columns(name)),
            inspector.get_pk_constraint(name),
            in_order(inspector.get_foreign_keys(name)),
            in_order(inspector.get_unique_constraints(name)),
            in_order(inspector.get_indexes(name)),
        )
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }


def test_models_and_migrations_agree(empty: Engine) -> None:
    upgrade(empty, MetaData())  # the migrations alone
    with empty.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, own_tables()) == []


def test_migrations_make_what_the_models_would(empty: Engine) -> None:
    upgrade(empty, MetaData())
    migrated = described(empty)
    with empty.begin() as connection:
        everything = MetaData()
        everything.reflect(connection)
        everything.drop_all(connection)
        own_tables().create_all(connection)
    assert described(empty) == migrated
    assert len(migrated) >= 10


def test_an_empty_database_becomes_a_catalogue(empty: Engine) -> None:
    upgrade(empty, Table.metadata)
    assert {"entity", "content_hash", "location", "event", "delivery", "image_properties"} <= table_names(empty)
    assert revision(empty) == head(empty)


def test_upgrading_twice_is_harmless(empty: Engine) -> None:
    upgrade(empty, Table.metadata)
    with Session(empty) as session:
        session.add(Entity())
        session.commit()
    before = described(empty)
    upgrade(empty, Table.metadata)
    assert described(empty) == before
    with Session(empty) as session:
        assert session.get(Entity, 1) is not None


def test_a_catalogue_of_a_newer_damd_is_refused_and_the_message_says_what_to_do(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = described(engine)
    with pytest.raises(
        CatalogueTooNewError, match=r"newer damd \(schema 9999\).*upgrade damd, or name another --state"
    ):
        upgrade(engine, Table.metadata)
    assert described(engine) == before
    assert revision(engine) == "9999"


def test_a_database_of_another_program_is_refused_and_left_as_it_is(empty: Engine) -> None:
    with empty.begin() as connection:
        connection.execute(text("CREATE TABLE failure (of_what VARCHAR(80))"))
    with pytest.raises(CatalogueError, match="cannot be opened"):
        upgrade(empty, Table.metadata)
    assert table_names(empty) == {"failure"}


def test_a_plugins_table_is_created_beside_ours(empty: Engine, note: type[Component]) -> None:
    upgrade(empty, Table.metadata)
    with empty.begin() as connection:
        key = connection.execute(sqlalchemy.insert(Entity).values(created_at=now())).inserted_primary_key[0]  # type: ignore[index]  # it has one
        connection.execute(sqlalchemy.insert(note).values(entity_id=key, words="kept"))
    upgrade(empty, Table.metadata)
    with empty.connect() as connection:
        assert connection.execute(sqlalchemy.select(note)).one() == (key, "kept")


def test_a_plugins_table_is_created_in_a_catalogue_that_is_up_to_date(engine: Engine, note: type[Component]) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS plugin_note"))
    upgrade(engine, Table.metadata)
    assert "plugin_note" in table_names(engine)


def test_an_upgrade_that_fails_in_the_middle_leaves_nothing_of_itself(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_table = alembic.op.create_table

    def fail_at_the_fifth(name: str, *columns: Any, **options: Any) -> sqlalchemy.Table:
        created.append(name)
        if len(created) == 5:
            raise RuntimeError("power cut")
        return create_table(name, *columns, **options)

    created: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(alembic.op, "create_table", fail_at_the_fifth)
        with pytest.raises(RuntimeError, match="power cut"):
            upgrade(empty, Table.metadata)
    assert table_names(empty) == set()
    upgrade(empty, Table.metadata)
    assert revision(empty) == head(empty)


DYING = """
import os, pathlib, signal, sys
import alembic.op
import damd.media
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.schema import upgrade
from damd.catalogue.tables import Table

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

alembic.op.create_index = die
upgrade(make_engine(CatalogueSettings(url=sys.argv[1]), pathlib.Path()), Table.metadata)
"""


def test_a_kill_in_the_middle_of_an_upgrade_leaves_nothing_of_it(
    empty: Engine, empty_url: str, start_python: Callable[..., Popen[str]]
) -> None:
    assert start_python(DYING, empty_url).wait(20) == -9
    assert table_names(empty) == set()
    upgrade(empty, Table.metadata)
    assert revision(empty) == head(empty)


UPGRADING = """
import pathlib, sys
import damd.media
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.schema import upgrade
from damd.catalogue.tables import Table

for url in sys.stdin:
    engine = make_engine(CatalogueSettings(url=url.strip()), pathlib.Path())
    upgrade(engine, Table.metadata)
    engine.dispose()
    print("upgraded", flush=True)
"""


@pytest.fixture(scope="module")
def upgraders() -> Iterator[list[Popen[str]]]:
    """Two processes that upgrade what they are told, until there is no more."""
    command = [sys.executable, "-W", "error", "-c", UPGRADING]
    with ExitStack() as stack:
        yield [stack.enter_context(Popen(command, stdin=PIPE, stdout=PIPE, text=True)) for _ in range(2)]


def test_two_processes_upgrade_at_once(
    empty_url: str,
    upgraders: list[Popen[str]],
    open_engine: Callable[[str], Engine],
    tmp_path: Path,
) -> None:
    # SQLite's moment of danger is a short one: several files, so that it is met.
    others = [f"sqlite:///{tmp_path / str(number)}" for number in range(8)] if "sqlite" in empty_url else []
    for url in [*others, empty_url]:
        for process in upgraders:
            assert process.stdin
            process.stdin.write(f"{url}\n")
            process.stdin.flush()
        for process in upgraders:
            assert process.stdout
            assert process.stdout.readline() == "upgraded\n"
        assert revision(engine := open_engine(url)) == head(engine)


def test_a_catalogue_that_is_up_to_date_opens_while_another_process_writes(engine: Engine) -> None:
    upgrade(engine, Table.metadata)
    with engine.connect() as connection:
        writer = connection.execution_options(**{WRITES: True})
        with writer.begin():
            writer.exec_driver_sql("DELETE FROM root")
            upgrade(engine, Table.metadata)  # would wait half a minute for the writer, and then fail


def upgrade_to(engine: Engine, version: str) -> None:
    """What an older damd had done."""
    with engine.connect() as connection:
        writer = connection.execution_options(**{WRITES: True})
        with writer.begin():
            command.upgrade(alembic_config(writer, MetaData()), version)


LOCATION = (
    "INSERT INTO location (id, entity_id, root, path, size_bytes, mtime_ns, ctime_ns, inode, device, first_seen_at, "
    "missing_since) VALUES "
)
OLD_ROWS = [
    "INSERT INTO entity (id, created_at) VALUES (1, :at)",
    "INSERT INTO entity (id, created_at) VALUES (2, :at)",
    "INSERT INTO content_hash (entity_id, sha256) VALUES (1, 'one')",
    "INSERT INTO root (name, path, claimed_at) VALUES ('inbox', :path, :at)",
    LOCATION + "(7, 1, 'inbox', :path, 1, 2, 3, -4, 5, :at, :at)",
    LOCATION + "(9, 2, '', :path, 6, 7, 8, 9, 10, :at, NULL)",
]


def fill(engine: Engine, statements: list[str]) -> None:
    values = {"at": "2024-02-29 12:00:00.123456", "path": b"\xff/a"}
    with engine.begin() as connection:
        for statement in statements:
            bound = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), bound)


def rows_of(engine: Engine, table: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        reflected = sqlalchemy.Table(table, MetaData(), autoload_with=connection)
        statement = sqlalchemy.select(reflected).order_by(*reflected.primary_key)
        return [dict(row) for row in connection.execute(statement).mappings()]


def test_a_catalogue_from_before_volumes_keeps_its_rows(empty: Engine) -> None:
    upgrade_to(empty, "0001")
    fill(empty, OLD_ROWS)
    old = {table: rows_of(empty, table) for table in ("entity", "content_hash", "root", "location")}
    upgrade(empty, Table.metadata)
    assert revision(empty) == head(empty)
    for table in ("entity", "content_hash"):
        assert rows_of(empty, table) == old[table]
    new = dict.fromkeys(("held_since", "held_because", "held_missing", "accepted_at", "accepted_missing"))
    assert rows_of(empty, "root") == [row | new for row in old["root"]]
    assert len(old["location"]) == 2
    for row in old["location"]:
        del row["device"]
    assert rows_of(empty, "location") == [row | {"volume_id": None, "born_ns": None} for row in old["location"]]


def test_the_foreign_keys_of_a_migrated_catalogue_hold(empty: Engine) -> None:
    upgrade_to(empty, "0001")
    fill(empty, OLD_ROWS[:5])
    upgrade(empty, Table.metadata)
    for column in ("volume_id", "entity_id"):
        with pytest.raises(IntegrityError), empty.begin() as connection:
            connection.execute(text(f"UPDATE location SET {column} = 99"))  # noqa: S608 - our own names
    with pytest.raises(IntegrityError), empty.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO location (entity_id, root, path, size_bytes, mtime_ns, ctime_ns, inode, first_seen_at) "
                "SELECT entity_id, root, path, size_bytes, mtime_ns, ctime_ns, inode, first_seen_at FROM location"
            )
        )
    with empty.begin() as connection:
        connection.execute(text("DELETE FROM entity WHERE id = 1"))
        assert connection.execute(text("SELECT count(*) FROM location")).scalar_one() == 0


EVENT = "INSERT INTO event (id, event_type, occurred_at, entity_id, data, fanned_out_at) VALUES "
DELIVERY = (
    "INSERT INTO delivery (id, event_id, subscriber, attempts, next_attempt_at, delivered_at, last_error) VALUES "
)
OLD_NOTIFICATIONS = [
    *OLD_ROWS[:4],
    EVENT + "('evt_b', 'file.imported', '2024-03-01 12:00:00', 1, '{}', NULL)",
    EVENT + "('evt_c', 'file.moved', :at, NULL, '{}', :at)",
    EVENT + "('evt_a', 'file.imported', :at, 1, '{}', :at)",
    DELIVERY + "(5, 'evt_a', 'gallery', 3, :at, NULL, 'it was away')",
    DELIVERY + "(8, 'evt_c', 'gallery', 1, NULL, :at, NULL)",
]


def test_a_catalogue_from_before_events_were_numbered_keeps_them_and_what_is_owed(empty: Engine) -> None:
    upgrade_to(empty, "0003")
    fill(empty, OLD_NOTIFICATIONS)
    old = {table: rows_of(empty, table) for table in ("event", "delivery")}
    upgrade(empty, Table.metadata)
    events = rows_of(empty, "event")
    assert [(row["revision"], row["id"]) for row in events] == [(1, "evt_a"), (2, "evt_c"), (3, "evt_b")], (
        "as they happened"
    )
    assert sorted((row | {"revision": 0} for row in events), key=lambda row: row["id"]) == [
        row | {"revision": 0} for row in old["event"]
    ]
    refused, taken = rows_of(empty, "delivery")
    assert refused.pop("last_attempt_at").year == 2000
    assert taken.pop("last_attempt_at") is None
    new = {"last_status": None, "last_response": None, "until_back": False}
    assert [refused, taken] == [row | new for row in old["delivery"]]
    with Session(empty) as session:
        (gallery,) = known_endpoints(session)
        assert (gallery.name, gallery.from_revision) == ("gallery", 0), "it hears of evt_b, too"


def test_who_is_attached_first_after_the_upgrade_hears_of_what_was_waiting(empty: Engine) -> None:
    upgrade_to(empty, "0003")
    fill(empty, OLD_NOTIFICATIONS[: len(OLD_ROWS[:4]) + 1])
    upgrade(empty, Table.metadata)
    with Session(empty) as session:
        assert endpoint_states(session) == []
        asks = Subscription("webhook")
        attach(session, {"gallery": asks}, at=now())
        attach(session, {"gallery": asks, "archive": asks}, at=now(), sole=True)
        attach(session, {"gallery": asks, "archive": asks, "late": asks}, at=now(), sole=True)
        assert [(each.name, each.from_revision) for each in known_endpoints(session)] == [
            ("archive", 0),
            ("gallery", 0),
            ("late", 1),
        ]


def test_a_number_is_never_given_twice_and_deliveries_go_with_their_event(empty: Engine) -> None:
    upgrade_to(empty, "0003")
    fill(empty, OLD_NOTIFICATIONS)
    upgrade(empty, Table.metadata)
    with empty.begin() as connection:
        connection.execute(text("DELETE FROM event"))
        assert connection.execute(text("SELECT count(*) FROM delivery")).scalar_one() == 0
    fill(empty, [EVENT + "('evt_d', 'file.imported', :at, 1, '{}', NULL)"])
    fill(empty, ["INSERT INTO delivery (event_id, subscriber, attempts) VALUES ('evt_d', 'gallery', 0)"])
    assert [row["revision"] for row in rows_of(empty, "event")] == [4]
    assert rows_of(empty, "delivery")[0]["id"] > 0
    with pytest.raises(IntegrityError):
        fill(empty, ["INSERT INTO delivery (event_id, subscriber, attempts) VALUES ('evt_z', 'gallery', 0)"])


def test_the_last_migration_is_told_by_its_name(empty: Engine) -> None:
    with empty.connect() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection, Table.metadata))
    assert head_revision() == scripts.get_current_head()


def test_several_catalogues_may_be_opened_at_once_in_one_process(
    tmp_path: Path, open_engine: Callable[[str], Engine]
) -> None:
    engines = [open_engine(f"sqlite:///{tmp_path / str(number)}.sqlite3") for number in range(4)]
    with ThreadPoolExecutor(len(engines)) as threads:
        list(threads.map(lambda engine: upgrade(engine, Table.metadata), engines))
    for engine in engines:
        assert "content_hash" in inspect(engine).get_table_names()
