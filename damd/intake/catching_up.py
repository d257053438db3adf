"""Somebody waits until certain paths have come to their end. Pure but for its event: others tell what happens."""

from __future__ import annotations

from collections.abc import Iterable

import anyio


class CatchUp:
    """The paths that have not come to their end since it began.

    Args:
        paths: Each must come to its end once.
        twice: Each must do so twice: it was sighted after its present round had begun.
    """

    def __init__(self, paths: Iterable[bytes], *, twice: Iterable[bytes]) -> None:
        self._rounds = dict.fromkeys(paths, 1) | dict.fromkeys(twice, 2)
        self._done = anyio.Event()

    @property
    def paths(self) -> list[bytes]:
        """Those that are waited for."""
        return list(self._rounds)

    def note_end(self, path: bytes) -> None:
        """A path has come to its end; one that is not waited for is fine."""
        if path in self._rounds:
            self._rounds[path] -= 1
            if not self._rounds[path]:
                self.drop(path)

    def note_return(self, path: bytes) -> None:
        """It begins another round without having ended this one, which makes up for what was sighted meanwhile."""
        self.once(path)

    def once(self, path: bytes) -> None:
        """Its end is awaited once, if at all, since there is no second round."""
        if path in self._rounds:
            self._rounds[path] = 1

    def drop(self, path: bytes) -> None:
        """Wait for it no longer."""
        self._rounds.pop(path, None)
        if not self._rounds:
            self._done.set()

    async def wait(self, timeout_s: float) -> None:
        """Until nothing is waited for, or the time is over."""
        with anyio.move_on_after(timeout_s):
            await self._done.wait()
