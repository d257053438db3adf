"""Deliveries to these endpoints and no others, whatever they asked for."""

from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col, select

from damd.catalogue.deliveries import Selection, replay
from damd.catalogue.tables import StoredEvent


def owe(session: Session, *endpoints: str, at: datetime) -> None:
    """Make what has not been fanned out due to these."""
    new = list(session.exec(select(StoredEvent.id).where(col(StoredEvent.fanned_out_at).is_(None))))
    for endpoint in endpoints if new else ():
        replay(session, Selection(ids=new), endpoint, only_missing=True, at=at)
    session.execute(update(StoredEvent).where(col(StoredEvent.id).in_(new)).values(fanned_out_at=at))
