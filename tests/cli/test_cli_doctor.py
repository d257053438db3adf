"""``damd doctor``: what works here, what does not, and what to do about it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from command_line import run_damd
from pictures import make_picture

from damd import __version__, control
from damd.config import Config
from damd.doctor import examine

PLUGIN = """
from damd.media.base import Extra, Families, Family, ProcessMediaCommand
from damd.sandbox import Sandbox

class Command(ProcessMediaCommand):
    pass

def setup(world):
    sandbox = world.get_resource(Sandbox)
    sandbox.add_reader("font", "no_such_module_of_damd")
    families = world.get_resource(Families)
    fonts = frozenset({"font/ttf", "font/woff"})
    extras = {"font/woff": Extra("fonts", {"no-such-package": "no_such_module_of_damd"})}
    families.add(Family(name="font", mime_types=fonts, command=Command, handler=None, reader="font", extras=extras))
    runes = frozenset({"text/x-runes"})
    families.add(Family(name="runes", mime_types=runes, command=Command, handler=None, reader="runes"))
"""


def findings(*arguments: object) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and what was found, by the name of the check."""
    told = run_damd("doctor", "--json", *arguments)
    assert all(list(each) == ["check", "health", "says", "advice"] for each in told.objects)
    assert all(each["advice"] for each in told.objects if each["health"] == "problem")
    return told.code, {each["check"]: each for each in told.objects}


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    def write(**keys: Any) -> Path:
        file = tmp_path / "damd.yaml"
        file.write_text(json.dumps(keys))
        return file

    return write


