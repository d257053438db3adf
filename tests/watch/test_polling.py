from pathlib import Path

import anyio
import pytest

from damd.watch.base import RootSettings
from damd.watch.polling import PollingWatcher

pytestmark = pytest.mark.anyio


async def test_nothing_of_a_root_that_is_polled_is_watched_and_nothing_is_ever_heard(tmp_path: Path) -> None:
    async with PollingWatcher(RootSettings(path=tmp_path)) as watcher:
        assert watcher.unwatched == {bytes(tmp_path)}
        (tmp_path / "a").touch()
        with anyio.move_on_after(0.01) as scope:
            await watcher.next_batch()
        assert scope.cancelled_caught
