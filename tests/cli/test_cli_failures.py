"""``damd failures``: what failed, why, and trying it again."""

import json
from pathlib import Path

from command_line import run_damd
from pictures import make_picture


def test_failures_are_listed_with_their_reason_and_what_becomes_of_them(tmp_path: Path) -> None:
    poem = tmp_path / "poem\n.txt"
    poem.write_text("roses are red")
    run_damd("ingest", poem, "--state", tmp_path / "state")

    listed = run_damd("failures", "list", "--state", tmp_path / "state")
    assert (listed.code, listed.out) == (0, f"{tmp_path}/poem\\n.txt: Unsupported file type (final, text/plain)\n")

    [failure] = run_damd("failures", "list", "--json", "--state", tmp_path / "state").objects
    assert failure["path"] == str(poem)
    assert (failure["reason"], failure["permanent"], failure["attempts"]) == ("Unsupported file type", True, 1)
    assert failure["next_attempt_at"] is None


def test_a_final_failure_can_be_tried_again(tmp_path: Path, begun: Path) -> None:
    small = tmp_path / "small.yaml"
    small.write_text("ingest: {max_pixels: 100}")
    picture = make_picture(tmp_path / "a.jpg")
    state = ("--state", begun)
    assert run_damd("ingest", picture, "--config", small, *state).code == 3
    assert run_damd("ingest", picture, *state).code == 3, "it is not read again by itself"

    again = run_damd("failures", "retry", "--json", *state)
    assert (again.code, [result["status"] for result in again.objects]) == (0, ["SUCCESS"])
    assert run_damd("failures", "list", *state).out == ""


def test_only_the_files_that_are_named_are_tried_again(tmp_path: Path, begun: Path) -> None:
    names = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for name in names:
        name.write_text(name.name)
    state = ("--state", begun)
    run_damd("ingest", *names, *state)

    again = run_damd("failures", "retry", names[1], "--json", *state)
    assert (again.code, [Path(result["path"]) for result in again.objects]) == (3, [names[1]])
    assert len(run_damd("failures", "list", *state).out.splitlines()) == 2


def test_without_a_catalogue_nothing_is_begun(tmp_path: Path) -> None:
    asked = run_damd("failures", "list", "--state", tmp_path / "state")
    assert asked.code == 1
    assert "There is no catalogue" in asked.err
    assert not (tmp_path / "state").exists()


def test_a_file_of_an_unread_type_gets_in_once_its_root_takes_such_files(tmp_path: Path, begun: Path) -> None:
    poem = tmp_path / "poem.txt"
    poem.write_text("roses are red")
    state = ("--state", begun)
    assert run_damd("ingest", poem, *state).code == 3
    catalogued = tmp_path / "catalogued.yaml"
    catalogued.write_text(json.dumps({"watch": [{"path": str(tmp_path), "unsupported": "catalogue"}]}))
    assert run_damd("ingest", poem, "--config", catalogued, *state).code == 0
