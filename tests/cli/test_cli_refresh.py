"""``damd refresh``: what an older damd read is read again, at a steady pace, and never twice."""

import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import STRANGE, Start, run_damd
from pictures import make_picture

from damd.cli.refresh import Pace

MakePlugin = Callable[[str], str]
NEWER = """
from damd.sandbox import Sandbox
def setup(world):
    world.get_resource(Sandbox).add_reader("image", "damd.readers.image", {version})
"""
VERSE = """
from dataclasses import dataclass
from damd.catalogue.components import Description
from damd.errors import UnsupportedTypeError
from damd.media.base import Families, Family, ProcessMediaCommand, process
from damd.sandbox import Sandbox
from damd.world import World, handles_command

def read(path, **options):
    title = open(path).readline().strip()
    if title == "prose":
        raise UnsupportedTypeError("it is prose")
    return {"title": title}

@dataclass(frozen=True, kw_only=True)
class ProcessVerseCommand(ProcessMediaCommand):
    pass

@handles_command(ProcessVerseCommand)
async def handle(cmd: ProcessVerseCommand, world: World):
    return await process(world, cmd, FAMILY)

FAMILY = Family(
    name="verse", mime_types=frozenset({"text/plain"}), command=ProcessVerseCommand, handler=handle,
    reader="verse", rows=lambda facts: [Description(title=facts["title"])], tables=(Description,),
)

def setup(world):
    world.get_resource(Sandbox).add_reader("verse", __name__)
    world.get_resource(Families).add(FAMILY)
    world.register_system(handle)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlugin:
    """Make a plugin of this code, and return its name."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def make(code: str) -> str:
        name = f"plugin_{len(made)}_of_{tmp_path.parent.name.replace('-', '_')}_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(code)
        made.append(name)
        return name

    return make


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration of these keys."""

    def write(**keys: Any) -> Path:
        file = tmp_path / "damd.yaml"
        file.write_text(json.dumps(keys))
        return file

    return write


@pytest.fixture
def pictures(tmp_path: Path, begun: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three pictures that have been imported."""
    monkeypatch.setenv("DAMD__INGEST__WORKERS", "1")  # to start another takes longer than to read these
    pictures = [make_picture(tmp_path / f"{number}.jpg", size=(60 + number, 40)) for number in range(3)]
    assert run_damd("ingest", *pictures, "--state", begun).code == 0
    return pictures


def test_where_nothing_is_outdated_nothing_is_read(pictures: list[Path], state: Path) -> None:
    refreshed = run_damd("refresh", "--json", "--state", state)
    assert (refreshed.code, refreshed.out, refreshed.err) == (0, "", "0 read again\n")


def test_previews_of_new_sizes_are_made_once(pictures: list[Path], state: Path, config: Callable[..., Path]) -> None:
    options = ("--state", state, "--config", config(thumbnails={"sizes": [512, 32]}))
    foretold = run_damd("refresh", "--dry-run", *options)
    lines = [f"would read again: {path}: it has no preview of 32 pixels" for path in pictures]
    assert (foretold.code, sorted(foretold.out.splitlines())) == (0, lines)
    assert foretold.err == "3 would be read again\n"

    refreshed = run_damd("refresh", "--json", "--rate", 1000, *options)
    assert (refreshed.code, refreshed.err) == (0, "3 read again\n")
    told = sorted(refreshed.objects, key=lambda each: str(each["path"]))
    assert [list(each) for each in told] == [["asset_id", "path", "status", "reason"]] * 3
    assert [(each["path"], each["status"], each["reason"]) for each in told] == [
        (str(path), "REFRESHED", None) for path in pictures
    ]
    for asset in run_damd("assets", "list", "--json", "--state", state).objects:
        assert min(preview["width"] for preview in asset["previews"]) == 32
    assert run_damd("refresh", "--json", *options).out == ""


def test_a_newer_reader_reads_all_again_and_a_limit_leaves_the_rest_for_the_next_time(
    pictures: list[Path], state: Path, config: Callable[..., Path], plugin: MakePlugin
) -> None:
    options = ("--state", state, "--config", config(plugins=[plugin(NEWER.format(version=99))]), "--rate", 1000)
    first = run_damd("refresh", "--json", "--limit", 2, *options)
    assert [each["status"] for each in first.objects] == ["REFRESHED"] * 2
    foretold = run_damd("refresh", "--json", "--dry-run", *options).objects
    assert [each["status"] for each in foretold] == ["OUTDATED"]
    assert "which now is version 99 of image" in foretold[0]["reason"]
    second = run_damd("refresh", "--json", *options)
    assert len(second.objects) == 1
    assert {each["path"] for each in first.objects + second.objects} == set(map(str, pictures))


def test_interrupted_it_goes_on_where_it_was(
    pictures: list[Path], state: Path, config: Callable[..., Path], start: Start
) -> None:
    options = ("--state", state, "--config", config(thumbnails={"sizes": [32]}))
    process = start("refresh", "--json", "--rate", "0.05", *options)
    assert process.stdout is not None
    done = json.loads(process.stdout.readline())
    assert done["status"] == "REFRESHED"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"1 read again\n")
    rest = run_damd("refresh", "--json", "--rate", 1000, *options)
    assert {each["path"] for each in rest.objects} == set(map(str, pictures)) - {done["path"]}


