"""One daemon to a catalogue: who comes second is refused, and a lock that was lost is taken again."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
import pytest

from damd.catalogue.engine import CatalogueSettings, make_server_engine
from damd.catalogue.sole import Hold, sole_daemon
from damd.errors import CatalogueError, CatalogueInUseError, CatalogueUnavailableError

pytestmark = pytest.mark.anyio

_NOBODY = 65534

DAEMON = """
import sys
from pathlib import Path
import anyio
from damd.catalogue.engine import CatalogueSettings, make_server_engine
from damd.catalogue.sole import sole_daemon
from damd.errors import CatalogueInUseError

async def hold():
    try:
        async with sole_daemon(CatalogueSettings(url=sys.argv[1]), Path(sys.argv[2])):
            print("held", flush=True)
            await anyio.to_thread.run_sync(sys.stdin.readline)
    except CatalogueInUseError as error:
        print(error, flush=True)

anyio.run(hold)
"""

StartPython = Callable[..., "subprocess.Popen[str]"]


class Administrator(Protocol):
    """As the fixture `postgresql` is one: connected to another database."""

    def administer(self, statement: str) -> None: ...


class Database(Protocol):
    """As the fixture `shared_database` is one."""

    url: str


@pytest.fixture
def server(shared_database: Database) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the server's one shared database."""
    with psycopg.connect(shared_database.url.replace("+psycopg", ""), autocommit=True) as connection:
        yield connection


@pytest.fixture
def on_server(shared_database: Database) -> CatalogueSettings:
    return CatalogueSettings(url=shared_database.url)


