"""A small program that uses the sandbox, for the tests that kill or interrupt a whole program.

``graceful``: it answers calls until it is interrupted, then some more, then it ends. ``plain``: it knows
nothing of signals. ``hang``: its one call never ends.
"""

import signal
import sys
from contextlib import suppress

import anyio
from sandbox_reader import tell

from damd.readers import Reader
from damd.sandbox import Sandbox, SandboxSettings


async def _ask(sandbox: Sandbox, name: str, stop: anyio.Event) -> None:
    number = 0
    after = 0
    while after < 20:
        number += 1
        after += stop.is_set()
        answer = await sandbox.call("test", f"{name}/{number}", question=number)
        tell(asked=f"{name}/{number}", answered=answer["path"], pid=answer["pid"], after=after)


async def _wait_for_interrupt(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            stop.set()
            return


async def _main(mode: str, path: str) -> None:
    stop = anyio.Event()
    readers = {"test": Reader("sandbox_reader", 1)}
    async with Sandbox(SandboxSettings(workers=2), readers=readers) as sandbox, anyio.create_task_group() as tasks:
        if mode == "graceful":
            tasks.start_soon(_wait_for_interrupt, stop)
        if mode == "hang":
            tasks.start_soon(lambda: sandbox.call("test", path, do="hang"))
        else:
            for name in "abcd":
                tasks.start_soon(_ask, sandbox, name, stop)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(_main, sys.argv[1], sys.argv[2])
