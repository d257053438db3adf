"""What a newcomer meets first: help, version, and the exit codes of what was not understood."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from command_line import run_damd

from damd import __version__
from damd.cli.application import application

HEAVY = {
    "alembic",
    "anyio",
    "httpcore",
    "numpy",
    "PIL",
    "pydantic",
    "rich",
    "sqlalchemy",
    "structlog",
    "watchdog",
    "yaml",
}


def _commands(command: Any, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from _commands(below, *path, name)


COMMANDS = list(_commands(typer.main.get_command(application)))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_each_of_its_options(command: tuple[str, ...]) -> None:
    helped = run_damd(*command, "--help")
    assert (helped.code, helped.err) == (0, "")
    assert helped.out.startswith(f"Usage: damd {' '.join(command)}".rstrip())
    assert "..." not in helped.out.split("\n", 1)[1], "a summary is too long for its line"
    node: Any = typer.main.get_command(application)
    for name in command:
        node = node.commands[name]
    assert node.help
    assert all(parameter.help for parameter in node.params)
    assert run_damd(*command, "-h") == helped


def test_the_version_is_told() -> None:
    assert run_damd("--version") == (0, f"damd {__version__}\n", "")


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_nothing_heavy_is_imported_to_answer_at_once(option: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "damd", option]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.splitlines()}
    assert "typer" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize(
    "arguments",
    [("dance",), ("ingest",), ("run", "--nonsense"), ("assets", "show"), (), ("assets",)],
    ids=" ".join,
)
def test_what_is_not_understood_ends_with_2_and_says_so_on_standard_error(arguments: tuple[str, ...]) -> None:
    refused = run_damd(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert "Usage: damd" in refused.err