def test_a_file_that_fails_stops_no_other_and_is_told_with_its_reason(
    pictures: list[Path], state: Path, config: Callable[..., Path]
) -> None:
    large = make_picture(pictures[0].with_name(f"large{STRANGE.decode('utf-8', 'replace')}.jpg"), size=(300, 200))
    assert run_damd("ingest", large, "--state", state).code == 0
    pictures[2].unlink()
    keys = {"thumbnails": {"sizes": [32]}, "ingest": {"max_pixels": 10_000}}
    refreshed = run_damd("refresh", "--rate", 1000, "--state", state, "--config", config(**keys))
    assert (refreshed.code, refreshed.out) == (3, "")
    *told, summary = refreshed.err.splitlines()
    assert summary == "2 read again, 1 not there, 1 failed"
    [failed] = [line for line in told if line.startswith("FAILED: ")]
    assert failed.startswith(f"FAILED: {large.parent}/large\\x1b[2J\\r\\n")
    assert "max_pixels" in failed
    assert any(line.startswith(f"UNREACHABLE: {pictures[2]}: Its file is not there") for line in told)
    assets = run_damd("assets", "list", "--json", "--state", state).objects
    assert all("image_properties" in asset["components"] for asset in assets)
    assert len(assets) == 4


def test_what_is_not_there_or_failed_before_takes_nobodys_turn_and_is_not_tried_for_ever(
    pictures: list[Path], state: Path, config: Callable[..., Path], plugin: MakePlugin
) -> None:
    pictures[0].unlink()
    broken = {"ingest": {"max_pixels": 1}, "plugins": [plugin(NEWER.format(version=99))]}
    options = ("--state", state, "--rate", 1000, "--config", config(**broken))
    failed = set()
    for _ in range(2):
        told = run_damd("refresh", "--json", "--limit", 1, *options).objects
        failed |= {each["path"] for each in told if each["status"] == "FAILED"}
        assert [each["path"] for each in told if each["status"] == "UNREACHABLE"] in ([], [str(pictures[0])])
    assert failed == set(map(str, pictures[1:]))
    assert [each["status"] for each in run_damd("refresh", "--json", *options).objects] == ["UNREACHABLE"]
    newer = config(plugins=[plugin(NEWER.format(version=100))])
    read = run_damd("refresh", "--json", "--rate", 1000, "--state", state, "--config", newer).objects
    assert sorted(each["status"] for each in read) == ["REFRESHED", "REFRESHED", "UNREACHABLE"]


def test_files_of_types_that_nobody_reads_are_not_opened_again(
    tmp_path: Path, state: Path, config: Callable[..., Path]
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    options = ("--state", state, "--config", config(watch=[{"path": str(shelf), "unsupported": "catalogue"}]))
    texts = [shelf / "catalogued.txt", tmp_path / "failed.txt"]
    for number, text in enumerate(texts):
        text.write_text(f"{number} and nothing else\n")
        run_damd("ingest", text, *options)
    told = run_damd("refresh", "--json", *options)
    assert (told.out, told.err) == ("", "0 read again\n")

    with closing(sqlite3.connect(state / "catalogue.sqlite3")) as database, database:
        database.execute("UPDATE reader_version SET version = 0 WHERE reader = 'filetype'")
        database.execute("UPDATE failure SET reader_version = 0 WHERE reader = 'filetype'")
    for text in texts:
        [looked_at] = run_damd("refresh", "--json", "--limit", 1, *options).objects
        assert (looked_at["path"], looked_at["status"]) == (str(text), "UNCHANGED")
    assert run_damd("refresh", "--json", *options).out == ""


def test_what_was_not_supported_is_imported_once_it_is(
    tmp_path: Path, begun: Path, config: Callable[..., Path], plugin: MakePlugin
) -> None:
    texts = {"poem.txt": "Roses are red\n", "prose.txt": "prose\n", "page.html": "<!DOCTYPE html><html></html>"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert run_damd("ingest", *(tmp_path / name for name in texts), "--state", begun).code == 3
    options = ("--state", begun, "--config", config(plugins=[plugin(VERSE)]), "--rate", 1000)
    foretold = run_damd("refresh", "--json", "--dry-run", *options).objects
    assert sorted((Path(each["path"]).name, each["status"]) for each in foretold) == [
        ("poem.txt", "OUTDATED"),
        ("prose.txt", "OUTDATED"),
    ]
    refreshed = run_damd("refresh", "--json", *options)
    assert (refreshed.code, refreshed.err) == (0, "0 read again, 1 imported, 1 still of no type that is read\n")
    assert {Path(each["path"]).name: (each["status"], each["reason"]) for each in refreshed.objects} == {
        "poem.txt": ("IMPORTED", None),
        "prose.txt": ("UNCHANGED", "Unsupported file type: it is prose"),
    }
    [asset] = run_damd("assets", "list", "--json", "--state", begun).objects
    assert (asset["family"], asset["components"]["description"]["title"]) == ("verse", "Roses are red")
    failures = run_damd("failures", "list", "--json", "--state", begun).objects
    assert sorted((Path(each["path"]).name, each["permanent"]) for each in failures) == [
        ("page.html", True),
        ("prose.txt", True),
    ]


def test_without_a_catalogue_nothing_is_begun(state: Path) -> None:
    refused = run_damd("refresh", "--state", state)
    assert refused.code == 1
    assert "There is no catalogue" in refused.err
    assert not state.exists()


@pytest.mark.parametrize("arguments", [("--rate", "0"), ("--rate", "-1"), ("--limit", "0")])
def test_a_rate_or_limit_that_cannot_be_meant_is_refused(arguments: tuple[str, ...], state: Path) -> None:
    assert run_damd("refresh", *arguments, "--state", state).code == 2


def test_the_pace_is_steady_and_nothing_is_made_up_for() -> None:
    pace = Pace(rate=10)
    assert [pytest.approx(pace.wait_s(now_s)) for now_s in (100.0, 100.0, 100.15, 107.0, 107.0)] == [
        0,
        0.1,
        0.05,
        0,
        0.1,
    ]
