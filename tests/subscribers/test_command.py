import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs
from subscribers.receiver import imported
from subscribers.sinks import until

from damd.errors import ConfigurationError, DeliveryError
from damd.events import Event, FileFailedEvent, RootHeldEvent, body_of, readable_path
from damd.subscribers import command
from damd.subscribers.command import CommandSettings, CommandSubscriber

pytestmark = pytest.mark.anyio


def script(folder: Path, body: str, *, first_line: str = "#!/bin/sh") -> Path:
    """A program in a folder, to which `$HERE` leads it."""
    file = folder / "on-event"
    file.write_text(f"{first_line}\nHERE='{folder}'\n{body}\n")
    file.chmod(0o755)
    return file


def subscriber(*words: str | Path, **others: Any) -> CommandSubscriber:
    settings = {"name": "script", "command": [str(word) for word in words]} | others
    return CommandSubscriber(CommandSettings.model_validate(settings))


async def run(*words: str | Path, event: Event | None = None, **others: Any) -> None:
    async with subscriber(*words, **others) as program:
        with anyio.fail_after(20):
            await program.receive(event or imported())


async def refusal(*words: str | Path, **others: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await run(*words, **others)
    return caught.value


def is_running(pid_file: Path) -> bool:
    """Whether the process whose number a file holds is there; one that nobody has reaped yet is not."""
    try:
        status = Path(f"/proc/{pid_file.read_text().strip()}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def touched(path: bytes) -> bytes:
    Path(os.fsdecode(path)).touch()
    return path


def variables(file: Path) -> dict[bytes, bytes]:
    lines = (line.partition(b"=") for line in file.read_bytes().split(b"\0") if line)
    return {name: value for name, _, value in lines}


async def test_the_event_is_on_standard_input_and_in_variables(tmp_path: Path) -> None:
    event = imported(revision=42)
    await run(script(tmp_path, 'cat > "$HERE/body"; env -0 > "$HERE/env"'), event=event)
    assert (tmp_path / "body").read_bytes() == body_of(event) + b"\n"
    told = {name: value for name, value in variables(tmp_path / "env").items() if name.startswith(b"DAMD_")}
    assert told == {
        b"DAMD_EVENT_ID": event.event_id.encode(),
        b"DAMD_EVENT_TYPE": b"file.imported",
        b"DAMD_PATH": b"/pictures/1.jpg",
        b"DAMD_ROOT": b"pictures",
        b"DAMD_ASSET_ID": b"1",
        b"DAMD_SHA256": event.sha256.encode(),
        b"DAMD_REVISION": b"42",
    }


async def test_what_an_event_does_not_have_is_no_variable(tmp_path: Path) -> None:
    program = script(tmp_path, 'env -0 > "$HERE/$DAMD_EVENT_TYPE"')
    held = RootHeldEvent(root="in", path="/in", reason="gone", missing_files=None)
    failed = FileFailedEvent(
        path="/a", root=None, asset_id=None, sha256=None, reason="", permanent=True, mime_type=None, size_bytes=0
    )
    for event, missing in ((held, {b"ASSET_ID", b"SHA256", b"REVISION"}), (failed, {b"ASSET_ID", b"SHA256", b"ROOT"})):
        await run(program, event=event)
        assert not {b"DAMD_" + name for name in missing} & variables(tmp_path / event.event_type).keys()


@pytest.mark.parametrize("name", [b"\xff\xfe.jpg", b"Zo\xc3\xab.jpg", b"a\nb\t'\"$(id)`id`;#.jpg", b"\xed\xa0\x80"])
async def test_the_variable_has_the_exact_bytes_of_the_path(tmp_path: Path, name: bytes) -> None:
    path = touched(os.fsencode(tmp_path) + b"/" + name)
    text, exact = readable_path(path)
    await run(
        script(tmp_path, 'test -f "$DAMD_PATH" && printf %s "$DAMD_PATH" > "$HERE/path"'),
        event=imported(path=text, path_base64=exact),
    )
    assert (tmp_path / "path").read_bytes() == path


async def test_the_longest_path_arrives_whole(tmp_path: Path) -> None:
    path = b"/" + b"\x01" * 4094
    text, exact = readable_path(path)
    await run(script(tmp_path, 'printf %s "$DAMD_PATH" > "$HERE/path"'), event=imported(path=text, path_base64=exact))
    assert (tmp_path / "path").read_bytes() == path


async def test_damds_own_environment_does_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALLERY_SECRET", "sesame")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/damd")
    monkeypatch.setenv("LC_TIME", "C")
    await run(script(tmp_path, 'env -0 > "$HERE/env"'))
    known = {
        b"HOME",
        b"LANG",
        b"PATH",
        b"PWD",
        b"OLDPWD",
        b"SHLVL",
        b"TMPDIR",
        b"TZ",
        b"USER",
        b"_",
    }  # some a shell's own
    given = variables(tmp_path / "env")
    assert {name for name in given if not name.startswith((b"DAMD_", b"LC_"))} <= known
    assert given[b"PATH"] == os.environb[b"PATH"]
    assert given[b"LC_TIME"] == b"C"


async def test_its_arguments_pass_through_no_shell_and_it_runs_in_the_root_folder(tmp_path: Path) -> None:
    arguments = ("$HOME", "a b", "*", ";", "", "ü")
    await run(script(tmp_path, 'printf "%s\\0" "$@" > "$HERE/arguments"; pwd > "$HERE/folder"'), *arguments)
    assert (tmp_path / "arguments").read_text().split("\0")[:-1] == list(arguments)
    assert (tmp_path / "folder").read_text() == "/\n"


async def test_its_standard_input_can_be_opened_by_name(tmp_path: Path) -> None:
    await run(script(tmp_path, 'cat /dev/stdin > "$HERE/body"'))
    assert json.loads((tmp_path / "body").read_bytes())["type"] == "file.imported"


async def test_a_program_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, 'echo "$0" > "$HERE/called"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    await run("on-event")
    assert (tmp_path / "called").read_text() == f"{tmp_path}/on-event\n"


async def test_a_program_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    for words, what in (
        ("no-such-program-anywhere", "there is no program no-such-program-anywhere on damd's PATH: install it"),
        (tmp_path / "nothing", f"{tmp_path}/nothing does not exist: correct its path"),
        (tmp_path / "text", f"{tmp_path}/text is not a program that damd may run: make it one with chmod"),
        (tmp_path, f"{tmp_path} is a folder"),
    ):
        with pytest.raises(ConfigurationError, match=f"^subscribers: the command script: .*{what}"):
            await run(words)


@pytest.mark.parametrize("written", ["/bin/true", "curl -u me:sesame https://gallery"])
def test_a_line_for_a_shell_is_refused_with_an_example_and_not_repeated(written: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CommandSettings.model_validate({"name": "script", "command": written})
    (error,) = caught.value.errors()
    assert (
        "expected a list of the program and its arguments, such as [/usr/local/bin/on-import, --quietly]"
        in error["msg"]
    )
    assert 'for a shell: [sh, -c, "…"]' in error["msg"]
    assert "sesame" not in error["msg"]


@pytest.mark.parametrize("words", [[], [""], ["bin/true"], ["./true"], ["~/true"], ["true", "a\0b"], ["true", 5]])
def test_what_cannot_be_a_command_is_refused(words: list[Any]) -> None:
    with pytest.raises(ValidationError, match="command"):
        CommandSettings.model_validate({"name": "script", "command": words})


def test_one_runs_at_a_time_for_a_minute_unless_it_is_told_otherwise() -> None:
    settings = CommandSettings(name="script", command=("true",))
    assert settings.policy.concurrency == 1
    assert settings.timeout.total_seconds() == 60
    with pytest.raises(ValidationError, match="timeout"):
        CommandSettings.model_validate({"name": "script", "command": ["true"], "timeout": "0s"})


async def test_its_exit_status_and_its_last_words_are_told(tmp_path: Path) -> None:
    program = script(tmp_path, "echo working; echo first >&2; printf 'no \\033[31mroom\\n\\n \\n' >&2; exit 3")
    error = await refusal(program)
    assert str(error) == f"{program} ended with exit status 3: no �[31mroom"
    assert error.response == "first\nno \x1b[31mroom\n\n \nworking\n"
    assert not error.is_down
    assert not error.is_gone


async def test_one_that_fails_silently_is_told_of_all_the_same(tmp_path: Path) -> None:
    assert str(await refusal("false")) == "false ended with exit status 1"


async def test_the_signal_that_killed_it_is_named(tmp_path: Path) -> None:
    assert str(await refusal("sh", "-c", "kill -SEGV $$")) == "sh was killed by SIGSEGV"
    number = signal.SIGRTMIN + 3
    assert str(await refusal("sh", "-c", f"kill -{number} $$")) == f"sh was killed by {number}"


async def test_what_it_says_is_bounded_and_never_keeps_it_waiting(tmp_path: Path) -> None:
    flood = "head -c 3000000 /dev/zero | tr '\\0' x"
    error = await refusal(script(tmp_path, f"{flood}; {flood} >&2; echo >&2; echo the end >&2; exit 1"))
    assert error.response is not None
    assert 10_000 < len(error.response) <= 20_000
    assert str(error).endswith("exit status 1: the end")


async def test_bytes_that_are_no_text_are_shown_as_such(tmp_path: Path) -> None:
    error = await refusal(script(tmp_path, r"printf 'a\377\000b\n' >&2; exit 1"))
    assert str(error).endswith(": a��b")


async def test_what_it_says_when_it_succeeds_is_for_debugging_only(tmp_path: Path) -> None:
    with capture_logs() as logs:
        await run(script(tmp_path, "echo hello; echo there >&2"))
    assert [(entry["event"], entry["log_level"], entry["output"]) for entry in logs] == [
        ("command succeeded", "debug", "there\nhello\n")
    ]


@pytest.mark.parametrize("body", ["exec 0<&-; exit 0", "exit 0"])
async def test_not_to_read_standard_input_is_no_error(tmp_path: Path, body: str) -> None:
    event = imported(near_duplicates=[{"asset_id": number, "distance": 0} for number in range(10_000)])
    assert len(body_of(event)) > 200_000  # more than a pipe holds, as only a plugin's is
    await run(script(tmp_path, body), event=event)


async def test_at_its_deadline_it_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    program = script(tmp_path, 'sleep 1000 & echo $! > "$HERE/child.pid"; wait')
    error = await refusal(program, timeout="300ms")
    assert str(error) == f"{program} did not end within 300ms"
    await until(lambda: not is_running(tmp_path / "child.pid"))


async def test_one_that_does_not_end_when_it_is_asked_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "GRACE_S", 0.1)
    program = script(tmp_path, 'trap "" TERM; echo $$ > "$HERE/pid"; while :; do sleep 1000; done')
    error = await refusal(program, timeout="300ms")
    assert str(error) == f"{program} did not end within 300ms"
    assert not is_running(tmp_path / "pid")


@pytest.mark.parametrize("reply", ["exit 0", "while :; do sleep 1000; done"])
async def test_one_that_is_cancelled_is_asked_to_end_and_then_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    monkeypatch.setattr(command, "GRACE_S", 1.0)
    program = script(
        tmp_path,
        f"""
        trap 'echo asked > "$HERE/asked"; {reply}' TERM
        sleep 1000 & echo $! > "$HERE/child.pid"
        echo $$ > "$HERE/pid.new"; mv "$HERE/pid.new" "$HERE/pid"
        wait
        """,
    )
    async with subscriber(program) as running, anyio.create_task_group() as tasks:
        tasks.start_soon(running.receive, imported())
        await until((tmp_path / "pid").exists)
        tasks.cancel_scope.cancel()
    assert (tmp_path / "asked").read_text() == "asked\n"
    assert not is_running(tmp_path / "pid")
    await until(lambda: not is_running(tmp_path / "child.pid"))


async def test_what_it_leaves_running_ends_with_it(tmp_path: Path) -> None:
    await run(script(tmp_path, 'sleep 1000 & echo $! > "$HERE/pid"'))
    await until(lambda: not is_running(tmp_path / "pid"))


async def test_what_left_its_group_goes_on_and_is_not_waited_for(tmp_path: Path) -> None:
    leave = "import os, time; os.setsid(); open('pid', 'w').write(str(os.getpid())); time.sleep(1000)"
    program = script(
        tmp_path, f"""cd "$HERE"; '{sys.executable}' -c "{leave}" & while ! test -s pid; do sleep 0.01; done"""
    )
    await run(program)
    assert is_running(tmp_path / "pid")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


async def test_one_that_cannot_be_started_is_down(tmp_path: Path) -> None:
    program = script(tmp_path, "exit 0")
    async with subscriber(program) as running:
        for change, what in (
            (lambda: program.write_text("exit 0\n"), "Exec format error: if it is a script, begin it with #!/bin/sh"),
            (
                lambda: program.write_text("#!/no/such/shell\n"),
                "No such file or directory: it is gone, or the interpret",
            ),
            (lambda: program.chmod(0o644), "Permission denied"),
            (program.unlink, "No such file or directory: it is gone"),
        ):
            change()
            with pytest.raises(DeliveryError) as caught:
                await running.receive(imported())
            assert str(caught.value).startswith(f"{program} cannot be started: {what}")
            assert caught.value.is_down
        script(tmp_path, "exit 0")
        await running.receive(imported())


async def test_its_arguments_are_in_no_log_no_repr_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    program = subscriber("false", "--password=sesame")
    with capture_logs() as logs:
        async with program:
            with pytest.raises(DeliveryError) as caught:
                await program.receive(imported())
    assert "sesame" not in f"{program!r} {caught.value!r} {caught.value.response} {caplog.text} {logs}"


async def test_a_plugins_event_need_not_look_like_ours(tmp_path: Path) -> None:
    event = imported(path="/a\0b", root="a\0b", sha256=["no", "text"], path_base64="not base64!")
    await run(script(tmp_path, 'env -0 > "$HERE/env"; cat > "$HERE/body"'), event=event)
    assert not {b"DAMD_PATH", b"DAMD_ROOT", b"DAMD_SHA256"} & variables(tmp_path / "env").keys()
    assert json.loads((tmp_path / "body").read_bytes())["data"]["path"] == "/a\0b"


async def test_what_was_not_entered_says_so() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await subscriber("true").receive(imported())
