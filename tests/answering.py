"""What answers on a control socket as a daemon's does, without a daemon behind it."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
from anyio.from_thread import start_blocking_portal

from damd import control

AT = datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)
"""The moment of all that is answered."""


def before(**span: float) -> str:
    """A moment so long before `AT`."""
    return (AT - timedelta(**span)).isoformat()


def root(name: str, path: str, **facts: Any) -> dict[str, Any]:
    """A root as a status has it, watched and at rest but for these facts."""
    at_rest: dict[str, Any] = {"backend": "native", "scanning": False, "renewals": 0, "unwatched": 0, "watches": 1}
    at_rest |= {"held": None, "waiting": 0, "in_work": 0, "oldest_s": 0.0, "outcomes": {}, "last_imported_at": None}
    return {"name": name, "path": path, "settings": {}} | at_rest | facts


def endpoint(name: str, **facts: Any) -> dict[str, Any]:
    """An endpoint as a status has it, active and owed nothing but for these facts."""
    at_rest: dict[str, Any] = {"kind": "webhook", "state": "active", "owed": 0, "next_attempt_at": None}
    at_rest |= dict.fromkeys(("disabled_since", "disabled_because", "failing_since", "last_error"))
    return {"name": name, "last_delivered_at": None} | at_rest | facts


def status(**facts: Any) -> dict[str, Any]:
    """What a daemon without roots answers, but for these facts."""
    at_rest: dict[str, Any] = {"version": "1.2", "pid": 4242, "state": "/state", "config": None, "paused_since": None}
    at_rest |= {"started_at": before(hours=2), "reload": None, "roots": [], "endpoints": [], "waiting": 0}
    at_rest |= {"oldest_s": 0.0, "in_work": 0, "retrying": 0, "files": [], "since_start": {}}
    at_rest |= {"rates": {"files_per_s": 0.0, "bytes_per_s": 0.0}}
    return at_rest | {"catalogue": {"assets": 3, "failures": 0, "deliveries_parked": 0}} | facts


def reload(**facts: Any) -> dict[str, Any]:
    """What came of a reload that changed nothing, but for these facts."""
    nothing: dict[str, Any] = {"problems": [], "changed": [], "restart": []}
    return {"at": before(seconds=30), "ok": True} | nothing | facts


@asynccontextmanager
async def answering(state: Path, answers: Mapping[str, Any]) -> AsyncIterator[list[Mapping[str, Any]]]:
    """Answer each command with what stands for it, or with what it answers to the question; notes the questions.

    What is a coroutine function is awaited for its answer.
    """
    asked: list[Mapping[str, Any]] = []

    def one(answer: Any) -> control.Answer:
        async def give(question: Mapping[str, Any]) -> dict[str, Any]:
            asked.append(question)
            given: dict[str, Any] = await answer(question) if callable(answer) else answer
            return given

        return give

    await anyio.Path(state).mkdir(exist_ok=True)
    serving = {command: one(answer) for command, answer in answers.items()}
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda task_status: control.serve(state, serving, task_status=task_status))
        yield asked
        tasks.cancel_scope.cancel()


@contextmanager
def daemon(state: Path, **answers: Any) -> Iterator[list[Mapping[str, Any]]]:
    """The same in a thread of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(answering(state, answers)) as asked:
        yield asked
