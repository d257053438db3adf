"""What the catalogue knows of a stretch of a root, against what was found there; and what to make of absences.

Rows are taken from the driver as they come: for a million files the mapper would take longer than the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import bindparam, delete, update
from sqlmodel import Session, col

from damd.catalogue.outbox import store_event
from damd.catalogue.roots import Place, Roots
from damd.catalogue.tables import ContentHash, Failure, Location, Root, SeenPath, table_of
from damd.events import FileMissingEvent, RootHeldEvent, readable_path
from damd.fingerprint import Signature

_ROWS = 2000
_MOST_ROWS = 10_000
"""Of one comparison: a root from which everything went away is no reason to hold all that was in it."""


class Bounds(NamedTuple):
    """A stretch of paths in the order of their bytes, from `low` up to, but without, `high`; None has no end."""

    low: bytes | None
    high: bytes | None


@dataclass
class Comparison:
    """What a stretch of the catalogue says of what was found.

    Attributes:
        unknown: The paths that were found and need to be looked at.
        unseen: Those of locations that were not found, though they would lie on a volume that is there.
        unseen_failures: Those of failures that were not found.
        out_of_reach: How many were not found whose volume is not there.
        known: How many locations the stretch has that are not missing.
        elsewhere: The locations, by number, that lie on another volume than the catalogue says, with its number.
        rest: Where the stretch goes on, if the catalogue knows too much of it for one comparison.
    """

    unknown: list[bytes] = field(default_factory=list)
    unseen: list[bytes] = field(default_factory=list)
    unseen_failures: list[bytes] = field(default_factory=list)
    out_of_reach: int = 0
    known: int = 0
    elsewhere: list[tuple[int, int]] = field(default_factory=list)
    rest: bytes | None = None


def compare(
    session: Session,
    root: str,
    bounds: Bounds,
    found: Mapping[bytes, tuple[int, int, int, int]],
    volume_at: Callable[[bytes], int | None],
) -> Comparison:
    """What the catalogue knows of a stretch, against what was found in it.

    Args:
        session: The transaction.
        root: The root's name.
        bounds: Which stretch.
        found: Everything that lies there, with size, mtime, ctime and inode.
        volume_at: The number of the volume on which a path lies, or would; None where nobody knows.
    """
    unknown = dict(found)
    comparison = Comparison()
    path = b""
    columns = [*_columns(Location), table_of(Location).c.volume_id, table_of(Location).c.id]
    statement = _within(Location, columns, root, bounds).where(col(Location.missing_since).is_(None)).limit(_MOST_ROWS)
    for row in _rows(session, statement):
        path, numbers = row[0], row[1:5]
        comparison.known += 1
        seen = unknown.get(path)
        if seen is None:
            _note_unseen(comparison, path, row[5], volume_at)
        elif seen == numbers or _wrapped(seen) == numbers:
            del unknown[path]
            if row[5] != (volume := volume_at(path)) and volume is not None:
                comparison.elsewhere.append((row[6], volume))
    if comparison.known == _MOST_ROWS:
        comparison.rest = path + b"\0"
        bounds = bounds._replace(high=comparison.rest)
        unknown = {path: numbers for path, numbers in unknown.items() if path < comparison.rest}
    columns = [*_columns(Failure), table_of(Failure).c.permanent]
    for row in _rows(session, _within(Failure, columns, root, bounds)):
        seen = found.get(row[0])
        if seen is None:
            comparison.unseen_failures.append(row[0])
        elif row[5] and row[0] in unknown and _wrapped(seen) == row[1:5]:
            del unknown[row[0]]
    comparison.unknown = list(unknown)
    return comparison


def _wrapped(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """As a `Signature` holds them."""
    return tuple((number + 2**63) % 2**64 - 2**63 for number in numbers)


def _note_unseen(
    comparison: Comparison, path: bytes, volume: int | None, volume_at: Callable[[bytes], int | None]
) -> None:
    # One of which nobody knows on which volume it lay may be anywhere, until it is seen once.
    if volume is not None and volume == volume_at(path):
        comparison.unseen.append(path)
    else:
        comparison.out_of_reach += 1


def _columns(table: type[SeenPath]) -> list[Any]:
    columns = table_of(table).c
    return [columns[name] for name in ("path", *Signature._fields)]


def _within(
    table: type[Location | Failure], columns: Sequence[Any], root: str, bounds: Bounds
) -> sqlalchemy.Select[Any]:
    statement = sqlalchemy.select(*columns).where(col(table.root) == root)
    if bounds.low is not None:
        statement = statement.where(col(table.path) >= bounds.low)
    if bounds.high is not None:
        statement = statement.where(col(table.path) < bounds.high)
    return statement.order_by(col(table.path))


def _rows(session: Session, statement: sqlalchemy.Select[Any]) -> Any:
    """The driver's own tuples, which no other way is as quick."""
    result = session.connection().execute(statement)
    return result.cursor


