"""Why a path is where it is: each answer, over a real catalogue and real files."""

import base64
import os
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import anyio
import anyio.to_thread
import pytest
from sqlmodel import Session, update

from damd import control, explain, patience
from damd.catalogue import absence
from damd.catalogue.absence import candidates, mark_missing
from damd.catalogue.failing import record_failure
from damd.catalogue.record import Finding
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Volume
from damd.cli.explain import words
from damd.config import Config
from damd.errors import BrokenFileError, FileChangedError, FileError
from damd.explain import Explanation, Ignored
from damd.fingerprint import take_signature
from damd.ingest.ingest_file import IngestFileCommand
from damd.intake import Intake
from damd.world import World

pytestmark = pytest.mark.anyio

OpenWorld = Callable[..., Awaitable[World]]
WATCHED: Mapping[str, Any] = {"roots": [{"name": "inbox", "scanning": False}]}
SCANNING: Mapping[str, Any] = {"roots": [{"name": "inbox", "scanning": True}]}
AT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
async def world(opened: OpenWorld, inbox: Path) -> World:
    return await open_with(opened, inbox)


async def open_with(opened: OpenWorld, inbox: Path, **settings: Any) -> World:
    """A world whose only root takes every type, so that nothing needs to be decoded."""
    root = {"path": inbox, "unsupported": "catalogue"} | settings
    return await opened(**Config.model_validate({"watch": [root]}).model_dump(include={"watch"}))


async def ingest(world: World, path: Path, text: str = "roses are red") -> Path:
    await anyio.Path(path).write_text(text)
    await world.dispatch_command(IngestFileCommand(file_path=path))
    return path


async def say(world: World, path: Path, daemon: Mapping[str, Any] | None = None) -> str:
    """The answer without its subject."""
    said = words(await explain.explain(world, path, daemon=daemon))
    assert 1 <= len(said) <= 3
    assert said[0].startswith(f"{path} ")
    return " ".join(said).removeprefix(f"{path} ")


def asset(answer: str) -> str:
    """The answer without its moments."""
    return re.sub(AT, "…", answer)


async def fail(world: World, path: Path, error: FileError) -> None:
    finding = Finding(world.get_resource(Roots).place(path), take_signature(path))
    at = datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)
    await world.get_resource(Catalogue).write(lambda session: record_failure(session, finding, error, at=at))


async def mark_as_missing(world: World, path: Path) -> None:
    roots = world.get_resource(Roots)
    place = roots.place(path)

    def mark(session: Session) -> None:
        gone = candidates(session, place.root, [place.path])
        assert mark_missing(session, roots, place.root, gone, at=datetime.now(UTC))

    await world.get_resource(Catalogue).write(mark)


async def hold(world: World) -> None:
    at = datetime(2026, 5, 4, 10, 11, 12, tzinfo=UTC)
    because = "3 of 3 known files are not there"
    await world.get_resource(Catalogue).write(lambda session: absence.hold(session, "inbox", because, missing=3, at=at))


async def test_what_lies_outside_every_root_is_told_with_the_roots(world: World, tmp_path: Path, inbox: Path) -> None:
    outside = tmp_path / "outside.txt"
    assert await say(world, outside) == f"lies outside every root (inbox: {inbox})."
    await ingest(world, inbox / "a.txt")
    await ingest(world, outside)
    assert asset(await say(world, outside)) == (
        f"lies outside every root (inbox: {inbox}). "
        f"All the same, it is asset 1 (here since …), a duplicate of {inbox}/a.txt."
    )
    outside.write_text("violets are blue")
    assert (await say(world, outside)).split(". ")[1].startswith("It has changed since it was catalogued as asset 1")
    await fail(world, outside, BrokenFileError("it is broken"))
    assert "It failed for good: it is broken; only `damd failures retry`" in await say(world, outside)
    assert "Known below it: 1 file, 1 failed." in await say(world, tmp_path)


async def test_without_any_root_everything_lies_outside(opened: OpenWorld, tmp_path: Path) -> None:
    assert await say(await opened(), tmp_path) == "lies outside every root: there is none."