def sessions(server: psycopg.Connection) -> list[int]:
    """The server's processes that serve a daemon's lock."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'damd run, %'"
    return [pid for (pid,) in server.execute(query).fetchall()]


def database_of(server: psycopg.Connection) -> str:
    return server.info.dbname


def end(server: psycopg.Connection, pid: int) -> None:
    """End a session, and wait until it has ended."""
    assert server.execute("SELECT pg_terminate_backend(%s, 10000)", [pid]).fetchone() == (True,)


async def be_refused(settings: CatalogueSettings, state: Path) -> str:
    with pytest.raises(CatalogueInUseError) as refused:
        async with sole_daemon(settings, state):
            pass
    return str(refused.value)


async def test_who_comes_second_is_told_who_holds_the_catalogue_until_it_leaves(url: str, tmp_path: Path) -> None:
    settings = CatalogueSettings(url=url)
    async with sole_daemon(settings, tmp_path / "a") as hold:
        assert await hold.still_holds()
        refusal = await be_refused(settings, tmp_path / "b")
        assert f"process {os.getpid()}" in refusal
        assert f"damd run, {socket.gethostname()[:30]}" in refusal
        assert await hold.still_holds()
    async with sole_daemon(settings, tmp_path / "b") as hold:
        assert await hold.still_holds()


async def test_another_process_is_refused_and_let_in_as_soon_as_the_first_is_killed(
    url: str, tmp_path: Path, start_python: StartPython
) -> None:
    first = start_python(DAEMON, url, str(tmp_path / "a"))
    assert first.stdout
    assert await anyio.to_thread.run_sync(first.stdout.readline) == "held\n"
    assert f"process {first.pid}" in await be_refused(CatalogueSettings(url=url), tmp_path / "b")
    with anyio.fail_after(10):
        first.kill()
        while True:  # a server hears of it by itself, if at once
            try:
                async with sole_daemon(CatalogueSettings(url=url), tmp_path / "b"):
                    break
            except CatalogueInUseError:
                await anyio.lowlevel.checkpoint()


async def test_one_file_has_one_lock_however_it_is_named_and_others_beside_it_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    (folder / "linked.db").symlink_to("catalogue.sqlite3")
    async with sole_daemon(CatalogueSettings(), folder):
        for name in ("link/catalogue.sqlite3", "folder/linked.db", "link/linked.db"):
            refusal = await be_refused(CatalogueSettings(url=f"sqlite:///{tmp_path / name}"), tmp_path / "state")
            assert f"runs on {folder / 'catalogue.sqlite3'}: stop it first" in refusal
        async with sole_daemon(CatalogueSettings(url=f"sqlite:///{folder / 'another.db'}"), tmp_path):
            pass
    assert (folder / "catalogue.sqlite3.lock").stat().st_mode & 0o777 == 0o600


async def test_a_lock_file_that_was_removed_is_made_again_and_one_that_somebody_else_made_is_theirs(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "catalogue.sqlite3.lock"
    async with sole_daemon(CatalogueSettings(), tmp_path) as hold:
        lock.unlink()
        assert await hold.still_holds()
        await be_refused(CatalogueSettings(), tmp_path)
        lock.unlink()
        async with sole_daemon(CatalogueSettings(), tmp_path):
            with pytest.raises(CatalogueInUseError):
                await hold.still_holds()


async def test_a_folder_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with sole_daemon(CatalogueSettings(), state) as hold:
        shutil.rmtree(state)
        assert not await hold.still_holds()
        assert not state.exists()


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """Entered as whoever may not write in it; root may."""
    tmp_path.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(_NOBODY)
    yield tmp_path
    if is_root:
        os.seteuid(0)


async def test_a_folder_that_may_not_be_written_is_told_of(read_only_folder: Path) -> None:
    with pytest.raises(CatalogueError, match=r"sqlite3\.lock cannot be taken \(Permission denied\)"):
        async with sole_daemon(CatalogueSettings(), read_only_folder):
            pass


async def test_a_session_that_ended_is_followed_by_another(
    server: psycopg.Connection, on_server: CatalogueSettings, tmp_path: Path
) -> None:
    async with sole_daemon(on_server, tmp_path) as hold:
        [pid] = sessions(server)
        end(server, pid)
        assert await hold.still_holds()
        assert sessions(server) != [pid]
        await be_refused(on_server, tmp_path)


async def test_who_took_it_while_the_session_was_lost_keeps_it(
    server: psycopg.Connection, on_server: CatalogueSettings, tmp_path: Path
) -> None:
    async with sole_daemon(on_server, tmp_path) as hold:
        end(server, *sessions(server))
        async with sole_daemon(on_server, tmp_path) as other:
            with pytest.raises(CatalogueInUseError, match=f"process {os.getpid()}"):
                await hold.still_holds()
            assert await other.still_holds()
        assert await hold.still_holds()


async def test_its_own_former_session_that_the_server_still_believes_in_is_ended(
    server: psycopg.Connection, on_server: CatalogueSettings, tmp_path: Path
) -> None:
    async with sole_daemon(on_server, tmp_path) as hold:
        [pid] = sessions(server)
        os.kill(pid, signal.SIGSTOP)  # as deaf as behind a cut cable
        try:
            cut_connection(hold)
            assert not await hold.still_holds()
            assert not await hold.still_holds()
        finally:
            os.kill(pid, signal.SIGCONT)
        end_if_there(server, pid)
        assert await hold.still_holds()


def cut_connection(hold: Hold) -> None:
    """Cut it here, so that only this side knows."""
    driver = hold._lock._connection.connection.driver_connection  # type: ignore[attr-defined]  # nobody else has it
    with socket.socket(fileno=os.dup(driver.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def end_if_there(server: psycopg.Connection, pid: int) -> None:
    server.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE pid = %s", [pid])


async def test_while_the_server_lets_nobody_in_nobody_can_say_and_afterwards_it_is_taken_again(
    postgresql: Administrator, server: psycopg.Connection, on_server: CatalogueSettings, tmp_path: Path
) -> None:
    name = database_of(server)
    async with sole_daemon(on_server, tmp_path) as hold:
        postgresql.administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            end(server, *sessions(server))
            assert not await hold.still_holds()
            assert not await hold.still_holds()
            with pytest.raises(CatalogueUnavailableError, match="not currently accepting connections"):
                async with sole_daemon(on_server, tmp_path):
                    pass
        finally:
            postgresql.administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert await hold.still_holds()


async def test_a_pooler_that_changes_sessions_is_no_place_for_a_lock(
    on_server: CatalogueSettings, tmp_path: Path
) -> None:
    engine = make_server_engine(on_server)
    with engine.connect() as another:
        async with sole_daemon(on_server, tmp_path) as hold:
            own, hold._lock._connection = hold._lock._connection, another  # type: ignore[attr-defined]  # as it would be
            with pytest.raises(CatalogueError, match="pool whole sessions"):
                await hold.still_holds()
            hold._lock._connection = own  # type: ignore[attr-defined]  # as above
    engine.dispose()


async def test_nobody_is_told_a_password(on_server: CatalogueSettings, tmp_path: Path) -> None:
    settings = CatalogueSettings(url=f"{on_server.url}&password=hunter2".replace("//postgres:", "//postgres:hunter2"))
    async with sole_daemon(settings, tmp_path):
        refusal = await be_refused(settings, tmp_path)
    assert "hunter2" not in refusal
    assert "runs on postgresql+psycopg://postgres" in refusal


async def test_of_a_long_host_name_so_much_is_told_that_the_process_is_told_too(
    on_server: CatalogueSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "näs" * 21)
    async with sole_daemon(on_server, tmp_path):
        assert "(damd run, n?sn?sn?s" in (refusal := await be_refused(on_server, tmp_path))
        assert f", process {os.getpid()})" in refusal


class SlowLock:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked, self.may_answer, self.left = threading.Event(), threading.Event(), threading.Event()

    def take(self) -> None:
        pass

    def still_holds(self) -> bool:
        self.asked.set()
        assert self.may_answer.wait(10)
        return True

    def leave(self) -> None:
        self.left.set()


async def test_who_leaves_does_not_wait_for_a_server_that_does_not_answer_and_leaves_nothing_behind() -> None:
    lock = SlowLock()
    hold = Hold(lock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold.still_holds)
        await anyio.to_thread.run_sync(lock.asked.wait)
        tasks.cancel_scope.cancel()
    await hold.leave()
    assert not lock.left.is_set()
    lock.may_answer.set()
    assert await anyio.to_thread.run_sync(lock.left.wait, 10)


async def test_schemas_of_one_database_are_catalogues_of_their_own(
    server: psycopg.Connection, on_server: CatalogueSettings, tmp_path: Path
) -> None:
    server.execute("CREATE SCHEMA another")
    try:
        another = CatalogueSettings(url=f"{on_server.url}&options=-csearch_path%3Danother")
        async with sole_daemon(on_server, tmp_path), sole_daemon(another, tmp_path):
            await be_refused(another, tmp_path)
            await be_refused(on_server, tmp_path)
    finally:
        server.execute("DROP SCHEMA another")


async def test_the_server_is_asked_to_notice_hosts_that_are_gone_and_to_bear_with_idlers(
    server: psycopg.Connection, on_server: CatalogueSettings, tmp_path: Path
) -> None:
    name = database_of(server)
    server.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '20ms'")
    try:
        async with sole_daemon(on_server, tmp_path) as hold:
            [pid] = sessions(server)
            server.execute("SELECT pg_sleep(0.1)")
            assert await hold.still_holds()
            assert sessions(server) == [pid]
    finally:
        server.execute(f"ALTER DATABASE {name} RESET idle_session_timeout")
