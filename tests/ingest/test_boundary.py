"""Whatever is raised beneath the command comes back as one FAILED, and the file is tried again."""

from pathlib import Path

import anyio
import pytest
from bench import Bench, open_bench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import make_picture
from sqlalchemy import Connection, Engine, event
from structlog.testing import capture_logs

from damd.errors import BrokenFileError, FileChangedError, UnsupportedTypeError

pytestmark = pytest.mark.anyio


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class RudeError(BrokenFileError):
    def __str__(self) -> str:
        return "it says\0\nnothing \udcff" + " at length" * 1000


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a"),
        ValueError("a path of no UTF-8, b'\udce9.jpg', and a NUL, \0"),
        UnspeakableError(),
        RudeError(),
        ExceptionGroup("several", [ValueError("one"), FileChangedError()]),
        RecursionError(),
        MemoryError(),
        StopAsyncIteration(),
        anyio.ClosedResourceError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "it is no text"),
        OSError("without a number"),
        OSError(99999, "an odd number"),
        UnsupportedTypeError("a plugin's word"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_handler_raises_becomes_one_row(bench: Bench, error: Exception) -> None:
    path = bench.picture("a.jpg")

    def fail(command: object) -> None:
        raise error

    bench.after_hashing = fail
    with capture_logs():
        result = await bench.ingest(path)
    row = await bench.failure(path)
    assert row is not None
    assert (result.status, result.reason) == ("FAILED", row.reason)
    assert 0 < len(row.reason) < 700
    assert row.reason.isprintable()
    assert row.permanent == isinstance(error, RudeError | UnsupportedTypeError)
    assert row.next_attempt_at == result.retry_at


ANY_TEXT = st.text(st.sampled_from("a \0\n\x1b\x7fé\u2028\u202e\udc80\udce9\U0001f4f7"), max_size=40)


@given(text=ANY_TEXT)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_text_of_an_error_can_be_kept(bench: Bench, text: str) -> None:
    path = bench.folder / "a.txt"
    path.write_text(text, "utf-8", "surrogatepass")

    def fail(command: object) -> None:
        raise RuntimeError(text)

    bench.after_hashing = fail
    with capture_logs():
        result = await bench.ingest(path)
    row = await bench.failure(path)
    assert row is not None
    assert row.reason == result.reason
    assert row.reason.startswith("Unexpected RuntimeError")


async def test_an_unexpected_error_is_logged_with_its_path(bench: Bench) -> None:
    path = bench.picture("a.jpg")

    def fail(command: object) -> None:
        raise ZeroDivisionError("odd")

    bench.after_hashing = fail
    with capture_logs() as logs:
        result = await bench.ingest(path)
    assert result.reason == "Unexpected ZeroDivisionError: odd"
    (line,) = logs
    assert (line["log_level"], line["path"], type(line["exc_info"])) == ("error", str(path), ZeroDivisionError)


async def test_a_file_that_vanishes_while_it_is_read_leaves_no_row(bench: Bench) -> None:
    for place in ("after_hashing", "before_reading"):
        path = bench.picture("a.jpg")
        bench.reset()
        setattr(bench, place, lambda command: command.file_path.unlink())
        result = await bench.ingest(path)
        assert (result.status, result.reason) == ("FAILED", "Cannot be read: No such file or directory")
        assert result.retry_at is None
        assert await bench.known(path) == (None, None)


async def test_a_place_for_previews_that_cannot_be_written_is_not_blamed_on_the_file(bench: Bench) -> None:
    path = bench.picture("a.jpg")
    blocked = []

    def block(command: object) -> None:
        folder = bench.thumbnails.path(bench.hashed[-1].file_hash, 512).parent
        folder.parent.mkdir(exist_ok=True)
        folder.touch()
        blocked.append(folder)

    bench.before_reading = block
    result = await bench.ingest(path)
    blocked[0].unlink()
    assert result.status == "FAILED"
    assert result.reason == f"File exists: {blocked[0]}"
    assert result.retry_at is not None


def take_nothing(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA query_only = ON")


def take_everything(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA query_only = OFF")


async def test_a_catalogue_that_takes_nothing_fails_the_file_and_takes_it_later(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        path = bench.shelf / "a.txt"
        path.write_text("patience")
        engine: Engine = bench.catalogue.engine
        event.listen(engine, "begin", take_nothing)
        with capture_logs() as logs:
            result = await bench.ingest(path)
        assert (result.status, result.is_news) == ("FAILED", True)
        assert result.reason == "The catalogue cannot be used now: attempt to write a readonly database"
        assert result.retry_at is not None
        assert result.catalogue_failed
        assert logs == []  # whoever asked tells it, once for all files
        event.remove(engine, "begin", take_nothing)
        event.listen(engine, "begin", take_everything)
        assert await bench.known(path) == (None, None)
        assert (await bench.ingest(path)).status == "SUCCESS"
        await bench.check()


async def test_a_catalogue_that_is_damaged_fails_the_file_and_raises_nothing(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        path = bench.shelf / "a.txt"
        path.write_text("noise")
        engine: Engine = bench.catalogue.engine
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        file = tmp_path / "state" / "catalogue.sqlite3"
        with file.open("r+b") as database:
            database.seek(4096)
            database.write(b"\xa5" * (file.stat().st_size - 4096))
        result = await bench.ingest(path)
        assert result.status == "FAILED"
        assert result.retry_at is not None
        assert "malformed" in (result.reason or "")
        assert result.catalogue_failed


async def test_a_failure_that_cannot_be_noted_for_its_own_sake_stops_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choke(*_: object, **__: object) -> None:
        raise ValueError("not this one")

    monkeypatch.setattr("damd.ingest.failures.record_failure", choke)
    async with open_bench(tmp_path) as bench:
        path = make_picture(bench.shelf / "a.jpg")
        path.write_bytes(path.read_bytes()[:300])
        with capture_logs() as logs:
            result = await bench.ingest(path)
        assert (result.status, result.catalogue_failed) == ("FAILED", False)
        assert result.retry_at is not None
        assert [line["event"] for line in logs] == ["a failure could not be noted"]
        assert (await bench.ingest(make_picture(bench.shelf / "b.jpg"))).status == "SUCCESS"
