"""``damd status``: what is told of a daemon's answer, on paper, on narrow and wide terminals, once and for ever."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from answering import AT, answering, before, daemon, endpoint, reload, root, status
from command_line import STRANGE, Start, run_damd
from rich.console import Console

from damd.cli.status.asking import ask_again_and_again
from damd.cli.status.drawing import WIDE, drawing
from damd.cli.status.standing import lines
from damd.config import Config
from damd.events import readable

HELD = "HELD, nothing in it is taken for deleted: 3 of 3 known files are not there (see damd roots list)"

LAST = ["3", "s", "ago", "/home/anna/Pictures/inbox"]


def told(**facts: Any) -> list[str]:
    return [" " * line.indent + line.text for line in lines(status(**facts), AT)]


def drawn(answer: dict[str, Any], *, width: int) -> list[str]:
    console = Console(width=width, force_terminal=True, color_system=None, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(drawing(answer, AT, width=width))
    return [line.rstrip() for line in captured.get().splitlines()]


def busy() -> dict[str, Any]:
    """A daemon of which there is much to say."""
    inbox = root("inbox", "/home/anna/Pictures/inbox", waiting=12, in_work=2, oldest_s=80.0, scanning=True)
    inbox |= {"outcomes": {"imported": 1204, "skipped": 31}, "last_imported_at": before(seconds=3)}
    nas = root("nas", "/mnt/nas", backend="polling", renewals=2, held="3 of 3 known files are not there")
    shop = endpoint("shop", state="disabled", owed=7, disabled_since=before(), disabled_because="It answers 410 Gone")
    gallery = endpoint("gallery", last_delivered_at=before(minutes=2))
    files = [
        {"path": "/home/anna/Pictures/inbox/a.jpg", "root": "inbox", "stage": "read", "since_s": 1.2},
        {"path": "/home/anna/Pictures/inbox/b.mov", "root": "inbox", "stage": None, "since_s": 14.0},
    ]
    return status(
        roots=[inbox, nas],
        endpoints=[gallery, shop],
        files=files,
        paused_since=before(hours=1),
        waiting=12,
        oldest_s=80.2,
        in_work=2,
        retrying=3,
        since_start={"imported": 1204},
        rates={"files_per_s": 3.24, "bytes_per_s": 14_100_000},
        catalogue={"assets": 1200, "failures": 2, "deliveries_parked": 7},
    )


def test_an_idle_daemon_is_told_in_a_few_lines() -> None:
    assert told(config="/etc/damd.yaml") == [
        "damd 1.2, process 4242, on /state, started 2h ago",
        "configuration: /etc/damd.yaml",
        "0 waiting, 0 in work",
        "catalogue: assets 3, failures 0, deliveries parked 0",
    ]


def test_everything_that_there_is_to_say_is_told() -> None:
    assert told(**busy()) == [
        "damd 1.2, process 4242, on /state, started 2h ago",
        "PAUSED since 2026-05-04 09:11:12 UTC: no file is begun until damd resume",
        "  inbox: /home/anna/Pictures/inbox (native, 12 waiting, 2 in work, scanning)",
        "    since start: 1204 imported, 31 skipped, the last import 3 s ago",
        "  nas: /mnt/nas (polling, watches renewed 2 times)",
        f"    {HELD}",
        "  gallery: webhook (active, 0 owed)",
        "  shop: webhook (disabled, 7 owed)",
        "    DISABLED since 2026-05-04 10:11:12 UTC: It answers 410 Gone (see damd webhooks list)",
        "12 waiting (the oldest for 1m), 2 in work, 3 to be tried again later",
        "    14 s        /home/anna/Pictures/inbox/b.mov",
        "     1 s  read  /home/anna/Pictures/inbox/a.jpg",
        "in the last minute: 194 files, 846.0 MB (3.2 files/s, 14.1 MB/s)",
        "since start: 1204 imported",
        "catalogue: assets 1200, failures 2, deliveries parked 7",
        "2 files failed: see damd failures list",
        "7 events wait for who is disabled or removed: see damd webhooks list",
    ]


def test_a_reload_that_was_refused_is_told_with_its_problems() -> None:
    assert told(reload=reload(ok=False, problems=["damd.yaml:3:14: watch.0.settle: wrong"]))[1:3] == [
        "RELOAD REFUSED at 2026-05-04 10:10:42 UTC, what was in force stays so:",
        "  damd.yaml:3:14: watch.0.settle: wrong",
    ]


def test_a_reload_that_needs_a_restart_says_for_what() -> None:
    assert told(reload=reload(restart=["http", "ingest"]))[1] == (
        "RESTART NEEDED, said the reload at 2026-05-04 10:10:42 UTC, for: http, ingest"
    )
    assert told(reload=reload(changed=["watch"])) == told()


def test_a_catalogue_that_cannot_be_asked_hides_nothing_else() -> None:
    assert told(catalogue=None)[-2:] == ["0 waiting, 0 in work", "catalogue: it cannot be asked now"]


def test_an_endpoint_that_fails_says_since_when_and_why() -> None:
    failing = endpoint(
        "shop", kind="command", state="failing", owed=1, failing_since=before(), last_error="exit code 3"
    )
    assert told(endpoints=[failing])[1:3] == [
        "  shop: command (failing, 1 owed)",
        "    FAILING since 2026-05-04 10:11:12 UTC: exit code 3 (see damd webhooks list)",
    ]


@pytest.mark.parametrize("width", [60, 80, WIDE, 200])
def test_no_line_is_longer_than_the_terminal_and_nothing_is_lost(width: int) -> None:
    shown = drawn(busy(), width=width)
    assert max(map(len, shown)) <= width
    joined = "".join("".join(shown).split())
    for words in (
        "PAUSED",
        "inbox",
        "polling",
        HELD,
        "1204",
        "410 Gone",
        "14.1 MB/s",
        "/mnt/nas",
        "damd failures list",
    ):
        assert "".join(words.split()) in joined


def test_a_wide_terminal_shows_tables() -> None:
    shown = drawn(busy(), width=150)
    assert [line.split() for line in shown if line.startswith(("root", "inbox", "gallery"))] == [
        ["root", "watched", *("waiting", "oldest", "in", "work", "imported", "skipped", "failed", "last", "folder")],
        ["inbox", "native,", "scanning", "12", "1m", "2", "1204", "31", "-", *LAST],
        ["gallery", "webhook", "active", "-", "2m", "ago"],
    ]
    assert f"nas: {HELD}" in shown


@pytest.mark.parametrize("width", [60, 200])
def test_names_cannot_move_the_cursor(width: int) -> None:
    name = readable(b"/inbox/" + STRANGE)
    answer = status(roots=[root("inbox", name, held=name)], files=[{"path": name, "stage": None, "since_s": 1}])
    shown = "".join(drawn(answer, width=width))
    assert "\x1b" not in shown
    assert "\\x1b[2J" in "".join(shown.split())


def test_the_json_is_the_daemon_s_own_answer(state: Path) -> None:
    with daemon(state, status=busy()):
        assert run_damd("status", "--json", "--state", state) == (0, json.dumps(busy()) + "\n", "")


def test_without_a_daemon_the_catalogue_is_told_alone(tmp_path: Path, state: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    assert run_damd("ingest", tmp_path / "a.txt", "--state", state).code == 3
    words, as_json = run_damd("status", "--state", state), run_damd("status", "--state", state, "--json")
    assert (words.code, words.err) == (69, f"damd: No damd runs on {state}: start one with `damd run`\n")
    assert words.out.splitlines()[-1] == "1 file failed: see damd failures list"
    assert (as_json.code, as_json.objects[0]["catalogue"]["failures"]) == (69, 1)


def test_a_folder_that_is_not_there_is_said_not_to_be(state: Path) -> None:
    gone = run_damd("status", "--state", state)
    assert (gone.code, gone.out) == (69, "")
    assert gone.err.startswith(f"There is no folder {state} yet")
    assert not state.exists()


def test_metrics_are_not_watched(state: Path) -> None:
    refused = run_damd("status", "--watch", "--metrics", "--state", state)
    assert (refused.code, refused.out) == (2, "")
    assert "--metrics" in refused.err


@pytest.mark.anyio
async def test_who_watches_sees_the_daemon_go_and_come(state: Path) -> None:
    with anyio.fail_after(20):
        answers = ask_again_and_again(Config(state=state), pause_s=0)
        assert await anext(answers) == {"catalogue": None}
        async with answering(state, {"status": status()}):
            assert await anext(answers) == status()
            assert await anext(answers) == status()
        assert await anext(answers) == {"catalogue": None}
        async with answering(state, {"status": status(paused_since=before())}):
            assert await anext(answers) == status(paused_since=before())


def test_off_a_terminal_each_look_is_a_block_of_its_own(state: Path, start: Start) -> None:
    with daemon(state, status=busy()):
        watching = start("status", "--watch", "--state", state)
        assert watching.stdout is not None
        first = list(until_blank(watching.stdout))
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=20)
    assert (watching.returncode, err) == (130, b"")
    assert first[0].endswith(" UTC")
    assert first[1].startswith("damd 1.2, process 4242, on /state")
    assert all(line.isprintable() for line in first)


def test_watched_as_json_each_look_is_a_line(state: Path, start: Start) -> None:
    state.mkdir()
    watching = start("status", "--watch", "--json", "--state", state)
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline()) == {"catalogue": None}
    watching.send_signal(signal.SIGINT)
    assert (watching.communicate(timeout=20), watching.returncode) == ((b"", b""), 130)


def until_blank(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        if line == b"\n":
            return
        yield line.decode().rstrip("\n")


@contextmanager
def terminal(*, columns: int, rows: int) -> Iterator[tuple[int, int]]:
    """Both ends of one: what is shown on it, and where it is shown."""
    shown, there = pty.openpty()
    termios.tcsetwinsize(there, (rows, columns))
    with closing(os.fdopen(shown, closefd=True)), closing(os.fdopen(there, "w", closefd=True)):
        yield shown, there


def until_shown(shown: int, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        seen += os.read(shown, 4096)
    return seen


def test_on_a_terminal_it_is_drawn_on_a_screen_of_its_own_until_ctrl_c(state: Path) -> None:
    command = [sys.executable, "-m", "damd", "status", "--watch", "--state", str(state)]
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with daemon(state, status=status()), terminal(columns=70, rows=20) as (shown, there):
        watching = subprocess.Popen(
            command, stdout=there, stderr=subprocess.PIPE, env=environment | {"TERM": "xterm"}, start_new_session=True
        )
        with watching:
            assert until_shown(shown, b"catalogue: assets 3").startswith(b"\x1b[?1049h")
            watching.send_signal(signal.SIGINT)
            assert until_shown(shown, b"\x1b[?1049l").count(b"Traceback") == 0
            _, err = watching.communicate(timeout=20)
    assert (watching.returncode, err) == (130, b"")
