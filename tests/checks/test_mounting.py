"""What fstab names and nobody has mounted."""

from pathlib import Path

import pytest

from damd.checks.mounting import look_at_mounting
from damd.config import Config

pytestmark = pytest.mark.anyio


async def told(folder: Path, *lines: str) -> list[str]:
    (folder / "fstab").write_text("\n".join(["# comment", "", "UUID=1 / ext4 defaults 0 1", *lines]))
    config = Config.model_validate({"state": folder / "state", "watch": [{"path": folder / "disk" / "in"}]})
    return [finding.says for finding in await look_at_mounting(config, fstab=folder / "fstab")]


async def test_an_empty_mount_point_above_or_below_a_root_is_told(tmp_path: Path) -> None:
    above, below, root = f"{tmp_path}/disk", f"{tmp_path}/disk/in/a\\040b", f"{tmp_path}/disk/in"
    assert await told(tmp_path, f"UUID=2 {above} ext4 defaults 0 2", f"host:/x {below} nfs nofail 0 0") == [
        f"{tmp_path}/fstab names {above}, where {root} lies, and nothing is mounted there",
        f"{tmp_path}/fstab names {root}/a b, which lies in {root}, and nothing is mounted there",
    ]


async def test_others_and_those_that_nobody_mounts_by_itself_are_not(tmp_path: Path) -> None:
    lines = [f"UUID=2 {tmp_path}/other ext4 defaults 0 2", f"UUID=2 {tmp_path}/disk ext4 noauto 0 2", "none swap", "x"]
    assert await told(tmp_path, *lines) == []


async def test_a_table_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    config = Config.model_validate({"state": tmp_path / "state", "watch": [{"path": tmp_path / "in"}]})
    assert await look_at_mounting(config, fstab=tmp_path / "none") == []
