"""Engines: how each database is opened, and what is asked of it before it is trusted.

SQLite in WAL with ``synchronous=FULL``: promises 3 and 4 hold through a power cut. The driver's own
transaction handling is off, since with it a savepoint's release commits; see `_begin`.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy
from pydantic import AfterValidator
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from damd import mounts
from damd.errors import CatalogueError, NetworkMountError
from damd.settings import Settings

WRITES = "damd_writes"
"""The execution option of the connection that writes."""

SQLITE_FILE = "catalogue.sqlite3"
"""The catalogue's file in the state folder."""

STATE_MODE = 0o700
"""Of a state folder that damd makes: paths, positions and pictures are nobody else's business."""

_BUSY_TIMEOUT_S = 30


def _database_url(url: str) -> str:
    if not (url == "sqlite" or url.startswith(("sqlite:///", "postgresql+psycopg://"))):
        raise ValueError("expected sqlite, sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE")
    if url.endswith(":memory:"):
        raise ValueError("a catalogue in memory would be gone with the process: name a file")
    if url != "sqlite":
        try:
            host = make_url(url).host or ""
        except (ValueError, ArgumentError):
            raise ValueError("is no URL of a database, such as postgresql+psycopg://USER@HOST:5432/DATABASE") from None
        if "@" in host:  # what is before it is a password's end, and would be told as a host's name
            raise ValueError("has an @ too many: within a password it is written %40")
    return url


class CatalogueSettings(Settings):
    """The section ``catalogue:``."""

    url: Annotated[str, AfterValidator(_database_url)] = "sqlite"
    """sqlite lies in the state folder, sqlite:///PATH elsewhere; or postgresql+psycopg://USER@HOST/DATABASE."""

    @property
    def file(self) -> Path | None:
        """The SQLite file, where the URL names one."""
        if self.url == "sqlite":
            return None
        url = make_url(self.url)
        return Path(url.database).absolute() if url.get_backend_name() == "sqlite" and url.database else None

    def file_in(self, state: Path) -> Path | None:
        """The SQLite file, with the state folder's in mind; None where the catalogue is a server's."""
        return state / SQLITE_FILE if self.url == "sqlite" else self.file


def catalogue_exists(settings: CatalogueSettings, state: Path) -> bool:
    """Whether there may be a catalogue; of a server that is assumed. Blocking."""
    file = settings.file_in(state)
    return file is None or file.exists()


def make_engine(settings: CatalogueSettings, state: Path) -> Engine:
    """An engine for the configured database; blocking, creates the state folder where it is missing.

    Raises:
        NetworkMountError: SQLite on a network mount.
        CatalogueError: The folder cannot be made, or the driver is not installed.
    """
    file = settings.file_in(state)
    return make_server_engine(settings, pool_pre_ping=True) if file is None else _sqlite_engine(file)


def make_server_engine(settings: CatalogueSettings, **options: Any) -> Engine:
    """An engine for a catalogue that is a server's.

    Args:
        settings: Their URL names the server.
        options: Further ones of `sqlalchemy.create_engine`.

    Raises:
        CatalogueError: The driver is not installed.
    """
    url = make_url(settings.url)
    try:
        return sqlalchemy.create_engine(url, **options)
    except ModuleNotFoundError as error:
        raise CatalogueError(
            f"The catalogue {shown(url)} needs the package {error.name}: install damd[postgresql]"
        ) from error


def shown(url: URL) -> str:
    """A database's URL for people: a password may stand in its query, too, and nobody needs the most of that."""
    query = {key: value for key, value in url.query.items() if key in {"host", "port"}}
    return url.set(query=query).render_as_string()


def _sqlite_engine(file: Path) -> Engine:
    try:
        file.parent.mkdir(mode=STATE_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogueError(f"The folder {file.parent} cannot be made: {error.strerror}") from error
    if mounts.is_network_mount(file.parent):
        raise NetworkMountError(str(file), mounts.filesystem_type(file.parent))
    # The writer thread differs from one commit to the next, but is only one at any time.
    engine = sqlalchemy.create_engine(
        URL.create("sqlite", database=str(file)),
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_S},
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None
    _use_wal(connection)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: sqlite3.Connection) -> None:
    # Two that open a new file at the same moment are in each other's way, and for that SQLite does not wait by itself.
    give_up_at_s = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up_at_s:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer; it fails at once.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def is_alive(connection: Connection) -> bool:
    """Whether the connection's transaction still stands.

    SQLite gives up a whole transaction on a full disk or an interrupt, and what follows, COMMIT too,
    seems to succeed outside of it.
    """
    driver = connection.connection.driver_connection
    return not isinstance(driver, sqlite3.Connection) or driver.in_transaction


def is_spoilt(connection: Connection) -> bool:
    """Whether a statement failed and was not undone, so that PostgreSQL answers COMMIT with a silent rollback."""
    if connection.dialect.name != "postgresql":
        return False
    from psycopg.pq import TransactionStatus

    driver: Any = connection.connection.driver_connection
    return bool(driver.info.transaction_status == TransactionStatus.INERROR)


def is_deadlock(error: DBAPIError) -> bool:
    """Whether PostgreSQL gave up this transaction for the sake of another, so that it is worth running again.

    The codes are serialization_failure and deadlock_detected, https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html.
    """
    return getattr(error.orig, "sqlstate", None) in {"40001", "40P01"}
