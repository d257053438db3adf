"""The store: what a caller of write() and read() may rely on, whatever the other callers do."""

import random
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import pytest
import sqlalchemy
from sqlalchemy import Engine, ForeignKey, event, insert
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlmodel import Session, select

from damd.catalogue import engine as catalogue_engine
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Root
from damd.errors import CatalogueUnavailableError

pytestmark = pytest.mark.anyio

Change = Callable[[Session], Any]


def add(name: str, session: Session) -> str:
    session.execute(insert(Root).values(name=name, path=b"/"))
    return name


def adds(*names: str) -> list[Change]:
    return [partial(add, name) for name in names]


def all_names(session: Session) -> set[str]:
    return set(session.exec(select(Root.name)))


@asynccontextmanager
async def busy_writer(catalogue: Catalogue) -> AsyncIterator[None]:
    """Inside, a change runs and does not end: whatever is written meanwhile waits, and is one batch afterwards."""
    started, release = threading.Event(), threading.Event()

    def wait(_session: Session) -> None:
        started.set()
        assert release.wait(20)

    async with anyio.create_task_group() as group:
        group.start_soon(catalogue.write, wait)
        await happened(started)
        try:
            yield
        finally:
            release.set()


async def happened(state: threading.Event) -> None:
    assert await anyio.to_thread.run_sync(state.wait, 20)


async def write_together(catalogue: Catalogue, changes: Sequence[Change]) -> list[Any]:
    """The outcome of each change, its result or its error, when all of them share a batch."""
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group, busy_writer(catalogue):
            outcomes = write_each(catalogue, changes, group)
            await anyio.wait_all_tasks_blocked()
    return outcomes


def write_each(catalogue: Catalogue, changes: Sequence[Change], group: anyio.abc.TaskGroup) -> list[Any]:
    """Write all at once, each in a task of the group; at its end, the list holds their outcomes."""
    outcomes: list[Any] = [None] * len(changes)

    async def write(number: int) -> None:
        try:
            outcomes[number] = await catalogue.write(changes[number])
        except BaseException as error:  # noqa: BLE001 - the outcome, and looked at by the test
            outcomes[number] = error

    for number in range(len(changes)):
        group.start_soon(write, number)
    return outcomes


@pytest.fixture
def commits(engine: Engine) -> list[object]:
    """Grows by one with each COMMIT."""
    made: list[object] = []
    event.listen(engine, "commit", made.append)
    return made


async def test_a_write_returns_what_its_change_returned(catalogue: Catalogue) -> None:
    assert await catalogue.write(partial(add, "one")) == "one"
    assert await catalogue.read(all_names) == {"one"}


async def test_a_write_that_returned_is_seen_by_any_other_connection(
    catalogues: tuple[Catalogue, Catalogue],
) -> None:
    ours, theirs = catalogues
    await ours.write(partial(add, "one"))
    assert await theirs.read(all_names) == {"one"}


async def test_changes_that_wait_together_share_one_commit(catalogue: Catalogue, commits: list[object]) -> None:
    names = [f"root{number}" for number in range(50)]
    assert await write_together(catalogue, adds(*names)) == names
    assert len(commits) == 2  # the one that held the writer, and all that waited
    assert await catalogue.read(all_names) == set(names)


async def test_more_changes_than_a_batch_takes_are_all_written(catalogue: Catalogue, commits: list[object]) -> None:
    names = [f"root{number}" for number in range(300)]
    assert await write_together(catalogue, adds(*names)) == names
    assert len(commits) == 4
    assert await catalogue.read(all_names) == set(names)


def fail_plainly(session: Session) -> None:
    add("spoilt", session)
    raise ValueError("no")


def fail_in_insert(session: Session) -> None:
    add("spoilt", session)
    add("spoilt", session)


def fail_in_flush(session: Session) -> None:
    add("spoilt", session)
    session.add(Root(name="spoilt", path=b"/"))
    session.flush()


def fail_in_the_last_flush(session: Session) -> None:
    add("spoilt", session)
    session.add(Root(name="spoilt", path=b"/"))


def fail_after_commit(session: Session) -> None:
    add("spoilt", session)
    session.commit()
    raise ValueError("no")


def roll_back(session: Session) -> None:
    add("spoilt", session)
    session.rollback()


def ask_what_is_not_there(session: Session) -> None:
    add("spoilt", session)
    session.execute(sqlalchemy.text("SELECT nothing FROM nowhere"))


