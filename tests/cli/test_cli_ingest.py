"""``damd ingest``."""

import base64
import json
import os
import signal
import uuid
from pathlib import Path

import pytest
from command_line import STRANGE, Start, run_damd
from pictures import make_picture

KEYS = ["path", "status", "reason", "asset_id", "sha256", "family", "thumbnail_path"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, a copy of one, a broken one, a text and a link."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    make_picture(folder / "a.png", size=(30, 20))
    make_picture(folder / "sub" / "b.jpg", size=(31, 20))
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "broken.jpg").write_bytes((folder / "sub" / "b.jpg").read_bytes()[:-300])
    (folder / "text.txt").write_text("text")
    (folder / "link.png").symlink_to("a.png")
    (folder / "nowhere.png").symlink_to("gone")
    return folder


def test_each_file_of_a_folder_is_one_line_of_json(folder: Path, begun: Path) -> None:
    ingested = run_damd("ingest", folder, "--state", begun, "--json")
    assert ingested.code == 3
    assert all(list(each) == KEYS for each in ingested.objects)
    by_path = {os.path.relpath(each["path"], folder): each for each in ingested.objects}
    assert len(by_path) == len(ingested.objects) == 6
    statuses = {path: (each["status"], each["reason"]) for path, each in by_path.items()}
    twins = {statuses.pop("a.png"), statuses.pop("copy.png")}
    assert twins == {("SUCCESS", None), ("SKIPPED", "Duplicate hash")}
    assert statuses.pop("sub/b.jpg") == ("SUCCESS", None)
    assert "link.png" not in statuses, "a link that is come across is not followed"
    assert statuses.pop("text.txt") == ("FAILED", "Unsupported file type")
    assert {status for status, _ in statuses.values()} == {"FAILED"}
    assert all(reason for _, reason in statuses.values())
    for name in ("a.png", "copy.png"):
        assert by_path[name]["asset_id"] == by_path["a.png"]["asset_id"]
        assert by_path[name]["family"] == "image"
        assert Path(by_path[name]["thumbnail_path"]).is_relative_to(begun)
        assert Path(by_path[name]["thumbnail_path"]).is_file()
    # People's words are elsewhere, and tell the same.
    assert ingested.err.startswith("2 imported, 1 skipped, 3 failed, in ")


def test_words_are_for_standard_error_and_name_each_failure(folder: Path, begun: Path) -> None:
    ingested = run_damd("ingest", folder, "--state", begun)
    assert (ingested.code, ingested.out) == (3, "")
    assert f"FAILED: {folder}/text.txt: Unsupported file type\n" in ingested.err
    assert len(ingested.err.splitlines()) == 4


def test_nothing_is_done_twice(folder: Path, begun: Path) -> None:
    for name in ("broken.jpg", "text.txt", "nowhere.png"):
        (folder / name).unlink()
    assert run_damd("ingest", folder, "--state", begun).code == 0
    again = run_damd("ingest", folder, "--state", begun, "--json")
    assert again.code == 0
    assert {each["reason"] for each in again.objects} == {"Path already imported"}
    assert all(each["thumbnail_path"] for each in again.objects if each["asset_id"])


