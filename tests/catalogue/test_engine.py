"""Engines: which databases are trusted, and how each is opened."""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, insert, text
from sqlalchemy.exc import IntegrityError

from damd import mounts
from damd.catalogue.engine import WRITES, CatalogueSettings, make_engine
from damd.catalogue.schema import upgrade
from damd.catalogue.tables import ContentHash, Table
from damd.errors import CatalogueError, NetworkMountError

_NOBODY = 65534


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Whoever runs the tests, no longer root, to whom nothing is forbidden."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def read_only_folder(migrated_file: Path) -> Iterator[Path]:
    """Holds a catalogue, and may be read by anybody and written by nobody."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "catalogue.sqlite3").write_bytes(migrated_file.read_bytes())
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize(
    "wrong", ["", "sqlite:", "sqlite://catalogue", "mysql://localhost/damd", "postgresql://x/damd"]
)
def test_a_url_that_names_no_known_database_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="expected sqlite"):
        CatalogueSettings(url=wrong)


def test_sqlite_is_a_file_in_the_state_folder_which_is_made(tmp_path: Path) -> None:
    state = tmp_path / "no such" / "state?a=b#c %"
    engine = make_engine(CatalogueSettings(), state)
    with engine.connect():
        assert (state / "catalogue.sqlite3").is_file()
    engine.dispose()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse names that are no UTF-8")
def test_a_state_folder_whose_name_is_no_text_serves_as_well(tmp_path: Path) -> None:
    state = tmp_path / os.fsdecode(b"st\xff\xe4te")
    engine = make_engine(CatalogueSettings(), state)
    upgrade(engine, Table.metadata)
    assert (state / "catalogue.sqlite3").is_file()
    engine.dispose()


def test_a_file_in_place_of_the_state_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(CatalogueError, match=r"The folder .*/state/below cannot be made: Not a directory"):
        make_engine(CatalogueSettings(), tmp_path / "state" / "below")


def test_sqlite_on_a_network_mount_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_bytes(b"1 0 0:1 / / rw - ext4 /dev/vda rw\n2 1 0:2 / /mnt/nas rw - nfs4 nas:/export rw\n")
    for question in (mounts.is_network_mount, mounts.filesystem_type):
        assert question.__kwdefaults__
        monkeypatch.setitem(question.__kwdefaults__, "mountinfo", mountinfo)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    with pytest.raises(NetworkMountError, match=r"network mount \(nfs4\).*--state on a local disk, or use PostgreSQL"):
        make_engine(CatalogueSettings(), Path("/mnt/nas/damd"))
    make_engine(CatalogueSettings(), Path("/var/lib/damd")).dispose()


def test_every_connection_of_sqlite_is_durable_and_minds_foreign_keys(tmp_path: Path) -> None:
    engine = make_engine(CatalogueSettings(), tmp_path)
    with ExitStack() as stack:
        connections = [stack.enter_context(engine.connect()) for _ in range(8)]
        for connection in connections:
            pragmas = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
            assert pragmas == ["wal", 2, 1]
        assert len({id(connection.connection.driver_connection) for connection in connections}) == 8
    engine.dispose()


def test_a_savepoint_that_is_released_is_not_yet_committed(engine: Engine) -> None:
    with engine.connect() as connection, connection.execution_options(**{WRITES: True}).begin() as transaction:
        connection.exec_driver_sql("SAVEPOINT one")
        connection.execute(text("INSERT INTO entity (created_at) VALUES ('2020-01-01 00:00:00')"))
        connection.exec_driver_sql("RELEASE SAVEPOINT one")
        transaction.rollback()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM entity")).scalar() == 0


def test_a_component_of_no_entity_is_refused(engine: Engine) -> None:
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(insert(ContentHash).values(entity_id=4711, sha256="x"))


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "existing"])
def test_a_read_only_folder_is_an_error_that_names_the_catalogue(read_only_folder: Path, is_there: bool) -> None:
    if not is_there:
        read_only_folder.chmod(0o755)
        (read_only_folder / "catalogue.sqlite3").unlink()
        read_only_folder.chmod(0o555)
    engine = make_engine(CatalogueSettings(), read_only_folder)
    with ordinary_user(), pytest.raises(CatalogueError, match=r"/catalogue\.sqlite3 cannot be opened: "):
        upgrade(engine, Table.metadata)
    engine.dispose()


def test_a_directory_in_place_of_the_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite3").mkdir()
    engine = make_engine(CatalogueSettings(), tmp_path)
    with pytest.raises(CatalogueError, match=r"/catalogue\.sqlite3 cannot be opened: unable to open"):
        upgrade(engine, Table.metadata)
    engine.dispose()


def test_a_file_that_is_no_database_is_an_error_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.sqlite3"
    file.write_bytes(b"a letter to my mother\n" * 100)
    engine = make_engine(CatalogueSettings(), tmp_path)
    with pytest.raises(CatalogueError, match=r"/catalogue\.sqlite3 cannot be opened: file is not a database"):
        upgrade(engine, Table.metadata)
    engine.dispose()
    assert file.read_bytes() == b"a letter to my mother\n" * 100


def test_a_server_that_is_not_there_is_an_error_that_tells_no_password(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://damd:secret@/damd?host={tmp_path}"
    engine = make_engine(CatalogueSettings(url=url), tmp_path)
    with pytest.raises(CatalogueError, match="cannot be opened") as caught:
        upgrade(engine, Table.metadata)
    assert "secret" not in str(caught.value)
    engine.dispose()


def test_a_missing_driver_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(CatalogueError, match=r"needs the package psycopg: install damd\[postgresql\]"):
        make_engine(CatalogueSettings(url="postgresql+psycopg://damd:secret@/damd"), tmp_path)


def test_a_connection_that_the_server_closed_is_replaced_unnoticed(
    url: str, open_engine: Callable[[str], Engine], engine: Engine
) -> None:
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        number = (
            None
            if isinstance(driver, sqlite3.Connection)
            else connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        )
    if number is not None:
        with open_engine(url).connect() as other:
            other.exec_driver_sql(f"SELECT pg_terminate_backend({number}, 5000)")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
