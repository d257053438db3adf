"""The daemon's Unix socket: one JSON object a line asks, one answers.

It lies in the state folder, for its owner alone: whoever may not read the catalogue may not ask the daemon.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog
from anyio.abc import SocketAttribute, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

from damd.errors import DaemonUnreachableError, DamdError, UnknownNameError

_log = structlog.get_logger(__name__)

SOCKET = "control.sock"

_LONGEST_MESSAGE = 2**20
_ANSWER_TIMEOUT_S = 10
_ACCEPT_AGAIN_S = 1.0
_LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux and 104 on macOS (unix(7), unix(4))

Answer = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""Handed the whole question, of which it picks what it needs."""


async def serve(state: Path, answers: dict[str, Answer], *, task_status: TaskStatus[None]) -> None:
    """Answer questions until cancelled; started once the socket is there.

    Args:
        state: The state folder. The caller makes sure that no other daemon runs on it.
        answers: What answers each command.
        task_status: Of ``TaskGroup.start``.
    """
    with _reachable(state) as path:
        await anyio.to_thread.run_sync(lambda: path.unlink(missing_ok=True))
        listener = await anyio.create_unix_listener(path, mode=0o600)
        task_status.started()
        async with listener, anyio.create_task_group() as tasks:
            while True:
                try:
                    await listener.serve(lambda stream: _serve_one(stream, answers), tasks)
                except anyio.BrokenResourceError as error:  # no descriptor is left: whoever asks waits
                    _log.warning("the control socket cannot be served now", error=str(error.__cause__ or error))
                    await anyio.sleep(_ACCEPT_AGAIN_S)


async def ask(state: Path, command: str, *, waits: bool = False, **details: Any) -> dict[str, Any]:
    """What the daemon on this state folder answers.

    Args:
        state: The state folder.
        command: The question.
        waits: Whether the question is to wait for something: then the answer may take as long as it does.
        details: What else is asked: plain JSON values.

    Raises:
        DaemonUnreachableError: None runs, or it does not answer.
        DamdError: It runs, and says why it cannot answer.
    """
    try:
        with anyio.fail_after(None if waits else _ANSWER_TIMEOUT_S), _reachable(state) as path:
            with anyio.fail_after(_ANSWER_TIMEOUT_S):
                stream = await anyio.connect_unix(path)
            async with stream:
                await stream.send(json.dumps({"command": command, **details}).encode() + b"\n")
                line = await BufferedByteReceiveStream(stream).receive_until(b"\n", _LONGEST_MESSAGE)
    except TimeoutError as error:
        raise DaemonUnreachableError(str(state), is_silent=True) from error
    except PermissionError as error:
        raise DamdError(f"The damd that runs on {state} is another user's: ask it as that user, or as root") from error
    except (OSError, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.DelimiterNotFound) as error:
        raise DaemonUnreachableError(str(state)) from error
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise (UnknownNameError if answer.get("is_unknown") else DamdError)(str(answer["error"]))
    return answer


def is_served(state: Path) -> bool:
    """Whether a daemon listens on this state folder's socket; blocking."""
    with suppress(OSError), _reachable(state) as path, socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_ANSWER_TIMEOUT_S)
        asking.connect(os.fspath(path))
        return True
    return False


async def _serve_one(stream: SocketStream, answers: dict[str, Answer]) -> None:
    async with stream:
        try:
            with anyio.fail_after(_ANSWER_TIMEOUT_S):
                line = await BufferedByteReceiveStream(stream).receive_until(b"\n", _LONGEST_MESSAGE)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_gone, stream, tasks.cancel_scope)
                answer = await _answer(line, answers)
                with anyio.fail_after(_ANSWER_TIMEOUT_S):
                    await stream.send(json.dumps(answer).encode() + b"\n")
                tasks.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - whoever asks and goes away, or sends nonsense, concerns nobody else
            _log.debug("control connection failed", error=repr(error))


async def _until_gone(stream: SocketStream, scope: anyio.CancelScope) -> None:
    """End what is done for whoever went away; one that only says no more may still read the answer for a while."""
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while True:
            # Not receive() alone: cancelled just when something arrives, anyio 4.16 leaves an error behind.
            await anyio.wait_readable(stream.extra(SocketAttribute.raw_socket))  # noqa: S610 - this is no Django
            await stream.receive()
    await anyio.sleep(_ANSWER_TIMEOUT_S)
    scope.cancel()


async def _answer(line: bytes, answers: dict[str, Answer]) -> dict[str, Any]:
    try:
        question = json.loads(line)
        answer = answers[question["command"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"error": f'expected {{"command": …}} with one of {", ".join(answers)}'}
    try:
        return await answer(question)
    except UnknownNameError as error:
        return {"error": str(error), "is_unknown": True}
    except DamdError as error:
        return {"error": str(error)}
    except (ValueError, TypeError) as error:  # of what was asked: a list where a name is meant
        return {"error": f"this question is not understood: {error}"}


@contextmanager
def _reachable(state: Path) -> Iterator[Path]:
    """The socket's path, short enough for the system: where it is not, by way of the open folder."""
    path = state / SOCKET
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH or sys.platform != "linux":
        yield path
        return
    folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{folder}/{SOCKET}")
    finally:
        os.close(folder)