def exit_the_thread(session: Session) -> None:
    add("spoilt", session)
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("change", "own_error"),
    [
        (fail_plainly, ValueError),
        (fail_in_insert, IntegrityError),
        (fail_in_flush, IntegrityError),
        (fail_in_the_last_flush, IntegrityError),
        (fail_after_commit, ValueError),
        (roll_back, CatalogueUnavailableError),
        (ask_what_is_not_there, (CatalogueUnavailableError, DatabaseError)),
        (exit_the_thread, SystemExit),
    ],
)
@pytest.mark.parametrize("among", [0, 3], ids=["alone", "in-a-batch"])
async def test_a_failing_change_raises_its_own_error_and_spoils_no_other(
    catalogue: Catalogue, change: Change, own_error: type[Exception], among: int
) -> None:
    names = [f"root{number}" for number in range(among * 2)]
    before, after = adds(*names[:among]), adds(*names[among:])
    outcomes = await write_together(catalogue, [*before, change, *after])
    assert isinstance(outcomes.pop(among), own_error)
    assert outcomes == names
    assert await catalogue.read(all_names) == set(names)
    assert await catalogue.write(partial(add, "spoilt")) == "spoilt"


def swallow_an_error(session: Session) -> str:
    add("swallowing", session)
    try:
        add("swallowing", session)
    except IntegrityError:
        return "done"
    raise AssertionError("a name was given twice")


@pytest.mark.parametrize("among", [0, 3], ids=["alone", "in-a-batch"])
async def test_a_change_that_swallows_a_failure_is_not_told_of_a_success_that_is_none(
    catalogue: Catalogue, among: int
) -> None:
    names = [f"root{number}" for number in range(among)]
    *outcomes, outcome = await write_together(catalogue, [*adds(*names), swallow_an_error])
    assert outcomes == names
    written = await catalogue.read(all_names)
    assert written - {"swallowing"} == set(names)
    assert ("swallowing" in written) == (outcome == "done")


async def test_a_change_may_commit_early_without_consequence(catalogue: Catalogue, commits: list[object]) -> None:
    def commit_early(session: Session) -> str:
        add("early", session)
        session.commit()
        return add("late", session)

    assert await write_together(catalogue, [commit_early, *adds("other")]) == ["late", "other"]
    assert len(commits) == 2
    assert await catalogue.read(all_names) == {"early", "late", "other"}


class Losing:
    """A change whose transaction is lost when it first runs, with those of all others in the batch."""

    def __init__(self, lose: Callable[[Session, Any], None], *, quietly: bool = False) -> None:
        self.runs = 0
        self._lose = lose
        self._quietly = quietly

    def __call__(self, session: Session) -> str:
        self.runs += 1
        add("losing", session)
        if self.runs == 1:
            try:
                self._lose(session, session.connection().connection.driver_connection)
            except Exception:
                if not self._quietly:
                    raise
        return "losing"


def be_interrupted(session: Session, driver: sqlite3.Connection) -> None:
    driver.set_progress_handler(lambda: 1, 1)
    try:
        add("interrupted", session)
    finally:
        driver.set_progress_handler(None, 0)


def fill_the_disk(session: Session, driver: sqlite3.Connection) -> None:
    (pages,) = driver.execute("PRAGMA page_count").fetchone()
    driver.execute(f"PRAGMA max_page_count = {pages}")
    try:
        session.execute(insert(Root).values(name="large", path=bytes(2**20)))
    finally:
        driver.execute(f"PRAGMA max_page_count = {2**30}")