async def test_the_state_folder_is_nobodys_business(world: World, tmp_path: Path) -> None:
    for path in (tmp_path / "state", tmp_path / "state" / "previews" / "x"):
        assert await say(world, path) == "lies in damd's own state folder, which is never watched."


async def test_a_root_that_is_not_recursive_ends_with_its_own_folder(opened: OpenWorld, inbox: Path) -> None:
    world = await open_with(opened, inbox, recursive=False)
    (inbox / "sub").mkdir()
    for path in (inbox / "sub", inbox / "sub" / "a.txt"):
        assert await say(world, path) == "lies too deep: the root inbox ends with its own folder (recursive: false)."
    assert (await say(world, inbox / "a.txt")).startswith("is not there")


async def test_links_that_are_not_followed_are_told(world: World, inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (inbox / "link").symlink_to(tmp_path / "far")
    (inbox / "broken").symlink_to("nowhere")
    assert await say(world, inbox / "link") == "is a symbolic link, which is not followed (follow_symlinks: false)."
    assert await say(world, inbox / "link" / "sub" / "a.txt") == (
        f"lies behind the symbolic link {inbox}/link, which is not followed (follow_symlinks: false)."
    )
    assert await say(world, inbox / "broken") == "is a symbolic link that leads nowhere: it cannot be catalogued."
    os.mkfifo(inbox / "fifo")
    assert await say(world, inbox / "fifo") == "is neither a file nor a folder: it cannot be catalogued."


async def test_what_a_followed_link_leads_to_is_a_file_like_any_other(
    opened: OpenWorld, inbox: Path, tmp_path: Path
) -> None:
    world = await open_with(opened, inbox, follow_symlinks=True)
    (tmp_path / "far").mkdir()
    (inbox / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "a.txt").write_text("roses are red")
    await world.dispatch_command(IngestFileCommand(file_path=inbox / "link" / "a.txt"))
    assert asset(await say(world, inbox / "link" / "a.txt")) == "is asset 1 (here since …)."
    assert await say(world, inbox / "link") == "is a folder in the root inbox. Known below it: 1 file."


async def test_the_rule_that_ignores_is_named_with_its_source(opened: OpenWorld, inbox: Path) -> None:
    world = await open_with(opened, inbox, ignore=("drafts/",))
    (inbox / "sub").mkdir()
    (inbox / "sub" / ".damdignore").write_text("# none of these\n*.bak\n")
    assert await say(world, inbox / "a.tmp") == 'is ignored by "*.tmp" (the defaults).'
    assert await say(world, inbox / "drafts" / "new" / "a.txt") == (
        f'is ignored: "drafts/" (the configuration) ignores its folder {inbox}/drafts.'
    )
    assert await say(world, inbox / "sub" / "a.bak") == f'is ignored by "*.bak" ({inbox}/sub/.damdignore:2).'
    (inbox / "drafts").mkdir()
    assert await say(world, inbox / "drafts") == 'is ignored by "drafts/" (the configuration).'


async def test_what_is_ignored_by_now_may_be_an_asset_all_the_same(world: World, inbox: Path) -> None:
    path = await ingest(world, inbox / "a.txt")
    (inbox / ".damdignore").write_text("*.txt\n")
    assert asset(await say(world, path)) == (
        f'is ignored by "*.txt" ({inbox}/.damdignore:1). All the same, it is asset 1 (here since …).'
    )


async def test_what_is_not_included_is_left_out(opened: OpenWorld, inbox: Path) -> None:
    world = await open_with(opened, inbox, include=("*.jpg",))
    assert await say(world, inbox / "a.txt") == "is left out: no pattern of include matches (the configuration)."
    assert (await say(world, inbox / "a.jpg")).startswith("is not there")


async def test_a_root_that_is_not_there_is_out_of_reach_with_all_that_is_in_it(world: World, inbox: Path) -> None:
    path = await ingest(world, inbox / "a.txt")
    path.unlink()
    await anyio.Path(inbox).rmdir()
    gone = f"is out of reach: the root inbox ({inbox}) cannot be listed: No such file or directory."
    assert await say(world, path) == f"{gone} It is known as asset 1, and is not taken for deleted."
    assert await say(world, inbox / "b.txt") == gone
    assert await say(world, inbox) == gone


async def test_what_the_system_refuses_to_look_at_is_out_of_reach_in_its_words(world: World, inbox: Path) -> None:
    assert await say(world, inbox / ("n" * 300)) == "is out of reach: File name too long."


async def test_a_disk_that_does_not_answer_is_not_waited_for(
    world: World, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await ingest(world, inbox / "a.txt")
    monkeypatch.setattr(patience, "_ANSWER_S", 0)
    expected = "is out of reach: it does not answer. It is known as asset 1, and is not taken for deleted."
    assert await say(world, path) == expected


async def test_a_look_that_hangs_outlives_whoever_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_ANSWER_S", 0.01)
    goes_on = threading.Event()
    with pytest.raises(TimeoutError):
        await patience.in_time(goes_on.wait)
    (left,) = [thread for thread in threading.enumerate() if thread.name.endswith("(run)")]
    assert left.daemon, "the interpreter would wait for it at its end"
    goes_on.set()
    await anyio.to_thread.run_sync(left.join, 10)
    assert not left.is_alive()


async def test_what_lay_on_a_file_system_that_is_gone_is_out_of_reach(world: World, inbox: Path) -> None:
    path = await ingest(world, inbox / "a.txt")
    path.unlink()
    change = update(Volume).values(filesystem=Volume.filesystem + 1)
    await world.get_resource(Catalogue).write(lambda session: [session.execute(change)])
    assert await say(world, path) == (
        "is out of reach: the file system that it lay on is not mounted now. "
        "It is known as asset 1, and is not taken for deleted."
    )


async def test_what_a_held_root_misses_is_out_of_reach(world: World, inbox: Path) -> None:
    path = await ingest(world, inbox / "a.txt")
    await hold(world)
    held = "the root inbox is held since 2026-05-04 10:11:12 UTC: 3 of 3 known files are not there."
    assert asset(await say(world, path)) == "is asset 1 (here since …).", "what is there is not concerned"
    assert await say(world, inbox) == (
        f"is the root inbox. Known below it: 1 file. Nothing in it is taken for deleted: {held}"
    )
    path.unlink()
    assert await say(world, path) == (f"is out of reach: {held} It is known as asset 1, and is not taken for deleted.")


@asynccontextmanager
async def answering(world: World, answer: control.Answer) -> AsyncIterator[None]:
    """A daemon that knows of one path."""
    state = world.get_resource(Config).state
    async with anyio.create_task_group() as tasks:
        answers = {"explain": answer}
        await tasks.start(lambda task_status: control.serve(state, answers, task_status=task_status))
        yield
        tasks.cancel_scope.cancel()


async def test_what_a_path_waits_for_is_asked_of_the_daemon(world: World, inbox: Path) -> None:
    path = await ingest(world, inbox / "a.txt")
    intake = Intake(world, concurrency=1)
    intake.sight(os.fsencode(path), root="inbox", settle_s=0.5, moved_from=os.fsencode(inbox / "b.txt"))

    async def answer(question: Mapping[str, Any]) -> dict[str, Any]:
        return {"intake": intake.explain(base64.b64decode(question["path_base64"]))}

    async with answering(world, answer):
        assert await say(world, path, WATCHED) == (
            f"waits for its first look (0 s). It was renamed from {inbox}/b.txt. It is known as asset 1 so far."
        )
        assert asset(await say(world, path)) == "is asset 1 (here since …).", "where no daemon runs, none is asked"
        assert "waits" not in await say(world, inbox / "b.txt", WATCHED)


@pytest.mark.parametrize(
    ("intake", "expected"),
    [
        (
            {"state": "waiting", "for": "whoever writes it to close it", "since_s": 12.3},
            "waits for whoever writes it to close it (12 s). Before, it failed once: the file changed.",
        ),
        ({"state": "waiting", "for": None, "since_s": 90}, "waits (2m). Before, it failed once: the file changed."),
        ({"state": "ready", "for": "a free command", "since_s": 1}, "waits for a free command (1 s)."),
        ({"state": "in work", "for": "its command to end", "since_s": 2}, "is in work (2 s)."),
        (
            {"state": "in work", "for": "its command to end", "since_s": 2, "sighted_again": True},
            "is in work (2 s). It has changed meanwhile, and comes up again afterwards.",
        ),
        (
            {"state": "tried again", "for": "its next attempt", "since_s": 2, "retry_in_s": 8},
            "failed once: the file changed; it is tried again in 8 s.",
        ),
    ],
)
async def test_each_state_of_the_intake_has_its_words(
    world: World, inbox: Path, intake: dict[str, Any], expected: str
) -> None:
    path = inbox / "a.txt"
    path.write_text("roses are red")
    await fail(world, path, FileChangedError())

    async def answer(question: Mapping[str, Any]) -> dict[str, Any]:
        assert base64.b64decode(question["path_base64"]) == os.fsencode(path)
        return {"intake": intake}

    async with answering(world, answer):
        told = await say(world, path, WATCHED)
    assert told.replace(str(FileChangedError()), "the file changed").startswith(expected)


async def test_a_folder_is_told_with_what_is_known_below_it(world: World, inbox: Path) -> None:
    (inbox / "sub").mkdir()
    assert await say(world, inbox / "sub") == "is a folder in the root inbox. Nothing is known below it."
    for name in ("sub/a.txt", "sub/b.txt", "subway.txt", "c.txt"):
        await ingest(world, inbox / name, name)
    await fail(world, inbox / "sub" / "a.txt", BrokenFileError("it is broken"))
    await mark_as_missing(world, inbox / "sub" / "b.txt")
    below = "Known below it: 2 files, 1 of them missing, 1 failed."
    assert await say(world, inbox / "sub") == f"is a folder in the root inbox. {below}"
    assert await say(world, inbox) == "is the root inbox. Known below it: 4 files, 1 of them missing, 1 failed."
    for path in (inbox / "sub").iterdir():
        path.unlink()
    (inbox / "sub").rmdir()
    assert await say(world, inbox / "sub") == f"is not there, and was a folder. {below}"


async def test_what_nobody_ever_knew_is_told_so(world: World, inbox: Path) -> None:
    assert await say(world, inbox / "gone") == "is not there, and the catalogue knows nothing of it."


async def test_what_is_gone_is_told_before_and_after_it_is_marked(world: World, inbox: Path) -> None:
    path = await ingest(world, inbox / "a.txt")
    path.unlink()
    assert asset(await say(world, path, WATCHED)) == (
        "is not there, and not yet marked missing as asset 1 (here since …): "
        "it waits for the next look (every 15m at least)."
    )
    await mark_as_missing(world, path)
    assert asset(await say(world, path)) == "is missing since …: it was asset 1 (here since …)."


async def test_what_failed_and_is_gone_is_told(world: World, inbox: Path) -> None:
    path = inbox / "a.txt"
    path.write_text("roses are red")
    await fail(world, path, FileChangedError())
    path.unlink()
    assert (await say(world, path)).startswith(f"is not there; it failed once: {FileChangedError()}; it is tried again")


async def test_a_known_file_is_told_with_the_other_places_of_its_content(world: World, inbox: Path) -> None:
    first = await ingest(world, inbox / "a.txt")
    assert asset(await say(world, first)) == "is asset 1 (here since …)."
    second = await ingest(world, inbox / "b.txt")
    assert asset(await say(world, first)) == f"is asset 1 (here since …), also at {second}."
    assert asset(await say(world, second)) == f"is asset 1 (here since …), a duplicate of {first}."
    for number in range(6):
        await ingest(world, inbox / f"{number}.txt")
    assert asset(await say(world, first)).endswith(f", {inbox}/3.txt and 2 other places.")
    await mark_as_missing(world, first)
    assert asset(await say(world, second)).startswith(f"is asset 1 (here since …), also at {inbox}/0.txt")
    assert asset(await say(world, first, SCANNING)).endswith(
        "it was missing, and is there again: the root inbox is being compared with the catalogue now."
    )


async def test_a_file_that_has_changed_waits_for_the_next_look(world: World, inbox: Path) -> None:
    path = await ingest(world, inbox / "a.txt")
    path.write_text("violets are blue")
    changed = "has changed since it was catalogued as asset 1 (here since …): "
    assert asset(await say(world, path, WATCHED)) == f"{changed}it waits for the next look (every 15m at least)."
    assert asset(await say(world, path)) == f"{changed}no damd runs, and the next `damd run` looks at it."
    assert asset(await say(world, path, {"roots": []})) == f"{changed}the damd that runs does not watch the root inbox."


async def test_a_failure_is_told_with_what_becomes_of_it(world: World, inbox: Path) -> None:
    path = await ingest(world, inbox / "a.txt")
    path.write_text("violets are blue")
    await fail(world, path, FileChangedError())
    await fail(world, path, FileChangedError())
    assert await say(world, path) == (
        f"failed 2 times: {FileChangedError()}; it is tried again at 2026-05-04 10:11:32 UTC, or soon after. "
        "It is known as asset 1 so far."
    )
    await fail(world, path, BrokenFileError("it is broken"))
    assert await say(world, path) == (
        "failed for good: it is broken; only `damd failures retry` tries the same content again. "
        "It is known as asset 1 so far."
    )
    path.write_text("sugar is sweet")
    assert (await say(world, path, WATCHED)).startswith(
        "has changed since it failed (it is broken): it waits for the next look (every 15m at least)."
    )


async def test_a_file_that_nobody_has_met_waits_for_the_next_look(world: World, inbox: Path) -> None:
    (inbox / "a.txt").write_text("roses are red")
    assert await say(world, inbox / "a.txt", WATCHED) == (
        "is not catalogued yet: it waits for the next look (every 15m at least)."
    )


async def test_without_a_catalogue_the_configuration_answers(inbox: Path, tmp_path: Path) -> None:
    world = World()
    config = {"state": tmp_path / "state", "watch": [{"path": inbox, "ignore": ["*.bak"]}]}
    world.add_resource(Config.model_validate(config))
    (inbox / "a.txt").write_text("roses are red")
    no_damd = "no damd runs, and the next `damd run` looks at it"
    assert await say(world, inbox / "a.txt") == f"is not catalogued yet: {no_damd}."
    assert await say(world, inbox / "a.bak") == 'is ignored by "*.bak" (the configuration).'
    assert await say(world, tmp_path / "b.txt") == f"lies outside every root (inbox: {inbox})."
    assert not (tmp_path / "state").exists()


async def test_a_root_that_only_the_catalogue_knows_has_the_defaults(
    world: World, opened: OpenWorld, inbox: Path
) -> None:
    path = await ingest(world, inbox / "a.txt")
    bare = World()
    bare.add_resource(Config(state=world.get_resource(Config).state))
    bare.add_resource(world.get_resource(Catalogue))
    assert asset(await say(bare, path)) == "is asset 1 (here since …)."
    assert await say(bare, inbox / "a.tmp") == 'is ignored by "*.tmp" (the defaults).'


async def test_the_facts_name_a_path_whatever_its_bytes_and_its_spelling(world: World, inbox: Path) -> None:
    raw = os.fsencode(inbox) + b"/\xff.tmp"
    told = await explain.explain(world, Path(os.fsdecode(raw)), daemon=None)
    assert told.path_base64 is not None
    assert base64.b64decode(told.path_base64) == raw
    assert told.ignored == Ignored(because="rule", pattern="*.tmp", source="the defaults")
    (inbox.parent / "other name").symlink_to(inbox)
    for spelling in (inbox.parent / "other name" / "x" / ".." / "a", inbox / "." / "a"):
        told = await explain.explain(world, spelling, daemon=None)
        assert told == Explanation(path=f"{inbox}/a", there="nothing", root=ANY, below=ANY, roots={"inbox": str(inbox)})
    assert (await explain.explain(world, inbox.parent / "other name", daemon=None)).path == str(inbox)
