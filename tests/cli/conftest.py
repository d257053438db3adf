"""What every test of the command line may ask for."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Start


@pytest.fixture
def start() -> Iterator[Start]:
    """Start ``python -m damd ARGUMENTS`` as a process, with what is added to its environment."""
    processes: list[subprocess.Popen[bytes]] = []

    def start_one(*arguments: object, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "damd", *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, env=os.environ | environment, start_new_session=True
        )
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        if process.poll() is None:
            process.kill()
        with process:
            pass


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def begun(state: Path, migrated: Path) -> Path:
    """The same with an empty catalogue in it, which is opened sooner than one is made."""
    return Path(shutil.copytree(migrated, state))
