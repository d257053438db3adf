"""The command subscriber: runs a program for each event.

The program is started by itself, without a shell between, with the event's JSON and a newline on its standard input
and the event's main values as variables. Exit status 0 means that it took the event; whatever else happens, it is run
again later, as the schedule says. So it may be told the same event twice, and ``DAMD_EVENT_ID`` tells it so.

It runs in ``/`` and in a session of its own, and what it has started ends with it: at its deadline the whole group is
asked to end, and then killed. What is to go on afterwards leaves the group first, by setsid(1). Of this process's
environment, which may hold the webhooks' secrets, it sees only what programs cannot do without.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from errno import ENOENT, ENOEXEC
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, ClassVar, Literal, Self

import anyio
import anyio.to_thread
import structlog
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from pydantic import AfterValidator, BeforeValidator, Field

from damd.errors import ConfigurationError, DeliveryError
from damd.events import Event, body_of
from damd.settings import Duration, Settings, format_duration
from damd.subscribers.base import DurableSettings, DurableSubscriber

_log = structlog.get_logger(__name__)

GRACE_S = 5.0
"""From SIGTERM to SIGKILL."""
_REAP_S = 5.0  # from SIGKILL to the end, which a disk that does not answer can put off for ever
_LAST_WORDS_S = 0.5  # from the end of the program to the end of what others still say through its pipes
_MOST_KEPT_BYTES = 10_000  # of each of two pipes
_MOST_QUOTED = 200
_KEPT = frozenset({"HOME", "LANG", "PATH", "TMPDIR", "TZ", "USER"})  # of the environment


def _is_a_list(value: Any) -> Any:
    if isinstance(value, str):
        # It is not quoted, since an argument may be a password.
        example = "[/usr/local/bin/on-import, --quietly]"
        raise ValueError(  # noqa: TRY004 - pydantic wants it
            f'expected a list of the program and its arguments, such as {example}; for a shell: [sh, -c, "…"]'
        )
    return value


def _has_a_program(command: tuple[str, ...]) -> tuple[str, ...]:
    program = command[0] if command else ""
    if not program or ("/" in program and not program.startswith("/")):
        raise ValueError("its first entry is the program: an absolute path, or a name that is found on PATH")
    if any("\0" in argument for argument in command):
        raise ValueError("an argument cannot hold a NUL character")
    return command


_EXAMPLE = {"name": "tell-me", "command": ["/usr/local/bin/tell-me", "--loud"]}


class CommandSettings(DurableSettings, json_schema_extra={"examples": [_EXAMPLE]}):
    """An entry of ``subscribers:`` with ``kind: command``."""

    kind: Literal["command"] = "command"
    """A program that is run for each event, repeated until it ends with 0."""
    command: Annotated[tuple[str, ...], BeforeValidator(_is_a_list), AfterValidator(_has_a_program), Field(repr=False)]
    """The program, an absolute path or a name that is found on PATH, and its arguments; there is no shell. It reads the
    event on standard input, and finds the most important things in variables such as DAMD_PATH."""
    timeout: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=60)
    """For one event; then the program is ended."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    """How many may run at a time: 1 to 64."""

    def lacking(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the program; blocking."""
        try:
            find_program(self.command)
        except ValueError as error:
            yield "command", f"cannot be run: {error}"

    @property
    def target(self) -> str:
        """The program; an argument may be a password."""
        return self.command[0]


def find_program(command: Sequence[str]) -> str:
    """The absolute path of the program that a command names; blocking.

    Raises:
        ValueError: There is none, or none that may be run; the message says what to do.
    """
    program = command[0]
    found = shutil.which(program)
    if found is not None:
        return os.path.abspath(found)  # noqa: PTH100 - an entry of PATH may be relative, and links stay as they are
    if not program.startswith("/"):
        raise ValueError(f"there is no program {program} on damd's PATH: install it, or write its whole path")
    if not Path(program).exists():
        raise ValueError(f"the program {program} does not exist: correct its path")
    if Path(program).is_dir():
        raise ValueError(f"{program} is a folder: name the program in it")
    raise ValueError(f"{program} is not a program that damd may run: make it one with chmod +x")


