"""``damd roots``, and what ``damd status`` says of them."""

import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from command_line import Outcome, run_damd
from sqlmodel import Session

from damd import control
from damd.assembly import open_world
from damd.catalogue import absence
from damd.catalogue.store import Catalogue
from damd.config import load_config
from damd.errors import WatchError

AT_WORK = {"backend": "native", "scanning": False, "unwatched": 0, "renewals": 0, "waiting": 0}
ROOT = {
    *(
        "name",
        "path",
        "locations",
        "missing",
        "held_since",
        "held_because",
        "held_missing",
        "accepted_at",
        "configured",
        "there",
    ),
    *("problem", "daemon"),
}
BECAUSE = "3 of 3 known files are not there"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A root with three files, all of which the catalogue knows."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number in range(3):
        (inbox / f"{number}.txt").write_text(str(number))
    (tmp_path / "damd.yaml").write_text(f"watch: [{{path: {inbox}, unsupported: catalogue}}]\n")
    assert damd(inbox, "ingest", inbox).code == 0
    return inbox


def damd(inbox: Path, *arguments: object) -> Outcome:
    folder = inbox.parent
    return run_damd(*arguments, "--config", folder / "damd.yaml", "--state", folder / "state")


def write(inbox: Path, change: Callable[[Session], Any]) -> Any:
    """Have something written into the catalogue."""
    config = load_config(inbox.parent / "damd.yaml", overrides={"state": str(inbox.parent / "state")})

    async def write_it() -> Any:
        async with open_world(config) as world:
            return await world.get_resource(Catalogue).write(change)

    return anyio.run(write_it)


def hold(inbox: Path, because: str = BECAUSE, *, missing: int | None = 3) -> None:
    at = datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)
    write(inbox, lambda session: absence.hold(session, "inbox", because, missing=missing, at=at))


@contextmanager
def daemon(inbox: Path, **root: Any) -> Iterator[list[Mapping[str, Any]]]:
    """One that answers as damd's does, and notes what it is asked."""
    asked: list[Mapping[str, Any]] = []
    watched = {"name": "inbox", "path": str(inbox), "held": None} | AT_WORK | root
    status = {"version": "1", "pid": 1, "state": "/state", "roots": [watched], "waiting": 3, "oldest_s": 12.3}
    status |= {"in_work": 1, "since_start": {"imported": 2}, "catalogue": {"assets": 3}}

    async def answer_status(question: Mapping[str, Any]) -> dict[str, Any]:
        return status

    async def answer_scan(question: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(question)
        return {"roots": [each for each in [watched["name"]] if each == question["root"]]}

    @asynccontextmanager
    async def serving() -> AsyncIterator[None]:
        answers: dict[str, control.Answer] = {"status": answer_status, "scan": answer_scan}
        state = inbox.parent / "state"
        async with anyio.create_task_group() as tasks:
            await tasks.start(lambda task_status: control.serve(state, answers, task_status=task_status))
            yield
            tasks.cancel_scope.cancel()

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving()):
        yield asked


def test_roots_are_listed_with_what_is_known_in_them(inbox: Path) -> None:
    told = damd(inbox, "roots", "list")
    assert told == (0, f"inbox: {inbox} (not watched)\n  3 files known\n", "")
    (root,) = damd(inbox, "roots", "list", "--json").objects
    assert set(root) == ROOT
    assert (root["name"], root["path"], root["configured"], root["there"]) == ("inbox", str(inbox), True, True)
    assert (root["locations"], root["missing"], root["held_since"], root["daemon"]) == (3, 0, None, None)


def test_what_is_only_configured_or_only_known_is_listed_too(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "damd.yaml").write_text(f"watch: [{{path: {tmp_path / 'new'}}}]\n")
    told = damd(inbox, "roots", "list")
    assert told.out.splitlines() == [
        f"inbox: {inbox} (not watched, not configured)",
        "  3 files known",
        f"new: {tmp_path}/new (not watched)",
        "  0 files known; its folder is not there: No such file or directory",
    ]


def test_a_question_begins_no_catalogue(tmp_path: Path, state: Path) -> None:
    told = run_damd("roots", "list", "--state", state)
    assert (told.code, told.out) == (0, "")
    assert told.err.startswith("There are no roots yet: damd run --watch DIR")
    assert run_damd("roots", "list", "--json", "--state", state).objects == []
    assert run_damd("roots", "accept", "inbox", "--state", state).code == 1
    assert not state.exists()


