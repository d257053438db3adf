"""What the relay's tests ask for."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from relay.scene import Clock, WatchedCatalogue
from sqlalchemy import Engine
from subscribers.receiver import Receiver

from damd.catalogue.engine import CatalogueSettings, make_engine
from damd.relay import outcomes


@pytest.fixture
def engine(tmp_path: Path, migrated: Path) -> Iterator[Engine]:
    shutil.copytree(migrated, tmp_path, dirs_exist_ok=True)
    engine = make_engine(CatalogueSettings(), tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def catalogue(engine: Engine) -> WatchedCatalogue:
    return WatchedCatalogue(engine)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outcomes are written as they come, since the clock of these tests stands still meanwhile."""
    monkeypatch.setattr(outcomes, "GATHERED", 1)