class CommandSubscriber(DurableSubscriber):
    """One program; an async context manager, which finds it."""

    kind: ClassVar[str] = "command"
    settings_type: ClassVar[type[Settings]] = CommandSettings

    _settings: CommandSettings

    def __init__(self, settings: CommandSettings) -> None:
        super().__init__(settings)
        self._program: str | None = None

    async def __aenter__(self) -> Self:
        """Find the program.

        Raises:
            ConfigurationError: There is none that may be run.
        """
        try:
            self._program = await anyio.to_thread.run_sync(find_program, self._settings.command)
        except ValueError as error:
            raise ConfigurationError([f"subscribers: the command {self.name}: {error}"]) from None
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._program = None

    async def receive(self, event: Event) -> None:
        """Run it once, within the configured time; cancellation ends it as its deadline does.

        Raises:
            DeliveryError: It did not end with exit status 0, or could not be started.
        """
        if self._program is None:
            raise RuntimeError("A command needs its program: use `async with CommandSubscriber(settings) as it:`")
        said, complained = _Tail(), _Tail()
        async with self._running(self._program, event) as process, anyio.create_task_group() as tasks:
            tasks.start_soon(_feed, process.stdin, body_of(event) + b"\n")
            tasks.start_soon(said.read, process.stdout)
            tasks.start_soon(complained.read, process.stderr)
            with anyio.move_on_after(self._settings.timeout.total_seconds()) as time:
                await process.wait()
            if time.cancelled_caught:
                await _stop(process)
            # Whatever it has started may hold the pipes open for as long as it likes.
            tasks.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS_S
        output = complained.text + said.text
        if time.cancelled_caught:
            limit = format_duration(self._settings.timeout)
            raise DeliveryError(f"{self._called} did not end within {limit}", response=output)
        if process.returncode != 0:
            ending = f"{self._called} {_describe(process.returncode)}{complained.last_line}"
            raise DeliveryError(ending, response=output)
        if output:
            _log.debug("command succeeded", subscriber=self.name, event_id=event.event_id, output=output)

    @property
    def _called(self) -> str:
        return self._settings.command[0]

    @asynccontextmanager
    async def _running(self, program: str, event: Event) -> AsyncIterator[Process]:
        """Start it; whatever happens, it and what it has started have ended afterwards."""
        environment = _environment() | variables_of(event)
        arguments = self._settings.command[1:]
        try:
            with anyio.CancelScope(shield=True):  # a process that nobody knows of could not be ended
                process = await anyio.open_process(
                    [program, *arguments], cwd="/", env=environment, start_new_session=True
                )
        except OSError as error:
            raise DeliveryError(f"{self._called} cannot be started: {_advise(error)}", is_down=True) from error
        except ValueError as error:  # text that the system's encoding does not have
            raise DeliveryError(f"{self._called} cannot be started for this event: {error}") from error
        try:
            yield process
        finally:
            await _end(process)


def variables_of(event: Event) -> dict[str, str]:
    """What a program is told of an event as variables of its environment; those that have no value are left out."""
    data = event.data()
    told = {name: data.get(name) for name in ("root", "asset_id", "sha256", "revision")}
    told |= {"event_id": event.event_id, "event_type": event.event_type, "path": _path_in(data)}
    return {f"DAMD_{name.upper()}": str(value) for name, value in told.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    # A plugin's event may hold anything; what can be no variable is in the body all the same.
    return isinstance(value, int) or (isinstance(value, str) and "\0" not in value)


def _path_in(data: Mapping[str, Any]) -> str | None:
    """An event's path, which as a variable has the bytes that it has on the disk."""
    if isinstance(exact := data.get("path_base64"), str):
        with suppress(ValueError):  # a plugin's, of another meaning
            return os.fsdecode(base64.b64decode(exact, validate=True))
    path = data.get("path")
    return os.fsdecode(path.encode("utf-8", "surrogateescape")) if isinstance(path, str) else None


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}


class _Tail:
    """The end of what a program says through one pipe."""

    def __init__(self) -> None:
        self._kept = bytearray()

    async def read(self, stream: ByteReceiveStream | None) -> None:
        """Read all of it, so that the program is never kept waiting."""
        if stream is None:
            return
        async for chunk in stream:
            self._kept += chunk
            del self._kept[:-_MOST_KEPT_BYTES]

    @property
    def text(self) -> str:
        """What is kept, whatever its bytes are."""
        return self._kept.decode("utf-8", "replace")

    @property
    def last_line(self) -> str:
        """The last line that says anything, led by a colon, short and without control characters; else nothing."""
        line = next(filter(None, (" ".join(line.split()) for line in reversed(self.text.splitlines()))), "")
        printable = "".join(each if each.isprintable() else "�" for each in line[:_MOST_QUOTED])
        return f": {printable}" if printable else ""


async def _feed(stdin: ByteSendStream | None, body: bytes) -> None:
    if stdin is not None:
        with suppress(anyio.BrokenResourceError, ConnectionError):  # not to read it is the program's good right
            await stdin.send(body)
        await stdin.aclose()


async def _stop(process: Process) -> None:
    """Ask a program and all that it has started to end, and then end them; returns in time, whatever they do."""
    with anyio.CancelScope(shield=True):
        _signal_group(process, signal.SIGTERM)
        with anyio.move_on_after(GRACE_S):
            await process.wait()
        _signal_group(process, signal.SIGKILL)
        with anyio.move_on_after(_REAP_S):
            await process.wait()


async def _end(process: Process) -> None:
    """Let nothing be left of a program."""
    if process.returncode is None:
        await _stop(process)
    if process.returncode is None:
        _log.warning("command cannot be ended", pid=process.pid)  # aclose() would wait for it
        return
    _signal_group(process, signal.SIGKILL)
    with anyio.CancelScope(shield=True):
        await process.aclose()


def _signal_group(process: Process, number: signal.Signals) -> None:
    # Not Popen.kill(): it polls, and so could reap the process before asyncio's own watcher does.
    # The number of the program is that of its group, which lives on as long as anything that it started.
    with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted on a zombie
        os.killpg(process.pid, number)


def _describe(returncode: int | None) -> str:
    """How a program ended that did not end well, to complete a sentence."""
    if returncode is None:
        return "cannot be ended"
    if returncode > 0:
        return f"ended with exit status {returncode}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-returncode, -returncode)}"


def _advise(error: OSError) -> str:
    words = error.strerror or str(error)
    if error.errno == ENOEXEC:
        return f"{words}: if it is a script, begin it with #!/bin/sh"
    if error.errno == ENOENT:
        return f"{words}: it is gone, or the interpreter that its first line names"
    return words
