"""What there is to know of a catalogue before it is opened: nothing is made, changed or upgraded."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import Connection, Engine, NullPool
from sqlalchemy.exc import DBAPIError

from damd.catalogue.engine import CatalogueSettings, make_server_engine, shown
from damd.catalogue.schema import REVISION, known_revisions
from damd.errors import CatalogueError, CatalogueTooNewError

_MAY_MAKE = sqlalchemy.text("SELECT has_schema_privilege(current_schema(), 'CREATE')")


def schema_revision(settings: CatalogueSettings, state: Path, *, within_s: int) -> str | None:
    """The revision of the schema that is there; None where nothing is yet. Blocking.

    Args:
        settings: Which database.
        state: The state folder.
        within_s: How long a server may take to take the connection; at least 2, by libpq.

    Raises:
        CatalogueTooNewError: It was written by a newer damd.
        CatalogueError: It does not open, is no database, or no table may be made in it; without any password.
    """
    file = settings.file_in(state)
    with _connected(_sqlite(file) if file is not None else _server(settings, within_s)) as connection:
        where = shown(connection.engine.url) if file is None else str(file)
        found = list(connection.execute(REVISION).scalars()) if _has_table(connection) else []
        if found and found[0] not in known_revisions():
            raise CatalogueTooNewError(where, found[0])
        if not found and connection.dialect.name == "postgresql" and not connection.execute(_MAY_MAKE).scalar():
            advice = "make it the owner of the database, or GRANT CREATE ON SCHEMA public to it"
            raise CatalogueError(f"The catalogue {where} lets this user make no tables: {advice}")
        return found[0] if found else None


def _has_table(connection: Connection) -> bool:
    return bool(sqlalchemy.inspect(connection).has_table("alembic_version"))


def _sqlite(file: Path) -> Engine:
    # Whoever only reads makes the files of the write-ahead log where there are none, and cannot take them away again.
    # Where there are none nobody else has it open, and the file is all there is.
    is_at_rest = not os.path.lexists(f"{file}-wal")
    url = f"file:{quote(os.fsencode(file))}?mode=ro{'&immutable=1' if is_at_rest else ''}"
    return sqlalchemy.create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(url, uri=True, check_same_thread=False), poolclass=NullPool
    )


def _server(settings: CatalogueSettings, within_s: int) -> Engine:
    return make_server_engine(settings, connect_args={"connect_timeout": within_s}, poolclass=NullPool)


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        for secret in filter(None, (engine.url.password, engine.url.query.get("password"))):
            reason = reason.replace(str(secret), "***")
        raise CatalogueError(f"The catalogue cannot be opened: {reason}") from None
    finally:
        engine.dispose()
