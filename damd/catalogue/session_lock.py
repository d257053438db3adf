"""The lock that a daemon holds on its catalogue's schema at a PostgreSQL server.

An advisory lock, in a session of its own, whose ``application_name`` says who that is. Its two numbers are 0x64616D64
(damd) and the first four bytes of SHA-256 of the schema's name; the database is part of every such lock. It ends with
the session, and this with the process; of a host that is gone the server hears within half a minute, by its keepalives.

A session can be lost while the daemon lives: the server was restarted, the connection cut. So it asks again and again,
and takes the lock anew. A pooler that changes sessions between transactions (pgbouncer's ``pool_mode = transaction``)
leaves nobody a lock, and is refused as soon as that is seen.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, suppress

import sqlalchemy
import structlog
from sqlalchemy import Connection, NullPool, make_url
from sqlalchemy.exc import DBAPIError

from damd.catalogue.engine import CatalogueSettings, make_server_engine, shown
from damd.errors import CatalogueError, CatalogueInUseError, CatalogueUnavailableError

_log = structlog.get_logger(__name__)

_KEY = 0x64616D64
LONGEST_NAME = 63
"""Bytes of an ``application_name``: the server cuts off what is more, NAMEDATALEN less one."""
_ATTEMPTS = 3
_CONNECTING = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "prepare_threshold": None,
}
"""A server that is gone is noticed: seconds, but for the user timeout, in milliseconds. And nothing is prepared, which
poolers may not bear."""
_PREPARE = sqlalchemy.text(
    """
    SELECT set_config(name, value, false)
    FROM (VALUES ('tcp_keepalives_idle', '15'), ('tcp_keepalives_interval', '5'), ('tcp_keepalives_count', '3'),
        ('tcp_user_timeout', '30000'), ('idle_session_timeout', '0')) AS wanted (name, value)
    JOIN pg_settings USING (name)
    """
)
"""The server's side: it notices a host that is gone, and does not end a session for being idle. Set one by one, where
the server knows them: as startup options, a pooler would refuse them."""
_WHERE = sqlalchemy.text("SELECT pg_backend_pid(), coalesce(current_schema(), '')")
_SAME = sqlalchemy.text("SELECT pg_backend_pid()")
_TAKE = sqlalchemy.text("SELECT pg_try_advisory_lock(:damd, :schema)")
_LEAVE = sqlalchemy.text("SELECT pg_advisory_unlock(:damd, :schema)")
_HOLDER = sqlalchemy.text(
    """
    SELECT pid, application_name
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 2
        AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid = CAST(:damd AS bigint) AND objid = CAST(:schema AS bigint) & 4294967295
    """
)
_END = sqlalchemy.text("SELECT pg_terminate_backend(:pid)")


class SessionLock:
    """The lock, for one thread at a time; everything blocks.

    Args:
        settings: The catalogue's, whose URL names a server.
        holder: Who asks, in ASCII and no longer than `LONGEST_NAME`.

    Raises:
        CatalogueError: The driver is not installed.
    """

    def __init__(self, settings: CatalogueSettings, holder: str) -> None:
        self._where = shown(make_url(settings.url))
        self._holder = holder
        connecting = _CONNECTING | {"application_name": holder}
        # Nothing is ever begun: a transaction that stays open would be an offence to whoever minds the server.
        self._engine = make_server_engine(
            settings, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=connecting
        )
        self._connection: Connection | None = None
        self._key: dict[str, int] = {}
        self._pid: int | None = None
        """The server's process for the session that holds it, or held it last."""

    def take(self) -> None:
        """Take it.

        Raises:
            CatalogueInUseError: Another daemon has it.
            CatalogueUnavailableError: The server cannot be reached.
            CatalogueError: It cannot be had.
        """
        try:
            if not self._is_taken():
                raise CatalogueError(f"The lock of the catalogue {self._where} cannot be had: try again in a minute")
        except DBAPIError as error:
            raise CatalogueUnavailableError(error.orig) from error

    def still_holds(self) -> bool:
        """Whether it is held, taken anew where it was lost; False while nobody can say.

        Raises:
            CatalogueInUseError: Another daemon has it now.
            CatalogueError: The server changes sessions.
        """
        try:
            if self._connection is not None and self._is_same(self._connection):
                return True
        except DBAPIError as error:
            _log.warning("the lock of the catalogue is lost", error=str(error.orig))
            self._disconnect()
        try:
            is_taken = self._is_taken()
        except DBAPIError:
            return False
        if is_taken:
            _log.info("the lock of the catalogue is taken again")
        return is_taken

    def leave(self) -> None:
        """Give it back, aloud: the server may notice the session's end after the next daemon has asked."""
        if self._connection is not None:
            with suppress(DBAPIError):
                self._connection.execute(_LEAVE, self._key)
        self._disconnect()

    def _is_same(self, connection: Connection) -> bool:
        """A session keeps its locks as long as it lives.

        Raises:
            CatalogueError: It is another one, on the same connection.
        """
        if connection.execute(_SAME).scalar_one() == self._pid:
            return True
        raise CatalogueError(
            f"The catalogue {self._where} is reached by way of a pooler that changes sessions between transactions, "
            "so that no daemon can know whether it is the only one: connect to the server, or pool whole sessions"
        )

    def _is_taken(self) -> bool:
        """Whether it could be had in a new session; not while this one's own former session still has it."""
        with ExitStack() as stack:
            connection = stack.enter_context(self._engine.connect())
            if not self._is_had(connection):
                return False
            self._connection = connection
            stack.pop_all()
            return True

    def _is_had(self, connection: Connection) -> bool:
        connection.execute(_PREPARE)
        pid, schema = connection.execute(_WHERE).one()
        number = int.from_bytes(hashlib.sha256(schema.encode()).digest()[:4], signed=True)
        self._key = {"damd": _KEY, "schema": number}
        for _ in range(_ATTEMPTS):
            if connection.execute(_TAKE, self._key).scalar_one():
                self._pid = pid
                return True
            holder = connection.execute(_HOLDER, self._key).first()
            if holder is None:  # gone between the two questions
                continue
            if holder.pid == self._pid and holder.application_name == self._holder:
                # A connection that was cut on the way: the server still believes in it.
                connection.execute(_END, {"pid": holder.pid})
                return False
            name = holder.application_name or f"session {holder.pid} of the server"
            raise CatalogueInUseError(self._where, name, instead="another database")
        return False

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(DBAPIError):
                self._connection.close()
            self._connection = None
