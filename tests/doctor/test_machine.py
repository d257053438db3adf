"""The clock, names, temporary files and leases."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from damd.config import Config
from damd.doctor.clock import look_at_clock
from damd.doctor.leases import look_at_leases
from damd.doctor.names import judged
from damd.doctor.temporary import look_at_temporary

pytestmark = pytest.mark.anyio


@pytest.fixture
def written(tmp_path: Path) -> Config:
    """A catalogue that was written in the middle of 2026."""
    (tmp_path / "catalogue.sqlite3").touch()
    moment = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    os.utime(tmp_path / "catalogue.sqlite3", (moment, moment))
    return Config(state=tmp_path)


@pytest.mark.parametrize(
    ("moment", "health"),
    [
        (datetime(2026, 6, 1, tzinfo=UTC), "ok"),
        (datetime(2026, 6, 1, tzinfo=UTC) - timedelta(hours=1), "warning"),
        (datetime(1970, 1, 1, tzinfo=UTC), "problem"),
    ],
)
async def test_a_clock_is_not_behind_what_was_written(written: Config, moment: datetime, health: str) -> None:
    (finding,) = await look_at_clock(written, now=lambda: moment)
    assert (finding.check, finding.health) == ("clock", health)
    assert bool(finding.advice) is (health != "ok")


def test_names_are_utf8() -> None:
    assert judged("utf-8").health == "ok"
    assert judged("iso8859-1").health == "warning"


async def test_a_folder_that_tmpdir_names_and_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    (finding,) = await look_at_temporary(Config())
    assert finding.health == "warning"
    assert "does not exist" in finding.says
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (finding,) = await look_at_temporary(Config())
    assert finding.health == "ok"
    assert finding.says.startswith(f"{tmp_path} has ")


@pytest.mark.parametrize(
    ("mask", "whose"), [("000001ffffffffff", "files of every user"), ("0000000000000000", "this user's own files")]
)
async def test_leases_are_information(tmp_path: Path, mask: str, whose: str) -> None:
    await anyio.Path(tmp_path / "status").write_text(f"Name:\tdamd\nCapPrm:\t{mask}\nCapEff:\t{mask}\n")
    (finding,) = await look_at_leases(Config(), status=tmp_path / "status")
    assert finding.health == "ok"
    assert whose in finding.says
    assert await look_at_leases(Config(), status=tmp_path / "none") == []