def test_where_nothing_was_begun_nothing_is_begun_and_all_is_well(
    tmp_path: Path, state: Path, config: Callable[..., Path]
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    code, found = findings("--state", state, "--config", config(watch=[{"path": str(inbox)}]))
    # Whether every reader of this installation works, and how this machine is set up, is this command's business.
    wanted = ("software", "state", "catalogue", "root inbox", "files of root inbox", "subscriber log", "daemon")
    assert {name: found[name]["health"] for name in wanted} == dict.fromkeys(wanted, "ok")
    assert {"clock", "names", "temporary folder", "inotify watches", "open files"} <= set(found)
    assert f"damd {__version__}, Python 3." in found["software"]["says"]
    assert "GiB free" in found["state"]["says"]
    assert "damd run or damd ingest begins one" in found["catalogue"]["says"]
    assert str(inbox) in found["root inbox"]["says"]
    assert found["reader image"]["health"] == "ok"
    assert code == any(each["health"] == "problem" for each in found.values())
    assert not state.exists()


def test_words_are_one_line_for_each_finding(state: Path) -> None:
    told = run_damd("doctor", "--state", state)
    lines = told.out.splitlines()
    assert lines[0].startswith("ok       software: damd ")
    assert all(line.split()[0] in {"ok", "warning", "problem"} for line in lines)


def test_a_catalogue_is_opened_checked_and_asked_what_is_outdated(
    tmp_path: Path, begun: Path, config: Callable[..., Path]
) -> None:
    assert run_damd("ingest", make_picture(tmp_path / "a.jpg"), "--state", begun).code == 0
    _, found = findings("--state", begun)
    for check in ("catalogue", "catalogue's files", "readings"):
        assert found[check]["health"] == "ok"
    _, found = findings("--state", begun, "--config", config(thumbnails={"sizes": [64]}))
    assert found["readings"]["health"] == "warning"
    assert found["readings"]["says"].startswith("1 asset ")
    assert "damd refresh" in found["readings"]["advice"]


def test_a_root_that_is_not_there_is_a_problem(tmp_path: Path, state: Path, config: Callable[..., Path]) -> None:
    code, found = findings("--state", state, "--config", config(watch=[{"path": str(tmp_path / "gone")}]))
    assert code == 1
    assert found["root gone"]["health"] == "problem"
    assert "does not exist" in found["root gone"]["says"]


def test_a_root_that_must_be_polled_says_so(tmp_path: Path, state: Path, config: Callable[..., Path]) -> None:
    (tmp_path / "slow").mkdir()
    watch = [{"path": str(tmp_path / "slow"), "backend": "polling"}]
    _, found = findings("--state", state, "--config", config(watch=watch))
    assert found["root slow"]["says"].endswith("is watched by polling")


@pytest.mark.parametrize("content", [b"", b"no database, and long enough to be looked at" * 100], ids=["empty", "none"])
def test_a_catalogue_that_does_not_open_is_a_problem_and_the_rest_is_looked_at(state: Path, content: bytes) -> None:
    state.mkdir()
    (state / "catalogue.sqlite3").write_bytes(content)
    code, found = findings("--state", state)
    if content:
        assert (code, found["catalogue"]["health"]) == (1, "problem")
    assert found["reader image"]["health"] == "ok"
    assert "daemon" in found


def test_damage_within_the_catalogue_is_found(tmp_path: Path, begun: Path) -> None:
    assert run_damd("ingest", make_picture(tmp_path / "a.jpg"), "--state", begun).code == 0
    file = begun / "catalogue.sqlite3"
    content = bytearray(file.read_bytes())
    size = len(content)
    content[size - 20 * 4096 :] = bytes(20 * 4096)
    file.write_bytes(content)
    code, found = findings("--state", begun)
    assert code == 1
    assert "problem" in {found["catalogue"]["health"], found.get("catalogue's files", {}).get("health")}


def test_what_a_plugin_lacks_is_told_with_what_to_install(
    tmp_path: Path, state: Path, config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "font_plugin_of_the_doctor.py").write_text(PLUGIN)
    code, found = findings("--state", state, "--config", config(plugins=["font_plugin_of_the_doctor"]))
    assert code == 1
    assert found["damd[fonts]"] == {
        "check": "damd[fonts]",
        "health": "warning",
        "says": "no-such-package is not installed: font/woff cannot be read",
        "advice": "install damd[fonts]",
    }
    assert found["reader font"]["health"] == "problem"
    assert "no_such_module_of_damd is missing" in found["reader font"]["says"]
    assert found["reader runes"]["health"] == "problem"
    assert "nobody has added it" in found["reader runes"]["says"]
    assert findings("--state", state)[1].keys() & {"reader font", "reader runes"} == set()


@pytest.mark.parametrize(("extra", "module"), [("jxl", "pillow_jxl"), ("heic", "pillow_heif"), ("video", "av")])
def test_a_package_that_is_installed_and_cannot_be_imported_is_a_problem(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, extra: str, module: str
) -> None:
    pytest.importorskip(module, reason=f"needs damd[{extra}]")
    (tmp_path / f"{module}.py").write_text("raise ImportError('libfoo.so.9: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    code, found = findings("--state", state)
    unusable = {name for name, each in found.items() if each["health"] == "problem"}
    assert code == 1
    assert unusable & {f"damd[{extra}]", f"reader {extra}"}
    assert unusable <= {f"damd[{extra}]", f"reader {extra}", "reader audio"}  # FFmpeg reads sound, too


def test_a_broken_configuration_is_told_without_a_traceback(state: Path, config: Callable[..., Path]) -> None:
    told = run_damd("doctor", "--state", state, "--config", config(wacth=[]))
    assert (told.code, told.out) == (78, "")
    assert "wacth" in told.err


def test_a_state_folder_that_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, found = findings("--state", tmp_path / "file" / "state")
    assert (code, found["state"]["health"]) == (1, "problem")
    assert "is not a folder" in found["state"]["says"]


def test_where_temporary_files_cannot_be_written_the_rest_is_looked_at(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    code, found = findings("--state", state)
    assert code == 1
    assert found["temporary folder"]["health"] == "problem"
    assert found["daemon"]["health"] == "ok"
    assert "reader image" not in found


def test_a_server_that_does_not_answer_is_told_once_and_not_waited_for_again(
    state: Path, config: Callable[..., Path]
) -> None:
    pytest.importorskip("psycopg", reason="needs damd[postgresql]")
    url = "postgresql+psycopg://damd:swordfish@127.0.0.1:1/damd"
    told = run_damd("doctor", "--state", state, "--config", config(catalogue={"url": url}))
    lines = [line for line in told.out.splitlines() if "catalogue:" in line]
    assert (told.code, len(lines)) == (1, 1)
    assert "onnection refused" in lines[0]
    assert "swordfish" not in told.out + told.err


@pytest.mark.anyio
async def test_a_daemon_that_runs_is_asked_how_it_fares(tmp_path: Path) -> None:
    config = Config(state=tmp_path / "state")
    config.state.mkdir()
    (tmp_path / "scratch").mkdir()

    async def status(_: object) -> dict[str, Any]:
        return {"version": __version__, "pid": 4711, "paused_since": "2026-01-02T03:04:05Z", "roots": []}

    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda task_status: control.serve(config.state, {"status": status}, task_status=task_status))
        found = {each.check: each async for each in examine(config, tmp_path / "scratch")}
        tasks.cancel_scope.cancel()
    assert found["daemon"].health == "ok"
    assert "process 4711" in found["daemon"].says
    assert found["daemon's course"].health == "warning"
