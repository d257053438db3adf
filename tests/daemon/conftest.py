"""What the tests of the daemon's parts may ask for."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def state(tmp_path: Path, migrated: Path) -> Path:
    """With an empty catalogue, which a daemon opens sooner than it makes one."""
    return Path(shutil.copytree(migrated, tmp_path / "state"))
