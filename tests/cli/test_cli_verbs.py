"""``damd pause``, ``resume``, ``scan``, ``reload`` and ``wait``: what they ask, say and end with."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from answering import before, daemon, reload, root, status
from command_line import Outcome, run_damd

from damd.errors import DamdError

UNKNOWN = "No root is called elsewhere; those that are watched: inbox"


async def refuse(question: Mapping[str, Any]) -> dict[str, Any]:
    raise DamdError(UNKNOWN)


async def never(question: Mapping[str, Any]) -> dict[str, Any]:
    await anyio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize("verb", ["pause", "resume", "scan", "reload", "wait"])
def test_without_a_daemon_there_is_nobody_to_tell(verb: str, state: Path) -> None:
    told = run_damd(verb, "--state", state)
    assert (told.code, told.out) == (69, "")
    assert told.err == (
        f"There is no folder {state} yet, so nothing is known of it: is another one meant (--state)?\n"
        f"damd: No damd runs on {state}: start one with `damd run`\n"
    )
    state.mkdir()
    assert run_damd(verb, "--state", state, "--json") == (
        69,
        "",
        f"damd: No damd runs on {state}: start one with `damd run`\n",
    )


def test_to_pause_says_how_to_go_on(state: Path) -> None:
    with daemon(state, status=status(), pause={"paused_since": before()}) as asked:
        told = run_damd("pause", "--state", state)
        assert [each["command"] for each in asked] == ["status", "pause"]
        (answer,) = run_damd("pause", "--state", state, "--json").objects
    assert told == (
        0,
        "",
        "Paused: what is in work is finished, and no other file is begun. To go on: damd resume\n",
    )
    assert answer == {"paused_since": before(), "changed": True}


def test_to_pause_what_is_paused_says_since_when(state: Path) -> None:
    with daemon(state, status=status(paused_since=before()), pause={"paused_since": before()}):
        told = run_damd("pause", "--state", state)
        (answer,) = run_damd("pause", "--state", state, "--json").objects
    assert told == (0, "", "It is paused already, since 2026-05-04 10:11:12 UTC. To go on: damd resume\n")
    assert answer == {"paused_since": before(), "changed": False}


@pytest.mark.parametrize(
    ("paused_since", "words"),
    [(before(), "It goes on; it was paused since 2026-05-04 10:11:12 UTC.\n"), (None, "It was not paused.\n")],
)
def test_to_resume_says_whether_that_changed_anything(paused_since: str | None, words: str, state: Path) -> None:
    with daemon(state, status=status(paused_since=paused_since), resume={"paused_since": None}):
        assert run_damd("resume", "--state", state) == (0, "", words)
        (answer,) = run_damd("resume", "--state", state, "--json").objects
    assert answer == {"paused_since": None, "changed": paused_since is not None}


def test_to_scan_names_what_is_looked_through(state: Path) -> None:
    with daemon(state, scan={"roots": ["inbox", "nas"]}) as asked:
        assert run_damd("scan", "--state", state) == (0, "", "Looking through inbox, nas.\n")
        assert run_damd("scan", "inbox", "--state", state, "--json").objects == [{"roots": ["inbox", "nas"]}]
    assert [each["root"] for each in asked] == [None, "inbox"]


@pytest.mark.parametrize("verb", ["scan", "wait"])
def test_an_unknown_root_is_told_the_known_ones(verb: str, state: Path) -> None:
    with daemon(state, **{verb: refuse}):
        assert run_damd(verb, "elsewhere", "--state", state) == (1, "", f"damd: {UNKNOWN}\n")


def test_a_reload_says_what_it_changed_and_what_needs_a_restart(state: Path) -> None:
    with daemon(state, reload=reload()):
        assert run_damd("reload", "--state", state) == (0, "", "Reloaded; changed: nothing.\n")
    answer = reload(changed=["watch", "logging"], restart=["http"])
    with daemon(state, reload=answer):
        told = run_damd("reload", "--state", state)
        assert run_damd("reload", "--state", state, "--json").objects == [answer]
    assert (told.code, told.out) == (0, "")
    assert told.err.splitlines() == [
        "Reloaded; changed: watch, logging.",
        "What is new in these needs a restart of the daemon: http.",
    ]


def test_a_reload_that_is_refused_ends_with_78_and_every_problem(state: Path) -> None:
    problems = ["damd.yaml:3:14: watch.0.settle: wrong", "damd.yaml:4:1: wach: is not a known key"]
    answer = reload(ok=False, problems=problems)
    with daemon(state, reload=answer):
        told = run_damd("reload", "--state", state)
        as_json = run_damd("reload", "--state", state, "--json")
    assert (told.code, told.out) == (78, "")
    assert told.err.splitlines() == [
        *problems,
        "The reload is refused: the configuration before it stays in force.",
    ]
    assert (as_json.code, as_json.objects, as_json.err) == (78, [answer], "")


@pytest.mark.parametrize("verb", ["pause", "resume", "scan", "reload", "wait"])
def test_a_configuration_that_is_wrong_keeps_nobody_from_a_daemon_that_is_named(
    verb: str, state: Path, tmp_path: Path
) -> None:
    config = tmp_path / "damd.yaml"
    config.write_text(f"wach: 3\nstate: {state}\n")
    answers: dict[str, Any] = {"pause": {"paused_since": before()}, "resume": {"paused_since": None}}
    answers |= {"status": status(), "scan": {"roots": []}, "wait": {"roots": []}, "reload": reload()}
    with daemon(state, **answers) as asked:
        for named in (["--config", config, "--state", state], ["--config", config]):
            assert run_damd(verb, *named).code == 0
            assert asked[-1]["command"] == verb
    assert run_damd(verb, "--config", config).code == 78, "nobody is there to be asked"


def test_to_wait_ends_when_all_is_done(state: Path) -> None:
    with daemon(state, wait={"roots": ["inbox", "nas"]}) as asked:
        told = run_damd("wait", "--state", state, "--timeout", "1h")
        as_json = run_damd("wait", "inbox", "--state", state, "--json")
    assert told == (0, "", "All that was there is catalogued or failed: inbox, nas.\n")
    assert as_json == (0, '{"roots": ["inbox", "nas"], "done": true}\n', "")
    assert [each["root"] for each in asked] == [None, "inbox"]


def test_to_wait_ends_when_the_time_is_over_with_what_is_left(state: Path) -> None:
    roots = [root("inbox", "/inbox", waiting=2, in_work=1, scanning=True), root("nas", "/nas")]
    with daemon(state, status=status(roots=roots), wait=never):
        told = run_damd("wait", "--state", state, "--timeout", "1ms")
        as_json = run_damd("wait", "inbox", "--state", state, "--timeout", "1ms", "--json")
    assert (told.code, told.out) == (1, "")
    assert told.err.splitlines() == [
        "The time is over.",
        "inbox: 2 files waiting, 1 in work, scanning",
        "nas: 0 files waiting, 0 in work",
    ]
    left = {"name": "inbox", "scanning": True, "waiting": 2, "in_work": 1}
    assert (as_json.code, as_json.objects) == (1, [{"roots": ["inbox"], "done": False, "left": [left]}])


def test_a_time_without_its_unit_is_refused(state: Path) -> None:
    refused = run_damd("wait", "--timeout", "30", "--state", state)
    assert (refused.code, refused.out) == (2, "")
    assert "a duration is written with its units: 500ms, 15m" in refused.err


class Running:
    """A real daemon with one root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.configure()

    def configure(self, **more: Any) -> None:
        watch = [{"path": str(self.inbox), "settle": "0s", "unsupported": "catalogue"}]
        (self.folder / "damd.yaml").write_text(json.dumps({"watch": watch} | more))

    @property
    def options(self) -> tuple[str, ...]:
        return ("--config", f"{self.folder}/damd.yaml", "--state", f"{self.folder}/state")

    def damd(self, *arguments: str) -> Outcome:
        return run_damd(*arguments, *self.options)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    it = Running(tmp_path_factory.mktemp("running"))
    command = [sys.executable, "-m", "damd", "run", *it.options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any('"ready"' in line for line in process.stderr), "it ended before it was ready"
            yield it
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_daemon_is_waited_for_until_a_file_is_an_asset(running: Running) -> None:
    (running.inbox / "waited for.txt").write_text("waited for")
    assert running.damd("wait", "inbox", "--timeout", "30s") == (
        0,
        "",
        "All that was there is catalogued or failed: inbox.\n",
    )
    assert "waited for.txt" in running.damd("assets", "list").out
    assert running.damd("wait", "elsewhere").err == f"damd: {UNKNOWN}\n"


def test_a_daemon_scans(running: Running) -> None:
    assert running.damd("scan", "inbox") == (0, "", "Looking through inbox.\n")
    assert running.damd("scan", "elsewhere") == (2, "", f"damd: {UNKNOWN}\n")


def test_a_daemon_pauses_and_goes_on(running: Running) -> None:
    assert running.damd("pause", "--json").objects[0]["changed"]
    try:
        (running.inbox / "held back.txt").write_text("held back")
        assert running.damd("pause").err.startswith("It is paused already, since 2")
        assert "PAUSED since 2" in running.damd("status").out
        refused = running.damd("wait")
        assert (refused.code, refused.err) == (1, "damd: damd is paused, so this would not end: damd resume\n")
        assert "held back.txt" not in running.damd("assets", "list").out
    finally:
        assert running.damd("resume").err.startswith("It goes on; it was paused since 2")
    assert running.damd("resume").err == "It was not paused.\n"
    assert running.damd("wait").code == 0
    assert "held back.txt" in running.damd("assets", "list").out


def test_a_daemon_reloads_or_says_why_not(running: Running) -> None:
    assert running.damd("reload").err == "Reloaded; changed: nothing.\n"
    running.configure(logging={"level": "warning"}, thumbnails={"quality": 70})
    taken = running.damd("reload")
    assert (taken.code, taken.out) == (0, "")
    assert taken.err.splitlines() == [
        "Reloaded; changed: logging.",
        "What is new in these needs a restart of the daemon: thumbnails.",
    ]
    assert "RESTART NEEDED, said the reload at 2" in running.damd("status").out
    (running.folder / "damd.yaml").write_text("wach: 3\n")
    told = running.damd("reload")
    assert (told.code, told.out) == (78, "")
    assert told.err.startswith(f"{running.folder}/damd.yaml:1:1: wach: is not a known key")
    status = run_damd("status", "--state", f"{running.folder}/state").out
    assert "RELOAD REFUSED at 2" in status
    running.configure()
    assert running.damd("reload").code == 0
    assert "RELOAD REFUSED" not in running.damd("status").out
