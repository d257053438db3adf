"""Whether each root is there, and is watched as its disk asks for."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from damd import patience
from damd.checks import roots
from damd.checks.roots import look_at_roots
from damd.config import Config

pytestmark = pytest.mark.anyio


def config_of(folder: Path, *watch: dict[str, Any]) -> Config:
    return Config.model_validate({"state": folder / "state", "watch": watch})


async def test_a_root_that_is_there_says_how_it_is_watched(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    config = config_of(tmp_path, {"path": tmp_path / "a"}, {"path": tmp_path / "b", "backend": "polling"})
    a, b = await look_at_roots(config)
    assert (a.check, a.health, b.health) == ("root a", "ok", "ok")
    assert a.says.endswith("is watched by the kernel's events")
    assert b.says.endswith("is watched by polling")


async def test_one_that_is_missing_is_a_problem_and_the_others_are_told(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    gone, there = await look_at_roots(config_of(tmp_path, {"path": tmp_path / "gone"}, {"path": tmp_path / "b"}))
    assert (gone.health, there.health) == ("problem", "ok")
    assert gone.says == f"The root gone ({tmp_path}/gone) does not exist"
    assert "mount its disk" in (gone.advice or "")


async def test_one_that_is_closed_is_a_problem(
    public: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    (public / "closed").mkdir()
    (public / "closed").chmod(0o311)
    with unprivileged():
        (finding,) = await look_at_roots(config_of(public, {"path": public / "closed"}))
    assert finding.health == "problem"
    assert "is closed to damd" in finding.says


async def test_the_kernel_sees_little_of_a_network_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "is_network_mount", lambda _: True)  # no test can mount one
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    config = config_of(tmp_path, {"path": tmp_path / "a", "backend": "native"}, {"path": tmp_path / "b"})
    forced, free = await look_at_roots(config)
    assert (forced.health, free.health) == ("warning", "ok")
    assert "backend: auto" in (forced.advice or "")
    assert free.says.endswith("is watched by polling")


async def test_a_disk_that_does_not_answer_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_ANSWER_S", 0)
    (finding,) = await look_at_roots(config_of(tmp_path, {"path": tmp_path / "a"}))
    assert finding.health == "problem"
    assert "does not answer" in finding.says
