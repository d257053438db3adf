"""The control socket: who asks is answered, and nobody's nonsense concerns anybody else."""

import json
import os
import resource
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs

from damd import control
from damd.errors import DaemonUnreachableError, DamdError

pytestmark = pytest.mark.anyio


async def hello(question: Mapping[str, Any]) -> dict[str, Any]:
    return {"hello": "wörld", "path": "\udcff", "asked": question.get("asked")}


async def fail(question: Mapping[str, Any]) -> dict[str, Any]:
    raise RuntimeError("the catalogue is gone")


async def hang(question: Mapping[str, Any]) -> dict[str, Any]:
    await anyio.sleep_forever()
    raise AssertionError


@asynccontextmanager
async def serving(state: Path) -> AsyncIterator[None]:
    answers: dict[str, control.Answer] = {"hello": hello, "fail": fail, "hang": hang}
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda task_status: control.serve(state, answers, task_status=task_status))
        yield
        tasks.cancel_scope.cancel()


async def say(state: Path, line: bytes) -> bytes:
    """What the socket answers to these very bytes."""
    with anyio.fail_after(10):
        async with await anyio.connect_unix(state / control.SOCKET) as stream:
            await stream.send(line)
            await stream.send_eof()
            return b"".join([chunk async for chunk in stream])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "s").mkdir()
    return tmp_path / "s"


async def test_a_question_is_answered(state: Path) -> None:
    async with serving(state):
        assert await control.ask(state, "hello") == {"hello": "wörld", "path": "\udcff", "asked": None}
        assert (await control.ask(state, "hello", asked="why"))["asked"] == "why"


async def test_an_unknown_command_is_told_the_known_ones(state: Path) -> None:
    async with serving(state):
        with pytest.raises(DamdError, match="hello, fail, hang"):
            await control.ask(state, "dance")


@pytest.mark.parametrize(
    "line", [b"\n", b"{\n", b"[]\n", b'"hello"\n', b'{"command": []}\n', b"\xff\n", b"[" * 9999 + b"\n"]
)
async def test_nonsense_is_answered_with_an_error(state: Path, line: bytes) -> None:
    async with serving(state):
        assert set(json.loads(await say(state, line))) == {"error"}
        assert await control.ask(state, "hello")


async def test_who_goes_away_or_talks_without_end_is_left_alone(state: Path) -> None:
    async with serving(state):
        assert await say(state, b"") == b""
        assert await say(state, b'{"command"') == b""
        with suppress(anyio.BrokenResourceError):
            assert await say(state, b"x" * 2**22) == b""
        assert await control.ask(state, "hello")


async def test_an_answer_that_fails_ends_only_its_own_connection(state: Path) -> None:
    async with serving(state):
        with pytest.raises(DaemonUnreachableError):
            await control.ask(state, "fail")
        assert await control.ask(state, "hello")


async def test_the_socket_is_for_its_owner_alone(state: Path) -> None:
    async with serving(state):
        assert stat.S_IMODE((state / control.SOCKET).stat().st_mode) == 0o600


async def test_without_a_daemon_asking_says_so(state: Path) -> None:
    with pytest.raises(DaemonUnreachableError, match="No damd runs on"):
        await control.ask(state, "hello")
    with pytest.raises(DaemonUnreachableError):
        await control.ask(state / "gone", "hello")


async def test_a_socket_that_a_dead_daemon_left_is_no_daemon_and_is_replaced(state: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(state / control.SOCKET))
    with pytest.raises(DaemonUnreachableError):
        await control.ask(state, "hello")
    async with serving(state):
        assert await control.ask(state, "hello")


@pytest.mark.parametrize("command", ["hello", "hang"])
async def test_a_daemon_that_does_not_answer_is_unreachable(
    state: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_ANSWER_TIMEOUT_S", 0.05)
    if command == "hang":
        async with serving(state):
            with anyio.fail_after(10), pytest.raises(DaemonUnreachableError):
                await control.ask(state, command)
        return
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(os.fspath(state / control.SOCKET))
        silent.listen()
        with anyio.fail_after(10), pytest.raises(DaemonUnreachableError):
            await control.ask(state, command)


async def test_where_no_descriptor_is_left_who_asks_waits_and_nobody_ends(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_ACCEPT_AGAIN_S", 0.01)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serving(state):
        with capture_logs() as lines, anyio.fail_after(10):
            with closing(socket.socket(socket.AF_UNIX)) as asking:
                lowest = os.dup(asking.fileno())
                os.close(lowest)
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
                try:
                    asking.connect(str(state / control.SOCKET))
                    asking.setblocking(False)
                    while not lines:
                        await anyio.lowlevel.checkpoint()
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert lines[0]["event"] == "the control socket cannot be served now"
            assert await control.ask(state, "hello", name="you") is not None


async def test_a_state_folder_may_lie_deeper_than_a_socket_s_path_is_long(tmp_path: Path) -> None:
    state = tmp_path / ("d" * 100) / ("e" * 100)
    state.mkdir(parents=True)
    async with serving(state):
        assert await control.ask(state, "hello")
    with pytest.raises(DaemonUnreachableError):
        await control.ask(state, "hello")


@pytest.mark.parametrize("question", ['{"command": "pick", "name": ["a"]}', '{"command": "pick", "name": {}}'])
async def test_what_is_asked_wrongly_is_answered_with_an_error(state: Path, question: str) -> None:
    async def pick(asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"picked": {"a": 1}[asked["name"]]}

    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda task_status: control.serve(state, {"pick": pick}, task_status=task_status))
        assert b"not understood" in await say(state, question.encode() + b"\n")
        tasks.cancel_scope.cancel()


async def test_a_daemon_that_does_not_answer_is_told_from_none(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "_ANSWER_TIMEOUT_S", 0.05)
    with pytest.raises(DaemonUnreachableError, match="No damd runs"):
        await control.ask(state, "hello")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(os.fspath(state / control.SOCKET))
        silent.listen()
        with pytest.raises(DaemonUnreachableError, match="does not answer"):
            await control.ask(state, "hello")
