"""Inserts that can say what to do on conflict: both databases spell them alike, and SQLAlchemy has one for each."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session

from damd.catalogue.tables import Table, table_of

Insert = sqlite.Insert | postgresql.Insert

_INSERTS: dict[str, Callable[..., Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def dialect_of(session: Session) -> str:
    """The database's kind, by SQLAlchemy's name."""
    return session.get_bind().dialect.name


def insert_into(dialect: str, kind: type[Table]) -> Insert:
    """An insert in this dialect."""
    return _INSERTS[dialect](table_of(kind))