def note_volumes(session: Session, elsewhere: Sequence[tuple[int, int]]) -> None:
    """Note on which volumes these locations lie."""
    by_volume: dict[int, list[int]] = {}
    for location, volume in elsewhere:
        by_volume.setdefault(volume, []).append(location)
    for volume, locations in by_volume.items():
        for start in range(0, len(locations), _ROWS):
            these = col(Location.id).in_(locations[start : start + _ROWS])
            session.execute(update(Location).where(these).values(volume_id=volume))


class Candidate(NamedTuple):
    """A location whose file was not found, as the catalogue knew it then."""

    location_id: int
    asset_id: int
    sha256: str
    path: bytes
    inode: int
    ctime_ns: int


def candidates(session: Session, root: str, paths: Collection[bytes]) -> list[Candidate]:
    """The locations at these paths of a root that are not missing; at most some hundred paths."""
    location, content = table_of(Location).c, table_of(ContentHash).c
    names = ("path", "inode", "ctime_ns")
    statement = (
        sqlalchemy.select(location.id, location.entity_id, content.sha256, *(location[name] for name in names))
        .join(ContentHash, content.entity_id == location.entity_id)
        .where(location.root == root, location.path.in_(paths), location.missing_since.is_(None))
    )
    return [Candidate(*row) for row in session.execute(statement)]


def mark_missing(
    session: Session, roots: Roots, root: str, gone: Sequence[Candidate], *, at: datetime
) -> list[FileMissingEvent]:
    """Mark these locations as missing, and store the events that tell of it.

    One that another file, or the same one, has been recorded at since is left as it is.
    """
    events = []
    for candidate in gone:
        same = (
            (col(Location.id) == candidate.location_id)
            & (col(Location.root) == root)
            & (col(Location.path) == candidate.path)
            & (col(Location.inode) == candidate.inode)
            & (col(Location.ctime_ns) == candidate.ctime_ns)
        )
        statement = update(Location).where(same, col(Location.missing_since).is_(None)).values(missing_since=at)
        if session.execute(statement.returning(col(Location.id))).first() is None:
            continue
        path, path_base64 = readable_path(roots.path_of(Place(root, candidate.path)))
        event = FileMissingEvent(
            occurred_at=at,
            asset_id=candidate.asset_id,
            sha256=candidate.sha256,
            path=path,
            path_base64=path_base64,
            root=root,
        )
        events.append(store_event(session, event, entity_id=candidate.asset_id))
    return events


def hold(session: Session, root: str, because: str, *, missing: int | None, at: datetime) -> RootHeldEvent | None:
    """Note that nothing of this root is taken for deleted, or not all, and why; since when stays.

    Args:
        session: The transaction.
        root: The root's name.
        because: Why, for people.
        missing: How many files that is about; None where the root is not there. Then what was accepted is forgotten:
            what comes back may be an empty mount point, and nobody meant that.
        at: Now.

    Returns:
        The event that was stored, where it was not held already, or the root itself is gone now, or back.
    """
    known = session.execute(_HELD, {"root": root}).first()
    values: dict[str, Any] = {
        "held_since": sqlalchemy.func.coalesce(col(Root.held_since), at),
        "held_because": because,
        "held_missing": missing,
        **({"accepted_at": None, "accepted_missing": None} if missing is None else {}),
    }
    session.execute(update(Root).where(col(Root.name) == root).values(values))
    if known is None or (known.held_since is not None and (known.held_missing is None) == (missing is None)):
        return None
    path, path_base64 = readable_path(known.path)
    event = RootHeldEvent(
        occurred_at=at, root=root, path=path, path_base64=path_base64, reason=because, missing_files=missing
    )
    return store_event(session, event)


_roots = table_of(Root).c
_HELD = sqlalchemy.select(_roots.path, _roots.held_since, _roots.held_missing).where(_roots.name == bindparam("root"))


def release(session: Session, root: str) -> None:
    """The root is held no longer, and what was accepted has passed."""
    names = ("held_since", "held_because", "held_missing", "accepted_at", "accepted_missing")
    session.execute(update(Root).where(col(Root.name) == root).values(dict.fromkeys(names)))


def accept(session: Session, root: str, *, at: datetime) -> bool:
    """A person says that as many files as are held may pass; False where none are."""
    held = (col(Root.name) == root) & col(Root.held_missing).is_not(None)
    values = {"accepted_at": at, "accepted_missing": col(Root.held_missing)}
    return session.execute(update(Root).where(held).values(values).returning(col(Root.name))).first() is not None


def accepted_missing(session: Session, root: str) -> int | None:
    """How many files may go missing since a person said so, and it has not passed yet; None if nobody did."""
    statement = sqlalchemy.select(col(Root.accepted_missing)).where(col(Root.name) == root)
    number: int | None = session.execute(statement).scalar()
    return number


def note_passed(session: Session, root: str, count: int) -> None:
    """So many of the files that were accepted have been marked."""
    values = {"accepted_missing": col(Root.accepted_missing) - count}
    session.execute(update(Root).where(col(Root.name) == root).values(values))


def forget_failures_at(session: Session, root: str, paths: Sequence[bytes]) -> None:
    """The files that failed there are gone."""
    for path in paths:
        session.execute(delete(Failure).where(col(Failure.root) == root, col(Failure.path) == path))
