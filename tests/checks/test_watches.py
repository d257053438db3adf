"""The number of folders against the kernel's limits."""

import sys
from pathlib import Path
from typing import Any

import pytest

from damd.checks import watches
from damd.checks.findings import Finding
from damd.checks.watches import look_at_watches
from damd.config import Config

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's"),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Eleven folders, of which one is ignored by default and one is damd's own."""
    folder = tmp_path / "in"
    for number in range(8):
        (folder / f"{number}" / "").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / "state").mkdir()
    return folder


async def look(root: Path, *, most: int = 1000, instances: int = 128, **settings: Any) -> list[Finding]:
    limits = root.parent / "limits"
    limits.mkdir(exist_ok=True)
    (limits / "max_user_watches").write_text(f"{most}\n")
    (limits / "max_user_instances").write_text(f"{instances}\n")
    values = {"state": root.parent / "state", "watch": [{"path": root, **settings}]}
    return await look_at_watches(Config.model_validate(values), limits=limits)


async def test_folders_that_are_watched_are_counted(root: Path) -> None:
    (finding,) = await look(root)
    assert finding.health == "ok"
    assert finding.says.startswith("The kernel is to watch 10 folders, of 1000 for each user")


async def test_what_is_ignored_or_polled_needs_no_watch(root: Path) -> None:
    (ignoring,) = await look(root, ignore=["/state/", "[0-3]/"])
    (polled,) = await look(root, backend="polling")
    (flat,) = await look(root, recursive=False)
    assert " 5 folders," in ignoring.says
    assert " 0 folders," in polled.says
    assert " 1 folder," in flat.says


async def test_too_many_folders_are_a_warning_with_the_line_for_sysctl(root: Path) -> None:
    (finding,) = await look(root, most=10)
    assert finding.health == "warning"
    advice = finding.advice or ""
    assert "fs.inotify.max_user_watches=524288" in advice
    assert "/etc/sysctl.d/90-damd.conf" in advice


async def test_a_tree_that_takes_too_long_is_counted_so_far(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "_MOST_S", -1.0)
    (finding,) = await look(root)
    assert "at least 0 folders" in finding.says


async def test_too_few_instances_are_a_warning(root: Path) -> None:
    _, instances = await look(root, instances=8)
    assert instances.health == "warning"
    assert "fs.inotify.max_user_instances=512" in (instances.advice or "")


async def test_limits_that_the_system_hides_are_no_fault(root: Path) -> None:
    config = Config.model_validate({"state": root.parent / "state", "watch": [{"path": root}]})
    (finding,) = await look_at_watches(config, limits=root / "none")
    assert finding.health == "ok"
    assert "does not tell" in finding.says


async def test_without_roots_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert await look_at_watches(Config(state=tmp_path)) == []