def test_files_links_and_missing_paths_may_be_named(folder: Path, begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    too_long = "n" * 300
    ingested = run_damd("ingest", "link.png", "gone.png", "nowhere.png", too_long, "--state", begun, "--json")
    assert ingested.code == 3
    by_path = {each["path"]: each for each in ingested.objects}
    # A link that is named is meant.
    assert by_path[str(folder / "a.png")]["status"] == "SUCCESS"
    assert "No such file" in by_path[str(folder / "gone.png")]["reason"]
    assert "leads nowhere" in by_path[str(folder / "nowhere.png")]["reason"]
    assert "too long" in by_path[str(folder / too_long)]["reason"]
    assert len(by_path) == 4


def test_a_folder_that_holds_the_state_is_ingested_without_it(folder: Path) -> None:
    state = folder / "state"
    run_damd("ingest", folder / "a.png", "--state", state)
    ingested = run_damd("ingest", folder, "--state", state, "--json")
    assert not [each for each in ingested.objects if Path(each["path"]).is_relative_to(state)]


def test_an_empty_folder_is_no_failure(tmp_path: Path, state: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run_damd("ingest", tmp_path / "empty", "--state", state, "--json")[:2] == (0, "")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder; but for SQLite's own beside its database, which come and go with each reader."""
    files = (path for path in folder.rglob("*") if not path.name.endswith(("-wal", "-shm")))
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.is_file()}


def test_a_dry_run_writes_nothing(folder: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(state.parent / "share"))
    before = snapshot(folder.parent)
    assert run_damd("ingest", folder, "--dry-run").code == 3
    assert run_damd("ingest", folder, "--dry-run", "--state", state, "--json").code == 3
    assert snapshot(folder.parent) == before
    assert not state.exists()
    assert not (state.parent / "share").exists()
    run_damd("ingest", folder / "a.png", "--state", state)
    before = snapshot(folder.parent)
    assert run_damd("ingest", folder, "--dry-run", "--state", state).code == 3
    assert snapshot(folder.parent) == before


def test_a_dry_run_foretells_what_then_happens(folder: Path, state: Path) -> None:
    (folder / "copy.png").unlink()  # which of two twins comes first is nobody's promise

    def outcomes(*options: str) -> dict[str, tuple[str, str | None]]:
        objects = run_damd("ingest", folder, "--state", state, "--json", *options).objects
        return {Path(each["path"]).name: (each["status"], each["reason"]) for each in objects}

    foretold = outcomes("--dry-run")
    assert foretold.pop("a.png") == foretold.pop("b.jpg") == ("SUCCESS", None)
    assert foretold.pop("broken.jpg")[0] == "SUCCESS"  # which only reading it tells
    happened = outcomes()
    assert {name: status for name, (status, _) in foretold.items()} == {
        name: status for name, (status, _) in happened.items() if name in foretold
    }
    assert foretold["text.txt"] == happened["text.txt"]
    # Now all of it is known.
    (folder / "nowhere.png").unlink()
    assert outcomes("--dry-run") == outcomes()


def test_names_cannot_move_the_terminal(tmp_path: Path, begun: Path) -> None:
    (tmp_path / "strange").mkdir()
    path = os.fsencode(tmp_path / "strange") + b"/" + STRANGE
    os.close(os.open(path, os.O_CREAT))
    for option in ("--dry-run", "--json"):
        told = run_damd("ingest", tmp_path / "strange", "--state", begun, option)
        assert told.code == 3
        assert all(each.isprintable() for line in told[1:] for each in line.removesuffix("\n").replace("\n", ""))
    assert len(told.err.splitlines()) == 1
    told = run_damd("ingest", tmp_path / "strange", "--state", begun)
    assert len(told.err.splitlines()) == 2
    assert told.err.startswith(f"FAILED: {tmp_path}/strange/\\x1b[2J\\r\\n\\u202e")


def test_names_that_are_no_text_are_whole_in_json(tmp_path: Path, begun: Path) -> None:
    make_picture(tmp_path / "a.png")
    path = os.fsencode(tmp_path) + b"/" + STRANGE
    os.rename(tmp_path / "a.png", path)  # noqa: PTH104 - pathlib has no paths of bytes
    (ingested,) = run_damd("ingest", os.fsdecode(path), "--state", begun, "--json").objects
    assert ingested["status"] == "SUCCESS"
    assert base64.b64decode(ingested["path_base64"]) == path


def test_a_reader_that_has_seen_enough_is_no_error_to_complain_of(tmp_path: Path, begun: Path, start: Start) -> None:
    # More than a pipe holds, so that what is not read cannot have been written.
    for number in range(250):
        (tmp_path / f"{number:0200}.txt").write_text(str(number))
    process = start("ingest", tmp_path, "--state", begun, "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 1


def test_a_dry_run_knows_what_a_root_makes_of_types_that_nobody_reads(tmp_path: Path, begun: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "poem.txt").write_text("roses are red")
    config = tmp_path / "damd.yaml"
    options = ("--config", config, "--state", begun)
    config.write_text(f"watch: [{{path: {root}}}]")
    assert run_damd("ingest", root, *options).code == 3
    config.write_text(f"watch: [{{path: {root}, unsupported: catalogue}}]")
    assert run_damd("ingest", root, "--dry-run", *options).out == f"would import: {root}/poem.txt\n"
    assert run_damd("ingest", root, *options).code == 0


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by way of /proc")
def test_ctrl_c_ends_it_and_all_its_workers(tmp_path: Path, begun: Path, start: Start) -> None:
    picture = make_picture(tmp_path / "picture.jpg", size=(1200, 900)).read_bytes()
    for number in range(40):  # more than can be done before the signal comes
        (tmp_path / f"{number}.jpg").write_bytes(picture + b"\0" * (number + 1))
    mark = uuid.uuid4().hex
    process = start("ingest", tmp_path, "--state", begun, "--json", LC_DAMD_TEST=mark)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    assert len(_processes_with(mark)) > 1
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stderr.read() == b""
    assert _processes_with(mark) == []
    # What was told is true, and the rest is done the next time.
    again = run_damd("ingest", tmp_path, "--state", begun, "--json")
    assert again.code == 0
    assert {each["status"] for each in again.objects} == {"SUCCESS", "SKIPPED"}


def _processes_with(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found
