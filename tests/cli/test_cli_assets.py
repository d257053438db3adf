"""``damd assets`` and ``damd status``, over one catalogue that no test changes."""

import os
from pathlib import Path
from typing import Any

import pytest
from command_line import STRANGE, Start, run_damd
from pictures import make_picture

ASSET = {
    *("asset_id", "sha256", "size_bytes", "mime_type", "family", "first_name", "locations", "previews", "components"),
}
LOCATION = {"path", "root", "size_bytes", "mtime_ns", "missing_since"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, one of them at two places, another of a strange name."""
    folder = tmp_path_factory.mktemp("assets")
    make_picture(folder / "a.jpg", size=(40, 30))
    (folder / "copy.jpg").write_bytes((folder / "a.jpg").read_bytes())
    make_picture(folder / "b.png", size=(41, 30))
    make_picture(folder / "c.png", size=(42, 30))
    os.rename(folder / "c.png", os.fsencode(folder) + b"/" + STRANGE)  # noqa: PTH104 - pathlib has no paths of bytes
    ingested = run_damd("ingest", folder, "--state", folder / "state")
    assert ingested.code == 0
    return folder


def assets(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    told = run_damd("assets", *arguments, "--state", folder / "state", "--json")
    assert (told.code, told.err) == (0, "")
    return told.objects


def test_each_asset_is_one_line_of_json(folder: Path) -> None:
    listed = assets(folder, "list")
    assert [each["asset_id"] for each in listed] == sorted({each["asset_id"] for each in listed})
    assert len(listed) == 3
    for asset in listed:
        assert set(asset) == ASSET
        assert all(set(each) - {"path_base64"} == LOCATION for each in asset["locations"])
        assert all(set(each) == {"path", "width", "height"} for each in asset["previews"])
        assert all(Path(each["path"]).is_file() for each in asset["previews"])
        assert {"image_properties", "perceptual_hash"} <= set(asset["components"])


def test_an_asset_is_described_completely(folder: Path) -> None:
    (asset,) = assets(folder, "show", folder / "a.jpg")
    assert (asset["mime_type"], asset["family"]) == ("image/jpeg", "image")
    assert asset["size_bytes"] == (folder / "a.jpg").stat().st_size
    assert {each["path"] for each in asset["locations"]} == {str(folder / "a.jpg"), str(folder / "copy.jpg")}
    for location in asset["locations"]:
        status = Path(location["path"]).stat()
        assert location["mtime_ns"] == status.st_mtime_ns
        assert (location["root"], location["missing_since"]) == (None, None)
    assert asset["components"]["image_properties"].items() >= {"width": 40, "height": 30}.items()
    assert asset["components"]["capture"]["taken_at"] == "2012-05-04T10:11:12+02:00"
    assert len(asset["components"]["perceptual_hash"]["phash"]) == 16


def test_an_asset_is_found_by_its_number_its_hash_and_each_of_its_paths(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = next(each for each in assets(folder, "list") if len(each["locations"]) == 2)
    monkeypatch.chdir(folder)
    hashes = (asset["sha256"], asset["sha256"][:6], asset["sha256"][:10].upper())
    for name in (asset["asset_id"], *hashes, "a.jpg", "./copy.jpg", folder / "a.jpg", f"../{folder.name}/a.jpg"):
        assert assets(folder, "show", name) == [asset]


@pytest.mark.parametrize("name", ["99", "ffffff", "gone.jpg", "%", "______", "", "n" * 300])
def test_what_is_no_asset_ends_with_1(folder: Path, name: str) -> None:
    told = run_damd("assets", "show", name, "--state", folder / "state")
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("damd: No asset is ")


def test_a_family_can_be_asked_for(folder: Path) -> None:
    assert len(assets(folder, "list", "--family", "image")) == 3
    assert assets(folder, "list", "--family", "video") == []


def test_tables_and_descriptions_are_one_printable_line_for_each_fact(folder: Path) -> None:
    listed = run_damd("assets", "list", "--state", folder / "state")
    assert (listed.code, listed.err) == (0, "")
    assert len(listed.out.splitlines()) == 3
    assert all(line.isprintable() for line in listed.out.split("\n"))
    assert any(line.endswith(("a.jpg (+1)", "copy.jpg (+1)")) for line in listed.out.splitlines())
    assert "\\x1b[2J\\r\\n\\u202e" in listed.out
    for asset in assets(folder, "list"):
        shown = run_damd("assets", "show", asset["asset_id"], "--state", folder / "state")
        assert (shown.code, shown.err) == (0, "")
        assert all(line.isprintable() for line in shown.out.split("\n"))
        assert asset["sha256"] in shown.out


def test_a_terminal_that_knows_few_characters_gets_what_it_can_show(folder: Path, start: Start) -> None:
    process = start("assets", "list", "--state", folder / "state", PYTHONIOENCODING="latin-1")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, b"")
    assert "41×30".encode("latin-1") in out
    assert b"\\ufffd.png" in out


def test_a_reader_that_has_seen_enough_is_no_error_to_complain_of(folder: Path, start: Start) -> None:
    process = start("assets", "list", "--state", folder / "state")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 1


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("show", "1")], ids=" ".join)
def test_questions_begin_no_catalogue(state: Path, arguments: tuple[str, ...]) -> None:
    told = run_damd("assets", *arguments, "--state", state)
    assert (told.code, told.out) == (1, "")
    assert f"There is no catalogue in {state} yet" in told.err
    assert not state.exists()


def test_the_status_without_a_daemon_is_what_the_catalogue_knows(folder: Path, state: Path) -> None:
    told = run_damd("status", "--state", folder / "state", "--json")
    assert told.code == 69
    (answer,) = told.objects
    assert answer["catalogue"].items() >= {"assets": 3, "locations": 4, "failures": 0}.items()
    assert told.err == f"damd: No damd runs on {folder / 'state'}: start one with `damd run`\n"
    words = run_damd("status", "--state", folder / "state")
    assert words.code == 69
    assert words.out.startswith("catalogue: assets 3, locations 4, failures 0")
    assert run_damd("status", "--state", state)[:2] == (69, "")
    assert not state.exists()
