"""Whether the database's own files are sound, as far as the database can tell in a bounded time."""

from __future__ import annotations

import sqlite3
import time

from sqlalchemy.exc import OperationalError
from sqlmodel import Session

_INSTRUCTIONS = 100_000
"""Of SQLite's virtual machine, between two looks at the clock: well under a second."""


def find_damage(session: Session, *, within_s: float) -> list[str] | None:
    """What SQLite's ``PRAGMA quick_check`` complains of: nothing, where the file is sound.

    None where nobody knows: it took longer than this, or the database is a server's, which sees to that itself.
    """
    driver = session.connection().connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        return None
    give_up_at_s = time.monotonic() + within_s
    driver.set_progress_handler(lambda: time.monotonic() > give_up_at_s, _INSTRUCTIONS)
    try:
        rows = session.connection().exec_driver_sql("PRAGMA quick_check(10)").scalars().all()
    except OperationalError as error:
        if isinstance(error.orig, sqlite3.Error) and error.orig.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return None
        raise
    finally:
        driver.set_progress_handler(None, 0)
    return [] if rows == ["ok"] else [str(row) for row in rows]
