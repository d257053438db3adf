"""The manual of the command line says what the commands are, and is the same wherever it is made."""

import os
import subprocess
import sys
from pathlib import Path

from damd.cli.manual import manual

MANUAL = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_manual_is_what_the_commands_say() -> None:
    assert MANUAL.read_text() == manual(), "a command was changed: renew its manual with `make docs`"


def test_the_manual_is_the_same_on_every_terminal_and_in_every_home(tmp_path: Path) -> None:
    elsewhere = {"COLUMNS": "40", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", "FORCE_COLOR": "1", "TERM": "dumb"}
    elsewhere |= {"XDG_DATA_HOME": str(tmp_path), "STATE_DIRECTORY": str(tmp_path), "SHELL": "/bin/fish"}
    command = [sys.executable, "-m", "damd.cli.manual"]
    made = subprocess.run(command, env=os.environ | elsewhere, capture_output=True, text=True, check=True, timeout=30)
    assert made.stdout == manual()
    assert made.stderr == ""


def test_the_manual_tells_of_arguments_options_defaults_and_exit_codes() -> None:
    lines = manual().splitlines()
    assert "damd wait [OPTIONS] [ROOT]" in lines
    assert "- `ROOT`: A root's name; all roots, if none is named." in lines
    assert "- `-n, --lines N`: How many past events first. [default: 10; 0\\<=x\\<=1000000]" in lines
    assert "- `--config`, `--state`, `--json`: as most commands" in lines
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:] == [
        *("0", "1", "2", "3", "69", "78", "130")
    ]
