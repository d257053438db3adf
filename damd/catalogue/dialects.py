"""Inserts that can say what to do on conflict: both databases spell them alike, and SQLAlchemy has one for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.dialects import sqlite
from sqlmodel import Session

from damd.catalogue.tables import Table, table_of

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

    Insert = sqlite.Insert | postgresql.Insert


def dialect_of(session: Session) -> str:
    """The database's kind, by SQLAlchemy's name."""
    return session.get_bind().dialect.name


def insert_into(dialect: str, kind: type[Table]) -> Insert:
    """An insert in this dialect."""
    if dialect == "postgresql":
        # With the dialects of all of its drivers: too much for whoever has a file.
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table_of(kind))
    return sqlite.insert(table_of(kind))
