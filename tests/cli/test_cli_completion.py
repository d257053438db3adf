"""What a shell offers for an unfinished command: as the scripts of ``damd completion`` ask, and in a real bash."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from command_line import run_damd

from damd.config import load_config

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """With roots that have a name and roots that have none, and with two endpoints."""
    file = tmp_path / "my damd.yaml"
    folders = [{"path": f"{tmp_path}/studio"}, {"path": f"{tmp_path}/in box/x/.."}, {"path": "/n", "name": "nas"}]
    webhook = {"kind": "webhook", "name": "gallery", "url": "https://gallery.example/", "secret": {"env": "SECRET"}}
    command = {"kind": "command", "name": "archive", "command": ["/bin/true"]}
    file.write_text(json.dumps({"watch": folders, "subscribers": [{"kind": "log"}, webhook, command]}))
    return file


ASKING = {"_DAMD_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}


def asked(line: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Asked in a process of its own, as the scripts ask."""
    command = [sys.executable, *options, "-c", "import sys; sys.argv[0] = 'damd'; import damd.cli; damd.cli.main()"]
    environment = os.environ | ASKING | {"_TYPER_COMPLETE_ARGS": line}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def offered(line: str) -> list[str]:
    """Asked within this process, which is quicker."""
    with patch.dict(os.environ, ASKING | {"_TYPER_COMPLETE_ARGS": line}):
        done = run_damd()
    assert (done.code, done.err) == (0, ""), "whatever is wrong, a person is typing"
    return [each.partition("\t")[0] for each in done.out.split("\n") if each]


def test_commands_and_options_are_offered() -> None:
    assert offered("damd s") == ["status", "scan", "systemd"]
    assert offered("damd webhooks ") == ["list", "test", "disable", "enable"]
    assert offered("damd wait --t") == ["--timeout"]


def test_names_of_roots_are_offered_from_the_configuration_that_is_named(config: Path) -> None:
    names = list(load_config(config).roots)
    assert names == ["studio", "in-box", "nas"]
    assert offered(f"damd scan --config '{config}' ") == names
    assert offered(f"damd wait --config='{config}' n") == ["nas"]
    assert offered(f"damd roots accept -c '{config}' ") == names


def test_names_of_endpoints_are_offered_from_the_configuration_that_is_named(config: Path) -> None:
    names = list(load_config(config).endpoints)
    assert names == ["gallery", "archive"]
    for command in ("webhooks test", "webhooks enable", "webhooks disable"):
        assert offered(f"damd {command} -c '{config}' ") == names
    assert offered(f"damd events list -c '{config}' --endpoint g") == ["gallery"]


def test_files_are_left_to_the_shell(config: Path) -> None:
    assert offered("damd ingest ") == []
    assert offered("damd scan --config ") == []
    assert offered(f"damd run -c '{config}' --watch ") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "watch: 3",
        "watch: [3, null]",
        "watch: [{path: 7}]",
        "watch: [{}]",
        "{",
        "watch: !!python/name:os.x",
        "\0",
    ],
)
def test_a_configuration_that_is_wrong_offers_nothing_in_silence(text: str, tmp_path: Path) -> None:
    (tmp_path / "damd.yaml").write_text(text)
    assert offered(f"damd scan -c {tmp_path}/damd.yaml ") == []
    assert offered(f"damd scan -c {tmp_path} ") == offered(f"damd scan -c {tmp_path}/none ") == []


def test_an_answer_waits_for_nothing_heavy(config: Path) -> None:
    told = asked(f"damd scan -c '{config}' ", "-X", "importtime")
    assert (told.returncode, told.stdout.split()) == (0, ["studio", "in-box", "nas"])
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.stderr.splitlines()}
    assert "yaml" in imported
    assert imported & {"anyio", "httpcore", "sqlalchemy", "structlog"} == set()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_printed_for_each_shell_and_is_one_for_it(shell: str, tmp_path: Path) -> None:
    printed = run_damd("completion", shell)
    assert (printed.code, printed.err) == (0, "")
    if shell == "zsh":
        assert printed.out.startswith("#compdef damd\n"), "compinit looks at the first line"
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(printed.out)
        checked = subprocess.run([program, "-n", tmp_path / "script"], capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_another_shell_is_told_which_there_are() -> None:
    refused = run_damd("completion", "tcsh")
    assert (refused.code, refused.out) == (2, "")
    assert all(shell in refused.err for shell in SHELLS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_offers_what_damd_answers(config: Path, tmp_path: Path) -> None:
    program = tmp_path / "damd"
    program.write_text(f"#!{sys.executable}\nimport damd.cli\ndamd.cli.main()\n")
    program.chmod(0o755)
    (tmp_path / "script").write_text(run_damd("completion", "bash").out)
    script = f"""
        set -u
        source {tmp_path}/script
        try() {{
            COMP_LINE="$1" COMP_POINT="${{#1}}"
            _damd_completion {program}
            echo "${{#COMPREPLY[@]}}: ${{COMPREPLY[*]-}}"
        }}
        try "damd pau"
        try "damd scan --config='{config}' "
        try "damd webhooks test -c '{config}' g"
        try "damd ingest "
        complete -p damd
    """
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "1: pause",
        "3: studio in-box nas",
        "1: gallery",
        "0: ",
        "complete -o default -F _damd_completion damd",
    ]
