"""The sandbox: real workers that answer, hang, crash, leak, chatter and lie."""

import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream
from anyio.streams.text import TextReceiveStream

from damd import workers as workers_module
from damd.errors import (
    BrokenFileError,
    LimitExceededError,
    ReaderCrashedError,
    ReaderKilledError,
    ReaderUnavailableError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from damd.readers import Reader
from damd.sandbox import Sandbox, SandboxSettings

pytestmark = pytest.mark.anyio
TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def test_readers_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TESTS)


@asynccontextmanager
async def open_sandbox(*, recycle_after: int = 1000, **settings: Any) -> AsyncIterator[Sandbox]:
    """A sandbox whose workers must all be gone, and reaped, when it is left."""
    settings = {"workers": 2, "timeout": timedelta(seconds=20)} | settings
    sandbox = Sandbox(
        SandboxSettings(**settings), readers={"test": Reader("sandbox_reader", 1)}, recycle_after=recycle_after
    )
    pids = set()
    with anyio.fail_after(60):
        try:
            async with sandbox:
                try:
                    yield sandbox
                finally:
                    pids = children_of(os.getpid())
        finally:
            assert sandbox._slots.value == sandbox.worker_count
            assert not sandbox._workers
            assert not [pid for pid in pids if exists(pid)]


