"""The program ``damd`` within this process, which is quicker than a real one where that is enough."""

import functools
import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import typer.main

import damd.cli

STRANGE = b"\x1b[2J\r\n\xe2\x80\xae\xff.png"
"""A name that clears the screen, begins a line, turns the writing's direction and is no text."""


class Outcome(NamedTuple):
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


_get_command = functools.cache(typer.main.get_command)
"""Typer makes all the commands anew for each call, of which a process has only one."""


def run_damd(*arguments: object) -> Outcome:
    """``damd ARGUMENTS`` within this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(typer.main, "get_command", _get_command),
        patch.object(sys, "argv", ["damd", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        damd.cli.main()
    return Outcome(int(ended.value.code or 0), out.getvalue(), err.getvalue())


Start = Callable[..., subprocess.Popen[bytes]]
"""The type of the fixture ``start``, for what only a real process shows."""
