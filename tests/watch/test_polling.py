from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from damd.watch.base import RootSettings
from damd.watch.polling import PollingWatcher

pytestmark = pytest.mark.anyio


async def test_the_root_is_marked_again_and_again(tmp_path: Path) -> None:
    with anyio.fail_after(5):
        async with PollingWatcher(RootSettings(path=tmp_path), interval_s=0.001) as watcher:
            for _ in range(3):
                [sighting] = await watcher.next_batch()
                assert (sighting.path, sighting.is_mark) == (bytes(tmp_path), True)


async def test_nothing_is_marked_before_the_interval_is_over(tmp_path: Path) -> None:
    async with PollingWatcher(RootSettings(path=tmp_path), interval_s=3600) as watcher:
        with anyio.move_on_after(0.01) as scope:
            await watcher.next_batch()
        assert scope.cancelled_caught


@pytest.mark.parametrize(("rescan_s", "interval_s"), [(900, 60), (60, 60), (10, 10)])
def test_polling_is_as_frequent_as_rescans_and_at_least_every_minute(
    tmp_path: Path, rescan_s: float, interval_s: float
) -> None:
    root = RootSettings(path=tmp_path, rescan=timedelta(seconds=rescan_s))
    assert PollingWatcher(root).interval_s == interval_s
