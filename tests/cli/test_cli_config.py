"""``damd config``, and what every command says of a wrong configuration."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run_damd

COMMANDS = [("config", "check"), ("config", "show"), ("run",), ("status",), ("assets", "list"), ("ingest", "a.jpg")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_wrong_configuration_ends_with_78_and_every_fault_with_its_line(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    file = tmp_path / "damd.yaml"
    file.write_text("thumbnails: {size: 3}\nlogging: {level: loud}\n")
    refused = run_damd(*command, "--config", file, "--state", tmp_path / "state")
    assert (refused.code, refused.out) == (78, "")
    first, second = refused.err.splitlines()
    assert first.startswith(f"{file}:1:")
    assert second.startswith(f"{file}:2:")
    assert not (tmp_path / "state").exists()


def test_a_configuration_that_is_not_there_ends_with_78(tmp_path: Path) -> None:
    refused = run_damd("config", "check", "--config", tmp_path / "gone.yaml")
    assert refused.code == 78
    assert str(tmp_path / "gone.yaml") in refused.err


def test_a_good_configuration_is_called_good(tmp_path: Path) -> None:
    assert run_damd("config", "check", "--state", tmp_path / "state") == (0, "", "The configuration is good.\n")


def test_a_wrong_variable_ends_with_78_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAMD__THUMBNAILS__QUALITY", "700")
    refused = run_damd("config", "check", "--state", tmp_path / "state")
    assert refused == (78, "", "$DAMD__THUMBNAILS__QUALITY: must be at most 100\n")


def test_what_the_configuration_names_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "damd.yaml"
    file.write_text(f"watch: [{{path: {tmp_path / 'gone'}}}]\n")
    refused = run_damd("config", "check", "--config", file, "--state", tmp_path / "state")
    assert (refused.code, refused.out) == (78, "")
    assert "does not exist" in refused.err


def test_the_configuration_that_is_shown_is_one(tmp_path: Path) -> None:
    shown = run_damd("config", "show", "--state", tmp_path / "state")
    assert (shown.code, shown.err) == (0, "")
    (tmp_path / "shown.yaml").write_text(shown.out)
    assert run_damd("config", "show", "--config", tmp_path / "shown.yaml") == shown


@pytest.mark.parametrize("url", ["postgresql+psycopg://h:notaport/x", "mysql://h/x", "sqlite"])
def test_a_url_that_is_none_is_told_before_anything_begins(tmp_path: Path, url: str) -> None:
    (tmp_path / "damd.yaml").write_text(f"catalogue: {{url: '{url}'}}")
    checked = run_damd("config", "check", "--config", tmp_path / "damd.yaml", "--state", tmp_path / "state")
    assert checked.code == (0 if url == "sqlite" else 78)
    assert url == "sqlite" or "1:18: catalogue.url: " in checked.err


def test_without_standard_error_damd_works(tmp_path: Path, begun: Path) -> None:
    command = f"{sys.executable} -m damd ingest {tmp_path} --state {begun} --json 2>&-"
    assert subprocess.run(["sh", "-c", command]).returncode == 0
