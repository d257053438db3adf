"""What the checks are tried on: folders that are closed to somebody."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

Unprivileged = Callable[[], AbstractContextManager[None]]


@contextmanager
def _unprivileged() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def unprivileged() -> Unprivileged:
    """Root may do anything, so nobody does it instead, in all threads, while this is entered."""
    return _unprivileged


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that whoever runs unprivileged may reach, unlike pytest's own."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        for each in folder.iterdir():
            each.chmod(0o700)