def test_names_of_any_bytes_are_found_again(tmp_path: Path, state: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (tmp_path / "damd.yaml").write_text(f"watch: [{{path: {tmp_path / 'link'}, name: odd}}]\n")
    (tmp_path / "link").symlink_to(folder)
    options = ("--config", tmp_path / "damd.yaml", "--state", state)
    assert run_damd("ingest", tmp_path / "link", *options).code == 0
    (root,) = run_damd("roots", "list", "--json", *options).objects
    assert root["there"]
    assert root["path_base64"]


def test_what_a_daemon_does_about_a_root_stands_beside_it(inbox: Path) -> None:
    with daemon(inbox, scanning=True, unwatched=2, renewals=1, waiting=3):
        told = damd(inbox, "roots", "list")
        (root,) = damd(inbox, "roots", "list", "--json").objects
    facts = "native, 3 waiting, scanning, polling 2 of its folders, watches renewed once"
    assert told.out.splitlines()[0] == f"inbox: {inbox} ({facts})"
    assert root["daemon"] == AT_WORK | {"scanning": True, "unwatched": 2, "renewals": 1, "waiting": 3}


def test_a_held_root_stands_out_with_what_to_do(inbox: Path) -> None:
    hold(inbox)
    held = f"  HELD since 2026-05-04 10:11:12 UTC: {BECAUSE}."
    *_, last = damd(inbox, "roots", "list").out.splitlines()
    assert last == f"{held} Bring back what is not there, or let it pass: damd roots accept inbox"
    damd(inbox, "roots", "accept", "inbox")
    *_, last = damd(inbox, "roots", "list").out.splitlines()
    assert last.startswith(f"{held} Accepted 2")
    inbox.rename(inbox.parent / "away")
    *_, second, last = damd(inbox, "roots", "list").out.splitlines()
    assert second == "  3 files known; its folder is not there: No such file or directory"
    assert last == f"{held} Mount it, or remove it from the configuration"


def test_what_is_accepted_is_said_and_noted(inbox: Path) -> None:
    hold(inbox)
    assert write(inbox, lambda session: absence.accepted_missing(session, "inbox")) is None
    told = damd(inbox, "roots", "accept", "inbox")
    assert (told.code, told.out) == (0, "")
    assert told.err == (
        "Accepted: in inbox, 3 files that are not there will be marked missing; assets are never deleted.\n"
        "The next `damd run` that watches it does so.\n"
    )
    assert write(inbox, lambda session: absence.accepted_missing(session, "inbox")) == 3


def test_a_daemon_is_asked_to_look_at_once(inbox: Path) -> None:
    hold(inbox)
    with daemon(inbox) as asked:
        told = damd(inbox, "roots", "accept", "inbox", "--json")
        words = damd(inbox, "roots", "accept", "inbox")
    accepted = {"name": "inbox", "held_because": BECAUSE, "accepted": True, "scanning": True}
    assert (told.code, told.objects, told.err) == (0, [accepted], "")
    assert words.err.endswith("The daemon looks at it now.\n")
    assert [(each["command"], each["root"]) for each in asked] == [("scan", "inbox")] * 2


def test_a_daemon_that_does_not_watch_it_leaves_it_to_the_next_run(inbox: Path) -> None:
    hold(inbox)
    with daemon(inbox, name="other"):
        (told,) = damd(inbox, "roots", "accept", "inbox", "--json").objects
    assert not told["scanning"]


def test_what_is_not_held_cannot_be_accepted(inbox: Path) -> None:
    refused = damd(inbox, "roots", "accept", "inbox")
    assert refused == (1, "", "damd: The root inbox is not held: there is nothing to accept\n")
    refused = damd(inbox, "roots", "accept", "attic")
    assert refused == (1, "", "damd: The catalogue knows no root attic; those it knows: inbox\n")


def test_what_lay_in_a_root_that_is_not_there_cannot_be_accepted(inbox: Path) -> None:
    hold(inbox)
    inbox.rename(inbox.parent / "away")
    refused = damd(inbox, "roots", "accept", "inbox")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        f"damd: The root inbox ({inbox}) is not there (No such file or directory), so that nothing in it can be "
        "missed: mount it, or remove it from the configuration\n"
    )
    inbox.parent.joinpath("away").rename(inbox)
    assert write(inbox, lambda session: absence.accepted_missing(session, "inbox")) is None


def test_a_root_that_could_not_be_watched_misses_nothing_that_could_be_accepted(inbox: Path) -> None:
    """It may be an empty mount point by now."""
    because = str(WatchError(str(inbox), FileNotFoundError(errno.ENOENT, "No such file or directory")))
    hold(inbox, because, missing=None)
    refused = damd(inbox, "roots", "accept", "inbox")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("damd: Nothing is known to be missing in the root inbox, which could not be watched")
    assert write(inbox, lambda session: absence.accepted_missing(session, "inbox")) is None
    assert damd(inbox, "roots", "list").out.endswith(" A running damd tries again, and releases it\n")


def test_the_status_tells_what_waits_and_which_root_is_held(inbox: Path) -> None:
    with daemon(inbox, waiting=3, renewals=2, held=BECAUSE):
        told = damd(inbox, "status")
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[1:4] == [
        f"  inbox: {inbox} (native, 3 waiting, watches renewed 2 times)",
        f"    HELD, nothing in it is taken for deleted: {BECAUSE} (see damd roots list)",
        "3 waiting (the oldest for 12 s), 1 in work",
    ]
    with daemon(inbox, backend=None, scanning=True):
        assert f"  inbox: {inbox} (not watched, scanning)\n" in damd(inbox, "status").out