def children_of(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def exists(pid: int) -> bool:
    """Running, or a zombie that nobody has reaped."""
    return Path(f"/proc/{pid}").exists()


def is_gone(pid: int) -> bool:
    """Ended; an orphan may have to wait for its new parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def number_in(path: Path) -> int:
    """What a reader writes to a file once it is at work; 0 before."""
    return int((path.exists() and path.read_text()) or 0)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - of another process, which can set no event here
            await anyio.sleep(0.005)


async def until_written(path: Path) -> int:
    await until(lambda: number_in(path))
    return number_in(path)


async def test_a_worker_answers_with_what_its_reader_returned() -> None:
    async with open_sandbox() as sandbox:
        answer = await sandbox.call("test", "/a", text="ü", nested={"list": [1, 2.5, None, True]})
        assert answer["path"] == "/a"
        assert answer["text"] == "ü"
        assert answer["nested"] == {"list": [1, 2.5, None, True]}


async def test_workers_start_when_they_are_needed_and_are_used_again() -> None:
    async with open_sandbox() as sandbox:
        assert not children_of(os.getpid())
        pids = {(await sandbox.call("test", "/a"))["pid"] for _ in range(5)}
        assert len(pids) == 1


async def test_a_path_that_is_no_utf8_comes_back_as_it_went() -> None:
    path = os.fsdecode(b'/caf\xe9/\xff\xfe\n"')
    async with open_sandbox() as sandbox:
        assert (await sandbox.call("test", path))["bytes"] == os.fsencode(path).hex()


async def test_a_file_whose_name_is_no_utf8_is_opened(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9"
    with open(path, "wb") as file:  # noqa: PTH123, ASYNC230 - a Path of bytes does not exist
        file.write(b"four")
    async with open_sandbox() as sandbox:
        assert await sandbox.call("test", os.fsdecode(path), do="open") == {"length": 4}


async def test_a_worker_is_limited_and_finds_its_modules_only_where_the_parent_does() -> None:
    async with open_sandbox(memory="1GiB") as sandbox:
        found = await sandbox.call("test", "/a", do="limits")
    assert found["memory"] == [2**30, 2**30]
    assert found["core"] == [0, 0]
    assert found["file"] == [2**30, 2**30]
    assert found["no_new_privs"] is True
    assert found["session"] is True
    assert found["threads"] == ["1", "1"]
    assert set(found["path"]) <= set(sys.path)
    assert sorted(found["modules"]) == [
        "damd",
        "damd.errors",
        "damd.readers",
        "damd.readers.failures",
        "damd.readers.plain",
    ]


async def test_as_many_workers_as_processors_by_default() -> None:
    assert Sandbox(SandboxSettings()).worker_count == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("wrong", [{"timeout": "0s"}, {"memory": "1MiB"}, {"workers": 0}, {"workers": "many"}])
async def test_settings_that_no_worker_could_live_with_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        SandboxSettings(**wrong)


async def test_many_calls_each_get_their_own_answer_while_workers_are_killed_at_random() -> None:
    rng = random.Random(7)  # noqa: S311 - no secret
    answers: dict[int, dict[str, Any]] = {}
    lost: list[str] = []
    kills = 0

    async def ask(number: int) -> None:
        try:
            answers[number] = await sandbox.call("test", f"/{number}", question=number)
        except ReaderCrashedError as error:
            lost.append(str(error))

    async with open_sandbox() as sandbox, anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(ask, number)
        while len(answers) + len(lost) < 200:
            await anyio.sleep(rng.uniform(0, 0.01))
            # Not one that still starts: three of those in a row are a machine that cannot start any.
            victims = [worker for worker in sandbox._workers if worker.calls and exists(worker.process.pid)]
            if victims:
                with suppress(ProcessLookupError):  # it may have ended, and been reaped, since it was looked for
                    os.kill(rng.choice(victims).process.pid, signal.SIGKILL)
                    kills += 1
    assert kills > 5
    assert all((answer["path"], answer["question"]) == (f"/{number}", number) for number, answer in answers.items())
    assert set(lost) <= {str(ReaderKilledError())}
    assert len(lost) <= kills // 2


async def test_a_worker_killed_while_idle_costs_the_next_call_nothing(tmp_path: Path) -> None:
    async with open_sandbox(workers=1) as sandbox:
        for number in range(8):
            victim = (await sandbox.call("test", "/a"))["pid"]
            os.kill(victim, signal.SIGKILL)
            # It crashes at its first attempt, so it must still have its second.
            answer = await sandbox.call("test", str(tmp_path / str(number)), do="crash_once")
            assert answer["pid"] != victim


async def test_a_worker_stopped_while_idle_does_not_confuse_the_answers() -> None:
    async with open_sandbox(workers=1) as sandbox:
        for number in range(20):
            pid = (await sandbox.call("test", f"/{number}"))["pid"]
            for each in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT):
                os.kill(pid, each)
        assert (await sandbox.call("test", "/last"))["path"] == "/last"
        assert (await sandbox.call("test", "/last"))["pid"] == pid


async def test_signals_meant_for_the_program_do_not_end_a_busy_worker() -> None:
    async with open_sandbox() as sandbox:
        assert (await sandbox.call("test", "/a", do="terminate"))["path"] == "/a"


async def test_a_worker_killed_while_busy_is_tried_again(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    answers = []

    async def ask() -> None:
        answers.append(await sandbox.call("test", str(marker), do="hang_once"))

    async with open_sandbox() as sandbox, anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        os.kill(await until_written(marker), signal.SIGKILL)
    assert answers[0]["path"] == str(marker)


async def test_a_worker_that_hangs_is_killed_and_replaced(tmp_path: Path) -> None:
    async with open_sandbox(workers=1, timeout="500ms") as sandbox:
        began = time.monotonic()
        with pytest.raises(LimitExceededError, match=r"longer than 500ms \(ingest.timeout\)"):
            await sandbox.call("test", str(tmp_path / "pid"), do="hang")
        assert time.monotonic() - began > 0.99  # it was tried twice
        assert is_gone(int((tmp_path / "pid").read_text()))
        assert (await sandbox.call("test", "/next"))["path"] == "/next"


async def test_what_a_reader_started_dies_with_it(tmp_path: Path) -> None:
    async with open_sandbox(timeout="500ms") as sandbox:
        with pytest.raises(LimitExceededError):
            await sandbox.call("test", str(tmp_path / "pid"), do="spawn_and_hang")
        await until(lambda: is_gone(number_in(tmp_path / "pid")))


async def test_waiting_for_a_worker_does_not_count_against_the_deadline() -> None:
    async with open_sandbox(workers=1, timeout="1s") as sandbox, anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(lambda: sandbox.call("test", "/a", do="take_150ms"))


async def test_a_shortage_of_memory_is_a_limit_and_costs_the_worker() -> None:
    async with open_sandbox(workers=1, memory="1GiB") as sandbox:
        with pytest.raises(LimitExceededError, match=r"more than 1GiB of memory \(ingest.memory\)"):
            await sandbox.call("test", "/a", do="allocate")
        assert not sandbox._workers
        assert (await sandbox.call("test", "/next"))["path"] == "/next"


async def test_a_shortage_that_earlier_files_caused_is_not_this_files_fault() -> None:
    async with open_sandbox(workers=1, memory="400MiB") as sandbox:
        await sandbox.call("test", "/a", do="leak_then_allocate", leak_mib=250, need_mib=1)
        answer = await sandbox.call("test", "/b", do="leak_then_allocate", leak_mib=1, need_mib=250)
        assert answer == {"length": 250 * 2**20}


@pytest.mark.parametrize(
    ("deed", "how"),
    [("segfault", "killed by SIGSEGV"), ("exit", "gone, with exit status 3")],
)
async def test_a_worker_that_crashes_twice_condemns_the_file(deed: str, how: str) -> None:
    async with open_sandbox() as sandbox:
        with pytest.raises(ReaderCrashedError, match=how) as caught:
            await sandbox.call("test", "/a", do=deed)
        assert caught.value.permanent
        assert (await sandbox.call("test", "/next"))["path"] == "/next"


async def test_a_worker_that_somebody_kills_twice_does_not_condemn_the_file() -> None:
    async with open_sandbox() as sandbox:
        with pytest.raises(ReaderKilledError, match="killed from outside") as caught:
            await sandbox.call("test", "/a", do="die")
        assert not caught.value.permanent
        assert (await sandbox.call("test", "/next"))["path"] == "/next"


async def test_a_crash_followed_by_a_success_is_a_success(tmp_path: Path) -> None:
    async with open_sandbox() as sandbox:
        assert (await sandbox.call("test", str(tmp_path / "x"), do="crash_once"))["path"] == str(tmp_path / "x")


async def test_the_second_attempt_has_the_machine_to_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def ask(number: int) -> None:
        crash_first = number in (1, 2, 5)  # two of them at once: they must not wait for each other
        await sandbox.call("test", str(log), do="log", name=f"call-{number}.", crash_first=crash_first)

    async with open_sandbox(workers=3) as sandbox, anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(ask, number)
    lines = [tuple(line.split()) for line in log.read_text().splitlines()]
    assert sum(word == "end" for word, _ in lines) == 12
    for name in ("call-1.", "call-2.", "call-5."):
        second = max(index for index, line in enumerate(lines) if line == ("begin", name))
        assert lines[second + 1] == ("end", name)
        before = lines[:second]
        running = [n for word, n in before if word == "begin" and ("end", n) not in before]
        assert set(running) <= {"call-1.", "call-2.", "call-5."}  # only what crashed has no end


async def test_a_library_that_chatters_on_the_standard_descriptors_harms_nobody() -> None:
    async with open_sandbox(workers=1) as sandbox:
        assert await sandbox.call("test", "/a", do="chatter") == {"read": ""}
        assert (await sandbox.call("test", "/b"))["path"] == "/b"


@pytest.mark.parametrize(
    ("forgery", "how"),
    [
        ({"body": "nonsense"}, "its answer was no JSON"),
        ({"body": "[" * 100_000}, "its answer was no JSON"),
        ({"body": "[]"}, "its answer was no object"),
        ({"body": '{"id": 0, "result": {}}'}, "its answer was to another question"),
        ({"body": '{"id": 1, "result": [1]}'}, "its answer was no object"),
        ({"body": '{"id": 1, "error": 3}'}, "its answer was no object"),
        ({"body": "x", "length": 2**32 - 1}, "its answer of 4294967295 bytes is too long"),
    ],
)
async def test_a_worker_that_breaks_the_protocol_is_as_good_as_crashed(forgery: dict[str, Any], how: str) -> None:
    async with open_sandbox(workers=1) as sandbox:
        with pytest.raises(ReaderCrashedError, match=how):
            await sandbox.call("test", "/a", do="forge", **forgery)
        assert not sandbox._workers
        assert (await sandbox.call("test", "/next"))["path"] == "/next"


async def test_an_answer_left_over_reaches_no_later_call() -> None:
    async with open_sandbox(workers=1) as sandbox:
        forged = '{"id": 1, "result": {"path": "forged"}}'
        assert await sandbox.call("test", "/a", do="forge", body=forged) == {"path": "forged"}
        assert (await sandbox.call("test", "/b"))["path"] == "/b"
        assert (await sandbox.call("test", "/c"))["path"] == "/c"


async def test_a_worker_that_closes_its_pipe_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "EXIT_TIMEOUT_S", 0.1)
    async with open_sandbox(workers=1) as sandbox:
        with pytest.raises(ReaderCrashedError, match="had closed its pipe"):
            await sandbox.call("test", "/a", do="close_pipes")


async def test_an_answer_that_is_too_long_is_refused_and_the_worker_lives() -> None:
    async with open_sandbox(workers=1) as sandbox:
        pid = (await sandbox.call("test", "/a"))["pid"]
        with pytest.raises(LimitExceededError, match="more than 1048576"):
            await sandbox.call("test", "/a", do="long_answer")
        assert (await sandbox.call("test", "/a"))["pid"] == pid


async def test_what_a_reader_raises_is_raised_here_with_its_values(tmp_path: Path) -> None:
    async with open_sandbox(workers=1) as sandbox:
        pid = (await sandbox.call("test", "/a"))["pid"]
        with pytest.raises(UnsupportedTypeError, match="Unsupported file type: odd") as unsupported:
            await sandbox.call("test", "/a", do="fail", how="unsupported")
        with pytest.raises(UnreadableFileError, match="Cannot be read: No such file") as unreadable:
            await sandbox.call("test", str(tmp_path / "gone"), do="open")
        with pytest.raises(BrokenFileError, match=r"^no header .31m$"):
            await sandbox.call("test", "/a", do="fail", how="broken")
        assert (await sandbox.call("test", "/a"))["pid"] == pid
        with pytest.raises(ReaderUnavailableError, match="the Python module pillow_heif is missing"):
            await sandbox.call("test", "/a", do="fail", how="missing")
        assert (await sandbox.call("test", "/a"))["pid"] != pid
    assert unsupported.value.mime_type == "image/x-odd"
    assert unreadable.value.errno == 2


@pytest.mark.parametrize("deed", ["not_a_dict", "not_json"])
async def test_a_reader_that_returns_what_json_cannot_say_is_told_so(deed: str) -> None:
    async with open_sandbox(workers=1) as sandbox:
        with pytest.raises(BrokenFileError, match="TypeError"):
            await sandbox.call("test", "/a", do=deed)


async def test_a_reader_that_cannot_be_imported_is_not_the_files_fault(tmp_path: Path) -> None:
    readers = {"missing": Reader("no_such_reader", 1), "empty": Reader("json", 1), "test": Reader("sandbox_reader", 1)}
    async with Sandbox(SandboxSettings(workers=1), readers=readers) as sandbox:
        with pytest.raises(ReaderUnavailableError, match="the Python module no_such_reader is missing") as caught:
            await sandbox.call("missing", "/a")
        assert not caught.value.permanent
        with pytest.raises(ReaderUnavailableError, match="has no attribute 'read'"):
            await sandbox.call("empty", "/a")
        with pytest.raises(KeyError):
            await sandbox.call("unheard_of", "/a")
        assert (await sandbox.call("test", "/a"))["path"] == "/a"


async def test_a_process_that_cannot_be_started_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_sandbox(workers=1) as sandbox:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(tmp_path / "python"))
            with pytest.raises(ReaderUnavailableError, match="No such file or directory"):
                await sandbox.call("test", "/a")
            patch.setattr(sys, "executable", "/bin/false")
            with pytest.raises(ReaderUnavailableError, match="exit status 1 before it began"):
                await sandbox.call("test", "/a")
        assert (await sandbox.call("test", "/a"))["path"] == "/a"


async def test_workers_are_recycled_after_so_many_calls() -> None:
    async with open_sandbox(workers=1, recycle_after=3) as sandbox:
        pids = [(await sandbox.call("test", "/a"))["pid"] for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


async def test_a_cancelled_call_takes_its_worker_with_it(tmp_path: Path) -> None:
    async with open_sandbox(workers=1) as sandbox:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: sandbox.call("test", str(tmp_path / "pid"), do="hang"))
            pid = await until_written(tmp_path / "pid")
            tasks.cancel_scope.cancel()
        assert is_gone(pid)
        assert (await sandbox.call("test", "/next"))["path"] == "/next"


async def test_calls_cancelled_at_any_moment_leak_no_slot_and_no_answer() -> None:
    rng = random.Random(11)  # noqa: S311 - no secret
    answers = []

    async def ask(number: int) -> None:
        # One of ten has all the time it needs, so that there are answers on a slow machine too.
        with anyio.move_on_after(rng.uniform(0, 0.1) if number % 10 else None):
            answers.append((number, (await sandbox.call("test", "/a", question=number))["question"]))

    async with open_sandbox() as sandbox:
        for start in range(0, 100, 10):
            async with anyio.create_task_group() as tasks:
                for number in range(start, start + 10):
                    tasks.start_soon(ask, number)
        assert sandbox._slots.value == 2
        assert sandbox.worker_count >= len(sandbox._workers) == len(sandbox._idle)
        assert (await sandbox.call("test", "/next"))["path"] == "/next"
    assert answers
    assert all(asked == answered for asked, answered in answers)


async def test_an_exception_in_the_body_comes_out_unchanged() -> None:
    async def fail() -> None:
        async with open_sandbox() as sandbox:
            await sandbox.call("test", "/a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def test_leaving_under_cancellation_leaves_no_process(tmp_path: Path) -> None:
    pids = []
    with anyio.CancelScope() as scope:
        async with open_sandbox() as sandbox, anyio.create_task_group() as tasks:
            pids.append((await sandbox.call("test", "/a"))["pid"])
            tasks.start_soon(lambda: sandbox.call("test", str(tmp_path / "pid"), do="hang"))
            pids.append(await until_written(tmp_path / "pid"))
            scope.cancel()
            await anyio.sleep_forever()
    assert len(pids) == 2
    assert all(is_gone(pid) for pid in pids)


async def test_a_call_that_outlives_the_sandbox_is_told_so(tmp_path: Path) -> None:
    errors: list[str] = []

    async def ask() -> None:
        try:
            await sandbox.call("test", str(tmp_path / "pid"), do="hang")
        except RuntimeError as error:
            errors.append(str(error))

    async with anyio.create_task_group() as tasks:
        async with Sandbox(SandboxSettings(workers=1), readers={"test": Reader("sandbox_reader", 1)}) as sandbox:
            tasks.start_soon(ask)
            pid = await until_written(tmp_path / "pid")
        assert is_gone(pid)
    assert errors == ["A sandbox works only inside of its `async with`"]


async def test_a_sandbox_that_was_not_entered_refuses_calls() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Sandbox(SandboxSettings(), readers={"test": Reader("sandbox_reader", 1)}).call("test", "/a")


@asynccontextmanager
async def run_parent(mode: str, path: str = "") -> AsyncIterator[Any]:
    """The small program beside this file, as the leader of a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    command = [sys.executable, str(TESTS / "sandbox_parent.py"), mode, path]
    with anyio.fail_after(30):
        async with await anyio.open_process(
            command, stdin=DEVNULL, stdout=PIPE, stderr=None, env=environment, start_new_session=True
        ) as process:
            yield process


async def lines_of(stream: ByteReceiveStream) -> AsyncIterator[str]:
    rest = ""
    async for chunk in TextReceiveStream(stream):
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            yield line


@pytest.mark.parametrize("mode", ["graceful", "plain"])
async def test_an_interrupted_program_confuses_no_answers_and_leaves_no_process(mode: str) -> None:
    answers: list[dict[str, Any]] = []
    workers: set[int] = set()
    async with run_parent(mode) as process:
        assert process.stdout is not None
        async for line in lines_of(process.stdout):
            answers.append(json.loads(line))
            if not workers and len({answer["pid"] for answer in answers}) == 2:
                workers = children_of(process.pid)
                for worker in workers:
                    os.kill(worker, signal.SIGINT)  # they have a session of their own; be sure of it
                os.killpg(process.pid, signal.SIGINT)
        await process.wait()
    assert workers
    assert all(answer["asked"] == answer["answered"] for answer in answers)
    if mode == "graceful":
        assert process.returncode == 0
        assert sum(answer["after"] > 0 for answer in answers) == 80
        assert {answer["pid"] for answer in answers} <= workers
    await until(lambda: all(is_gone(pid) for pid in workers))


async def test_a_busy_worker_dies_with_a_killed_parent(tmp_path: Path) -> None:
    async with run_parent("hang", str(tmp_path / "pid")) as process:
        worker = await until_written(tmp_path / "pid")
        process.kill()
        await until(lambda: is_gone(worker))
