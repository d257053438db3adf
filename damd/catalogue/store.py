"""Catalogue: read(fn) and write(fn), with commits shared by the changes that wait together.

A flush to the disk costs more than the change it makes durable. So whoever finds the writer free takes
all the changes that wait, runs each in a savepoint of its own, commits once, and only then does anyone
hear of success. There is no writer task: the lock makes its holder the writer, and those behind it find
their change already done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, OperationalError, ProgrammingError
from sqlmodel import Session

from damd.catalogue.engine import WRITES, is_alive, is_deadlock, is_spoilt
from damd.errors import CatalogueUnavailableError

Result = TypeVar("Result")

_READING_THREADS = 4
_SAVEPOINT = "damd_change"  # one name for all, so that the driver's statement cache hits
_LARGEST_BATCH = 128
_ATTEMPTS = 5  # of a change by itself, where it meets a deadlock each time


class _LostTransactionError(CatalogueUnavailableError):
    """The transaction is gone, and nothing of it was written."""

    def __init__(self) -> None:
        super().__init__("the database gave up the transaction, and nothing of it was written")


@dataclass(eq=False)
class _Change(Generic[Result]):
    run: Callable[[Session], Result]
    done: bool = False
    result: Result | None = None
    error: BaseException | None = None

    def end(self, result: Result | None = None, error: BaseException | None = None) -> None:
        self.result, self.error, self.done = result, error, True

    def outcome(self) -> Result:
        if self.error is not None:
            raise self.error
        return cast("Result", self.result)


class Catalogue:
    """The database as two verbs; a resource of the World."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._waiting: list[_Change[Any]] = []
        self._writer = anyio.Lock()
        self._writing_thread = anyio.CapacityLimiter(1)
        self._reading_threads = anyio.CapacityLimiter(_READING_THREADS)

    async def read(self, query: Callable[[Session], Result]) -> Result:
        """Run `query(session)` in a thread, beside any writing, and return what it returned.

        It sees what has committed before it began. Whatever it changes is rolled back. What it returns is
        used after the session is closed, so it returns values, not rows to be loaded further.
        """
        return await anyio.to_thread.run_sync(self._read, query, limiter=self._reading_threads)

    def _read(self, query: Callable[[Session], Result]) -> Result:
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                return query(session)
        except DatabaseError as error:
            raise _as_outage(error) from error

    async def write(self, change: Callable[[Session], Result]) -> Result:
        """Run `change(session)` on the one writing thread; returns what it returned once that is durable.

        It runs in a savepoint and does not commit. It may run twice, when the transaction that it shared
        was lost, so it has no effects but those in the database. Cancelled before it started, it is
        withdrawn; afterwards, its end is awaited.

        Raises:
            CatalogueUnavailableError: The database does not take it now: a full disk, a lock, no connection.
            Exception: Whatever `change` raised.
        """
        mine = _Change(change)
        self._waiting.append(mine)
        try:
            await self._be_written(mine)
        except anyio.get_cancelled_exc_class():
            if mine in self._waiting:
                self._waiting.remove(mine)
            else:
                with anyio.CancelScope(shield=True):
                    await self._be_written(mine)
            raise
        return mine.outcome()

    async def _be_written(self, mine: _Change[Any]) -> None:
        async with self._writer:
            while not mine.done:
                batch, self._waiting = self._waiting[:_LARGEST_BATCH], self._waiting[_LARGEST_BATCH:]
                with anyio.CancelScope(shield=True):
                    await self._commit_in_thread(batch)

    async def _commit_in_thread(self, batch: Sequence[_Change[Any]]) -> None:
        try:
            await anyio.to_thread.run_sync(self._commit, batch, limiter=self._writing_thread)
        except Exception as error:  # noqa: BLE001 - no further thread can be started; everybody must hear of it
            for change in batch:
                change.end(error=CatalogueUnavailableError(error))

    def _commit(self, batch: Sequence[_Change[Any]]) -> None:
        """Bring every change of the batch to its end; raises nothing, since an error is its change's own."""
        if len(batch) == 1 or not self._commit_together(batch):
            for change in batch:
                self._commit_alone(change)

    def _commit_together(self, batch: Sequence[_Change[Any]]) -> bool:
        outcomes: list[tuple[Any, BaseException | None]] = []
        begun = False
        try:
            with self._writing() as connection:
                begun = True
                outcomes.extend(_run_in_savepoint(connection, change) for change in batch)
        except BaseException as error:  # noqa: BLE001 - nothing was written; each is run again by itself and meets its own
            if begun or not isinstance(error, OperationalError):
                return False
            # Locked, or gone: to wait for it once more with each change would hold up everybody.
            outcomes = [(None, CatalogueUnavailableError(error.orig)) for _ in batch]
        for change, (result, own_error) in zip(batch, outcomes, strict=True):
            change.end(result, own_error)
        return True

    def _commit_alone(self, change: _Change[Any]) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._writing() as connection:
                    result = _run(connection, change)
            except DatabaseError as error:
                if is_deadlock(error) and attempt < _ATTEMPTS:
                    continue
                change.end(error=_as_outage(error))
            except BaseException as error:  # noqa: BLE001 - raised again by the caller of write()
                change.end(error=error)
            else:
                change.end(result)
            break

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            writer = connection.execution_options(**{WRITES: True})
            with writer.begin():
                yield writer


def _as_outage(error: DatabaseError) -> Exception:
    """What the caller is told: the database's own words where the change is at fault, else that it is unavailable."""
    own_fault = isinstance(error, (DataError, IntegrityError, ProgrammingError))
    return error if own_fault else CatalogueUnavailableError(error.orig)


def _run(connection: Connection, change: _Change[Result]) -> Result:
    """Run the change in the connection's transaction, and make sure that this still stands afterwards."""
    with Session(connection, join_transaction_mode="rollback_only", expire_on_commit=False) as session:
        result = change.run(session)
        session.flush()
    _demand_alive(connection)
    if is_spoilt(connection):
        raise _LostTransactionError
    return result


def _run_in_savepoint(connection: Connection, change: _Change[Result]) -> tuple[Result | None, BaseException | None]:
    connection.exec_driver_sql(f"SAVEPOINT {_SAVEPOINT}")
    try:
        result, error = _run(connection, change), None
    except (OperationalError, _LostTransactionError):
        raise  # a full disk, a deadlock: the batch is lost, not only this change
    except BaseException as raised:  # noqa: BLE001 - raised again by the caller of write()
        _demand_alive(connection)  # a session whose flush failed has rolled back everything
        connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        result, error = None, raised
    connection.exec_driver_sql(f"RELEASE SAVEPOINT {_SAVEPOINT}")
    return result, error


def _demand_alive(connection: Connection) -> None:
    transaction = connection.get_transaction()
    if transaction is None or not transaction.is_active or not is_alive(connection):
        raise _LostTransactionError
