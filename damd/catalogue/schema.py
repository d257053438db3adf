"""The schema's version: brings a catalogue up to date when it is opened.

The whole upgrade is one transaction that nobody else can enter, so two processes that start together, or
a crash in the middle, leave either the old schema or the new one.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.exc import DBAPIError

from damd.catalogue.engine import WRITES, shown
from damd.errors import CatalogueError, CatalogueTooNewError

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"
REVISION = sqlalchemy.text("SELECT version_num FROM alembic_version")
"""What the schema is now, where there is one."""

_MIGRATING = threading.Lock()
"""Alembic's operations are global to the process, where several catalogues may be opened at once."""

_LOCK = 0x64616D64
"""PostgreSQL's advisory locks are numbers; this one spells damd."""


def upgrade(engine: Engine, metadata: MetaData) -> None:
    """Bring the catalogue to this version's schema, and create the tables of plugins; blocking.

    Args:
        engine: Of `damd.catalogue.engine.make_engine`.
        metadata: All tables: those that no migration makes belong to plugins, and are created where they
            are missing.

    Raises:
        CatalogueTooNewError: It was written by a newer damd.
        CatalogueError: It cannot be opened, or is no catalogue.
    """
    try:
        with engine.connect() as connection:
            if _is_current(connection, metadata):
                return
            connection.rollback()
            writer = connection.execution_options(**{WRITES: True})
            with _MIGRATING, writer.begin():
                _upgrade(writer, metadata)
    except DBAPIError as error:
        where = shown(engine.url)
        raise CatalogueError(f"The catalogue {where} cannot be opened: {error.orig}") from error


def _is_current(connection: Connection, metadata: MetaData) -> bool:
    """Whether nothing is left to do, asked without waiting for whoever writes at the moment.

    And without Alembic, which takes longer to load than the question to answer.
    """
    tables = set(sqlalchemy.inspect(connection).get_table_names())
    if "alembic_version" not in tables or list(connection.execute(REVISION).scalars()) != [head_revision()]:
        return False
    return set(metadata.tables) <= tables


@functools.cache
def head_revision() -> str:
    """The revision of this version's schema: what the name of the last migration begins with."""
    return max(known_revisions())


def known_revisions() -> frozenset[str]:
    """The revisions of all schemas that this version knows."""
    return frozenset(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _upgrade(connection: Connection, metadata: MetaData) -> None:
    from alembic import command
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(_LOCK)))
    config = alembic_config(connection, metadata)
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current != scripts.get_current_head():
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise CatalogueTooNewError(shown(connection.engine.url), current)
        command.upgrade(config, "head")
    metadata.create_all(connection)


def alembic_config(connection: Connection, metadata: MetaData) -> Config:
    """Alembic's configuration for this connection, without any file of it."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, metadata=metadata)
    return config
