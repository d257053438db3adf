"""``damd systemd``: what it prints is tested in tests/test_units.py; here, how it is asked."""

import re
import sys
from itertools import takewhile
from pathlib import Path

import pytest
from command_line import Start, run_damd

from damd.units import service

PROJECT = Path(__file__).parent.parent.parent


def start_of(unit: str) -> str:
    [line] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    return line.removeprefix("ExecStart=")


def test_the_unit_starts_the_damd_that_prints_it() -> None:
    outcome = run_damd("systemd", "unit")
    program = Path(start_of(outcome.out).split()[0])

    assert (outcome.code, outcome.err) == (0, "")
    assert program.parent == Path(sys.executable).parent
    assert start_of(outcome.out).endswith(" run --config /etc/damd/damd.yaml")


def test_without_a_script_the_interpreter_starts_damd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))

    assert service.installed_program() == (sys.executable, "-m", "damd")


def test_the_unit_names_the_configuration_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    for scope in ([], ["--user"]):
        unit = run_damd("systemd", "unit", *scope, "--config", "here/../damd.yaml").out
        assert start_of(unit).endswith(f" --config {tmp_path}/damd.yaml")
        assert f" reload --config {tmp_path}/damd.yaml\n" in unit


def test_a_users_unit_has_a_users_configuration() -> None:
    assert start_of(run_damd("systemd", "unit", "--user").out).endswith(" --config %E/damd/damd.yaml")


def test_the_template_goes_with_nothing_else() -> None:
    assert start_of(run_damd("systemd", "unit", "--template").out).endswith(" --config /etc/damd/%i.yaml")
    for other in (["--user"], ["--config", "damd.yaml"]):
        refused = run_damd("systemd", "unit", "--template", *other)
        assert (refused.code, refused.out) == (2, "")
        assert "--template" in refused.err


def test_the_dropin_is_of_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "damd.yaml"
    config.write_text('watch: [{path: "/srv/größe 100%"}]\n', "utf-8")
    outcome = run_damd("systemd", "dropin", "--config", config)

    assert (outcome.code, outcome.err) == (0, "")
    assert 'ReadOnlyPaths="-/srv/größe 100%%"\n' in outcome.out


def test_a_dropin_is_not_made_of_a_wrong_configuration(tmp_path: Path) -> None:
    config = tmp_path / "damd.yaml"
    config.write_text("wach: []\n")
    outcome = run_damd("systemd", "dropin", "--config", config)

    assert (outcome.code, outcome.out) == (78, "")
    assert "damd.yaml:1:1: wach" in outcome.err


def test_what_goes_to_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    config, output = tmp_path / "damd.yaml", tmp_path / "folders.conf"
    config.write_text("watch: [{path: /srv/photos}]\n")
    for command in (["dropin", "--config", config], ["unit"]):
        printed = run_damd("systemd", *command).out
        written = run_damd("systemd", *command, "--output", output)
        assert (written.code, written.out, written.err) == (0, "", "")
        assert output.read_text() == printed
        assert output.stat().st_mode & 0o777 == 0o644
    config.write_text("wach: []\n")
    assert run_damd("systemd", "dropin", "--config", config, "--output", output).code == 78
    assert output.read_text() == printed
    assert sorted(each.name for each in tmp_path.iterdir()) == ["damd.yaml", "folders.conf"]


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    refused = run_damd("systemd", "unit", "--output", tmp_path / "none" / "damd.service")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == f"damd: {tmp_path}/none/damd.service cannot be written: No such file or directory\n"


@pytest.mark.parametrize(("snippet", "begins"), [("sysusers", "u damd"), ("tmpfiles", "d /etc/damd")])
def test_the_snippets_are_there_without_a_checkout(snippet: str, begins: str) -> None:
    outcome = run_damd("systemd", snippet)

    assert outcome.code == 0
    assert any(line.startswith(begins) for line in outcome.out.splitlines())


def test_what_is_printed_is_utf_8_whatever_the_terminal_knows(tmp_path: Path, start: Start) -> None:
    config = tmp_path / "damd.yaml"
    config.write_text("watch: [{path: /srv/größe}]\n", "utf-8")
    process = start("systemd", "dropin", "--config", config, PYTHONIOENCODING="latin-1")

    assert "ReadOnlyPaths=-/srv/größe\n".encode() in process.communicate()[0]


def test_the_guide_to_the_service_names_only_what_there_is() -> None:
    blocks = re.findall(r"```(?:ba)?sh\n(.*?)```", (PROJECT / "docs" / "service.md").read_text(), re.DOTALL)
    asked = set(re.findall(r"(?:^|-- )(damd [^|>\n]+)", "\n".join(blocks), re.MULTILINE))
    commands: dict[str, set[str]] = {}
    for line in asked - {"damd --version"}:
        words = line.split()
        names = list(takewhile(re.compile(r"[a-z]+").fullmatch, words[1:]))
        commands.setdefault(" ".join(names), set()).update(word for word in words if word.startswith("--"))

    assert len(commands) > 10
    for command, options in commands.items():
        helped = run_damd(*command.split(), "--help")
        assert helped.code == 0, command
        assert options <= set(re.findall(r"--[a-z]+", helped.out)), command
