"""Whether damd's user may read what is in the roots."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from damd.checks import reading
from damd.checks.reading import look_at_reading
from damd.config import Config

pytestmark = pytest.mark.anyio


@pytest.fixture
def root(public: Path) -> Path:
    folder = public / "in"
    (folder / "below").mkdir(parents=True)
    for each in ("a.jpg", "below/b.jpg"):
        (folder / each).touch()
    return folder


def config_of(root: Path, **settings: Any) -> Config:
    return Config.model_validate({"state": root.parent / "state", "watch": [{"path": root, **settings}]})


async def test_where_everything_can_be_read_nothing_is_to_be_done(
    root: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    with unprivileged():
        (finding,) = await look_at_reading(config_of(root))
    assert finding.health == "ok"
    assert finding.says == "What was looked at can be read: 4 files and folders"


async def test_files_and_folders_that_are_closed_are_counted_with_an_example(
    root: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    (root / "secret.jpg").touch(mode=0)
    (root / "closed").mkdir(mode=0)
    with unprivileged():
        (finding,) = await look_at_reading(config_of(root))
        (without,) = await look_at_reading(config_of(root, ignore=["secret.jpg", "closed/"]))
    assert finding.health == "warning"
    assert finding.says.startswith("2 of 6 files and folders cannot be read, such as ")
    assert finding.says.endswith((f"{root}/secret.jpg", f"{root}/closed"))
    assert without.health == "ok"


async def test_a_folder_whose_files_cannot_be_reached_is_one_fault(
    root: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    (root / "below").chmod(0o744)
    with unprivileged():
        (finding,) = await look_at_reading(config_of(root))
    assert finding.says == f"{root}/below cannot be read, 1 of 3 files and folders"
    (root / "below").chmod(0o755)


async def test_no_more_is_looked_at_than_a_sample(
    root: Path, unprivileged: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_MOST_FILES", 2)
    with unprivileged():
        (finding,) = await look_at_reading(config_of(root))
    assert finding.says == "What was looked at can be read: 2 files and folders"


async def test_links_are_not_followed_and_a_root_that_is_gone_is_passed_over(
    root: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    (root / "loop").symlink_to(root)
    (root / "nowhere").symlink_to(root / "none")
    with unprivileged():
        (finding,) = await look_at_reading(config_of(root))
        nothing = await look_at_reading(config_of(root / "gone"))
    assert finding.says == "What was looked at can be read: 6 files and folders"
    assert nothing == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read everything")
async def test_root_is_told_to_ask_as_another(root: Path) -> None:
    (finding,) = await look_at_reading(config_of(root))
    assert "ask as damd's user" in finding.says


async def test_a_root_that_is_closed_itself_is_left_to_the_check_of_the_roots(
    root: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    await anyio.Path(root).chmod(0)
    with unprivileged():
        assert await look_at_reading(config_of(root)) == []