def lose_the_connection(session: Session, _driver: object) -> None:
    session.execute(sqlalchemy.text("SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.mark.parametrize(
    ("url", "lose"),
    [("sqlite", be_interrupted), ("sqlite", fill_the_disk), ("postgresql", lose_the_connection)],
    indirect=["url"],
)
@pytest.mark.parametrize("quietly", [False, True], ids=["raising", "swallowing"])
async def test_a_batch_whose_transaction_is_lost_is_run_again(
    catalogue: Catalogue, lose: Callable[[Session, Any], None], quietly: bool
) -> None:
    losing = Losing(lose, quietly=quietly)
    outcomes = await write_together(catalogue, [*adds("before"), losing, *adds("after")])
    assert outcomes == ["before", "losing", "after"]
    assert losing.runs == 2
    assert await catalogue.read(all_names) == {"before", "losing", "after"}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("quietly", [False, True], ids=["raising", "swallowing"])
async def test_a_full_disk_fails_the_change_that_needs_the_room_and_no_other(
    catalogue: Catalogue, quietly: bool
) -> None:
    def need_room(session: Session) -> str:
        return Losing(fill_the_disk, quietly=quietly)(session)

    before, error, after = await write_together(catalogue, [*adds("before"), need_room, *adds("after")])
    assert (before, after) == ("before", "after")
    assert isinstance(error, CatalogueUnavailableError)
    assert await catalogue.read(all_names) == {"before", "after"}


async def test_a_batch_whose_commit_fails_is_run_again(catalogue: Catalogue, engine: Engine) -> None:
    failures = iter([None, ValueError("the disk is gone")])  # the first commit is that of the one that held the writer

    def fail_once(_connection: object) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure

    event.listen(engine, "commit", fail_once)
    assert await write_together(catalogue, adds("one", "two")) == ["one", "two"]
    assert await catalogue.read(all_names) == {"one", "two"}


async def test_a_commit_that_fails_for_one_change_fails_that_one_alone(catalogue: Catalogue, engine: Engine) -> None:
    metadata = sqlalchemy.MetaData()
    sqlalchemy.Table("parent", metadata, sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True))
    deferred = ForeignKey("parent.id", deferrable=True, initially="DEFERRED")
    child = sqlalchemy.Table("child", metadata, sqlalchemy.Column("parent_id", sqlalchemy.Integer, deferred))
    metadata.create_all(engine)

    def fail_at_commit(session: Session) -> str:
        session.execute(insert(child).values(parent_id=1))
        return "written, it seems"

    before, error, after = await write_together(catalogue, [*adds("before"), fail_at_commit, *adds("after")])
    assert (before, after) == ("before", "after")
    assert isinstance(error, IntegrityError)
    assert await catalogue.read(all_names) == {"before", "after"}
    metadata.drop_all(engine)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_changes_wait_once_and_not_each_in_turn_for_a_database_that_stays_locked(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_engine: Callable[[str], Engine]
) -> None:
    monkeypatch.setattr(catalogue_engine, "_BUSY_TIMEOUT_S", 0.1)
    catalogue = Catalogue(open_engine(url))
    ran: list[Session] = []
    attempts: list[object] = []
    event.listen(catalogue.engine, "engine_connect", attempts.append)
    other = sqlite3.connect(tmp_path / "catalogue.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            outcomes = write_each(catalogue, [ran.append] * 20, group)
    other.close()
    assert [str(outcome) for outcome in outcomes] == ["The catalogue cannot be used now: database is locked"] * 20
    assert len(attempts) == 1
    assert not ran
    assert await catalogue.write(partial(add, "one")) == "one"


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_two_changes_that_lock_each_other_both_succeed_in_the_end(
    catalogues: tuple[Catalogue, Catalogue],
) -> None:
    for name in ("one", "two"):
        await catalogues[0].write(partial(add, name))
    both_hold_one = threading.Barrier(2)
    runs: list[str] = []

    def touch(first: str, second: str, session: Session) -> str:
        runs.append(first)
        for name in (first, second):
            session.execute(sqlalchemy.update(Root).where(Root.name == name).values(path=first.encode()))  # type: ignore[arg-type]  # a column
            if name == first and len(runs) <= 2:
                both_hold_one.wait(10)
        return first

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(catalogues[0].write, partial(touch, "one", "two"))
            group.start_soon(catalogues[1].write, partial(touch, "two", "one"))
    assert sorted(runs[:2]) == ["one", "two"]
    assert len(runs) > 2  # whoever was given up was run again, and may have been in the way once more


async def test_a_change_cancelled_before_it_started_is_withdrawn(catalogue: Catalogue) -> None:
    ran: list[Session] = []
    with anyio.fail_after(20):
        async with busy_writer(catalogue), anyio.create_task_group() as group:
            group.start_soon(catalogue.write, ran.append)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert await write_together(catalogue, adds("next")) == ["next"]
    assert not ran


async def test_the_end_of_a_change_cancelled_after_it_started_is_awaited(catalogue: Catalogue) -> None:
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            async with busy_writer(catalogue):
                group.start_soon(catalogue.write, partial(add, "other"))
                await anyio.wait_all_tasks_blocked()
            with anyio.CancelScope() as scope:
                started, release = threading.Event(), threading.Event()

                def slow(session: Session) -> None:
                    started.set()
                    assert release.wait(20)
                    add("slow", session)

                async def cancel() -> None:
                    await happened(started)
                    scope.cancel()
                    release.set()

                group.start_soon(cancel)
                await catalogue.write(slow)
            assert "slow" in await catalogue.read(all_names)


async def test_a_change_cancelled_while_its_batch_is_written_is_awaited(catalogue: Catalogue) -> None:
    started, release = threading.Event(), threading.Event()

    def hold_the_batch(_session: Session) -> None:
        started.set()
        assert release.wait(20)

    async def write_cancelled(scope: anyio.CancelScope) -> None:
        with scope:
            await catalogue.write(partial(add, "cancelled"))
        ended.append(await catalogue.read(all_names))

    ended: list[set[str]] = []
    scope = anyio.CancelScope()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            async with busy_writer(catalogue):
                group.start_soon(catalogue.write, hold_the_batch)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(write_cancelled, scope)
                await anyio.wait_all_tasks_blocked()
            await happened(started)
            scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert not ended
            release.set()
    assert ended == [{"cancelled"}]


async def test_a_writer_for_whom_no_thread_can_be_started_says_so_and_blocks_nobody(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with anyio.fail_after(20):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            async with anyio.create_task_group() as group:
                outcomes = write_each(catalogue, adds("one", "two", "three"), group)
        assert [type(outcome) for outcome in outcomes] == [CatalogueUnavailableError] * 3
        assert await catalogue.write(partial(add, "one")) == "one"


async def test_of_500_concurrent_changes_exactly_those_are_there_that_were_told_so(catalogue: Catalogue) -> None:
    dice = random.Random(7)  # noqa: S311 - no secret
    spoilers = [fail_plainly, fail_in_insert, fail_in_flush, roll_back]
    told: set[str] = set()

    async def write(name: str, spoil: Change | None) -> None:
        def change(session: Session) -> str:
            add(name, session)
            if spoil:
                spoil(session)
            return name

        try:
            told.add(await catalogue.write(change))
        except (ValueError, IntegrityError, CatalogueUnavailableError):
            assert spoil

    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for number in range(500):
                spoil = dice.choice(spoilers) if dice.random() < 0.03 else None
                group.start_soon(write, f"root{number}", spoil)
    assert 400 < len(told) < 500
    assert await catalogue.read(all_names) == told


async def test_a_read_runs_beside_a_long_write_and_does_not_see_it(catalogue: Catalogue) -> None:
    written, release = threading.Event(), threading.Event()

    def write_slowly(session: Session) -> None:
        add("slow", session)
        written.set()
        assert release.wait(20)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(catalogue.write, write_slowly)
            await happened(written)
            assert await catalogue.read(all_names) == set()
            release.set()
    assert await catalogue.read(all_names) == {"slow"}


async def test_what_a_read_changes_is_rolled_back(catalogue: Catalogue) -> None:
    assert await catalogue.read(partial(add, "one")) == "one"
    assert await catalogue.read(all_names) == set()
    assert await catalogue.write(partial(add, "one")) == "one"


async def test_a_read_returns_rows_that_can_still_be_looked_at(catalogue: Catalogue) -> None:
    await catalogue.write(partial(add, "one"))
    (root,) = await catalogue.read(lambda session: session.exec(select(Root)).all())
    assert (root.name, root.path) == ("one", b"/")


@pytest.mark.parametrize("server", ["sqlite", "postgresql"])
async def test_a_database_that_is_gone_is_an_error_of_the_catalogues(server: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}" if server == "sqlite" else f"postgresql+psycopg://nobody@/damd?host={tmp_path}"
    catalogue = Catalogue(make_engine(CatalogueSettings(url=url), tmp_path))
    with pytest.raises(CatalogueUnavailableError, match="cannot be used now"):
        await catalogue.read(all_names)
    with pytest.raises(CatalogueUnavailableError, match="cannot be used now"):
        await catalogue.write(partial(add, "one"))


WRITER = """
import functools, pathlib, sys
import anyio
from sqlalchemy import insert
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Root

def add(name, session):
    session.execute(insert(Root).values(name=name, path=b"/"))

async def main():
    catalogue = Catalogue(make_engine(CatalogueSettings(url=sys.argv[1]), pathlib.Path()))
    print("ready", flush=True)
    sys.stdin.readline()
    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(catalogue.write, functools.partial(add, f"{sys.argv[2]}{number}"))
    print("written", flush=True)
    sys.stdin.readline()

anyio.run(main)
"""


@pytest.fixture
def start_writers(url: str, start_python: Callable[..., Popen[str]]) -> Callable[..., list[Popen[str]]]:
    """Start processes that each write a hundred roots at the same moment, and then wait."""

    def start(*prefixes: str) -> list[Popen[str]]:
        writers = [start_python(WRITER, url, prefix) for prefix in prefixes]
        for writer in writers:
            assert writer.stdout
            assert writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin
            writer.stdin.write("go\n")
            writer.stdin.flush()
        return writers

    return start


async def test_two_processes_write_at_once_and_what_was_written_survives_their_sudden_death(
    catalogue: Catalogue, start_writers: Callable[..., list[Popen[str]]]
) -> None:
    writers = start_writers("a", "b")
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
    assert await catalogue.read(all_names) == {f"{prefix}{number}" for prefix in "ab" for number in range(100)}
