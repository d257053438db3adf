"""Whether the catalogue opens, without opening it; servers are tried beside `damd.catalogue.glimpse`."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import anyio
import pytest

from damd.catalogue.engine import CatalogueSettings
from damd.checks.catalogue import look_at_catalogue
from damd.config import Config

pytestmark = pytest.mark.anyio


@pytest.fixture
def file(tmp_path: Path, migrated: Path) -> Path:
    shutil.copy(migrated / "catalogue.sqlite3", tmp_path)
    return tmp_path / "catalogue.sqlite3"


def set_revision(file: Path, revision: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        connection.commit()


async def test_none_is_no_fault_and_is_not_begun(tmp_path: Path) -> None:
    (finding,) = await look_at_catalogue(Config(state=tmp_path / "state"))
    assert (finding.check, finding.health) == ("catalogue", "ok")
    assert "begins one" in finding.says
    assert not (tmp_path / "state").exists()


async def test_one_of_this_version_opens_and_nothing_is_left_beside_it(file: Path) -> None:
    before = sorted(file.parent.iterdir())
    (finding,) = await look_at_catalogue(Config(state=file.parent))
    assert finding.says == f"It opens, and is of this version ({file})"
    assert sorted(file.parent.iterdir()) == before


async def test_what_is_yet_in_the_log_of_a_database_that_is_open_counts(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        assert file.with_name(f"{file.name}-wal").stat().st_size
        (finding,) = await look_at_catalogue(Config(state=file.parent))
    assert "by a newer damd (schema 9999)" in finding.says


async def test_an_older_one_will_be_brought_up_to_date(file: Path) -> None:
    set_revision(file, "0001")
    (finding,) = await look_at_catalogue(Config(state=file.parent))
    assert finding.health == "ok"
    assert "is brought up to date" in finding.says


async def test_one_that_is_too_new_is_a_problem(file: Path) -> None:
    set_revision(file, "9999")
    (finding,) = await look_at_catalogue(Config(state=file.parent))
    assert finding.health == "problem"
    assert "by a newer damd (schema 9999)" in finding.says


async def test_one_that_is_damaged_is_a_problem(tmp_path: Path) -> None:
    await anyio.Path(tmp_path / "catalogue.sqlite3").write_bytes(b"no database at all, and quite long" * 200)
    (finding,) = await look_at_catalogue(Config(state=tmp_path))
    assert finding.health == "problem"
    assert "file is not a database" in finding.says
    assert "backup" in (finding.advice or "")


async def test_one_in_a_folder_that_is_closed_cannot_be_seen(
    public: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    await anyio.Path(public / "state").mkdir(mode=0)
    with unprivileged():
        (finding,) = await look_at_catalogue(Config(state=public / "state"))
    assert finding.health == "problem"
    assert finding.says.endswith("/state/catalogue.sqlite3 is closed to this user")


async def test_a_server_that_does_not_answer_is_a_problem_and_its_password_is_nobodys_business(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="needs damd[postgresql]")
    url = "postgresql+psycopg://damd:swordfish@127.0.0.1:1/damd"
    (finding,) = await look_at_catalogue(Config(state=tmp_path, catalogue=CatalogueSettings(url=url)))
    assert finding.health == "problem"
    assert "onnection refused" in finding.says
    assert "swordfish" not in f"{finding}"
