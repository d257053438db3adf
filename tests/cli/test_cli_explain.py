"""``damd explain``: the command; what it can answer is tested beside `damd.explain`."""

import base64
import os
from pathlib import Path

import pytest
from command_line import STRANGE, Start, run_damd
from daemons import until

FACTS = {
    *("path", "path_base64", "there", "error", "root", "ignored", "location", "failure", "volume_gone", "intake"),
    *("below", "roots", "words"),
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A root in which nothing needs to be decoded."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "damd.yaml").write_text(f"watch: [{{path: {tmp_path / 'inbox'}, unsupported: catalogue}}]\n")
    return tmp_path / "damd.yaml"


def test_each_path_is_a_line_that_leads_with_the_answer(config: Path, state: Path) -> None:
    inbox = config.parent / "inbox"
    (inbox / "a.txt").write_text("roses are red")
    options = ("--config", config, "--state", state)
    assert run_damd("ingest", inbox, *options).code == 0
    told = run_damd("explain", inbox / "a.txt", inbox / "a.tmp", config, *options)
    assert (told.code, told.err) == (0, "")
    known, ignored, outside = told.out.splitlines()
    assert known.startswith(f"{inbox}/a.txt is asset 1 (here since 2")
    assert ignored == f'{inbox}/a.tmp is ignored by "*.tmp" (the defaults).'
    assert outside == f"{config} lies outside every root (inbox: {inbox})."


def test_the_facts_are_told_as_json(config: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    told = run_damd("explain", "inbox/a.tmp", "inbox", "--json", "--config", config, "--state", state)
    assert (told.code, told.err.startswith(f"There is no folder {state} yet")) == (0, True)
    file, folder = told.objects
    assert set(file) == set(folder) == FACTS
    assert file["path"] == str(config.parent / "inbox" / "a.tmp")
    assert file["ignored"] == {"because": "rule", "pattern": "*.tmp", "source": "the defaults", "folder": None}
    assert file["words"] == [f'{file["path"]} is ignored by "*.tmp" (the defaults).']
    assert (folder["there"], folder["root"]["name"], folder["root"]["watched"]) == ("folder", "inbox", None)


def test_a_question_begins_no_catalogue(config: Path, state: Path) -> None:
    told = run_damd("explain", config.parent / "inbox" / "a.txt", "--config", config, "--state", state)
    assert (told.code, told.err.startswith(f"There is no folder {state} yet")) == (0, True)
    assert told.out == f"{config.parent}/inbox/a.txt is not there, and the catalogue knows nothing of it.\n"
    assert not state.exists()


def test_names_cannot_move_the_terminal_and_are_whole_in_json(config: Path, state: Path) -> None:
    raw = os.fsencode(config.parent / "inbox") + b"/" + STRANGE
    options = (os.fsdecode(raw), "--config", config, "--state", state)
    told = run_damd("explain", *options)
    assert told.code == 0
    assert len(told.out.splitlines()) == 1
    assert told.out.removesuffix("\n").isprintable()
    (facts,) = run_damd("explain", *options, "--json").objects
    assert base64.b64decode(facts["path_base64"]) == raw


def test_a_file_that_somebody_writes_is_waited_for_and_is_an_asset_once_it_is_closed(
    config: Path, begun: Path, start: Start
) -> None:
    """The whole way: a daemon, its socket, a writer that can be seen."""
    options = ("--config", config, "--state", begun)
    path = config.parent / "inbox" / "a.txt"
    start("run", *options)
    until(lambda: run_damd("status", *options).code == 0, "the daemon")
    with path.open("w") as file:
        file.write("roses are red")
        file.flush()
        until(lambda: "waits for whoever writes it to close it (" in explained(path, *options), "the writer to be seen")
        (facts,) = run_damd("explain", path, "--json", *options).objects
        assert (facts["intake"]["state"], facts["root"]["watched"]) == ("waiting", True)
        assert "inbox (native, 1 waiting)" in run_damd("status", *options).out.replace(f": {path.parent}", "")
    until(lambda: "is asset 1 (here since 2" in explained(path, *options), "the import")
    told = run_damd("roots", "list", *options)
    assert told.out == f"inbox: {path.parent} (native)\n  1 file known\n"


def explained(path: Path, *options: object) -> str:
    told = run_damd("explain", path, *options)
    assert (told.code, told.err) == (0, "")
    return told.out


def test_a_daemon_with_a_configuration_tells_one_without_it_what_is_ignored(
    config: Path, begun: Path, start: Start
) -> None:
    inbox = config.parent / "inbox"
    config.write_text(f"watch: [{{path: {inbox}, ignore: [drafts/], include: ['*.txt'], unsupported: catalogue}}]\n")
    (inbox / "drafts").mkdir()
    start("run", "--config", config, "--state", begun)
    until(lambda: run_damd("status", "--state", begun).code == 0, "the daemon")
    draft, picture = inbox / "drafts" / "a.txt", inbox / "a.jpg"
    told = run_damd("explain", draft, picture, "--state", begun)
    assert (told.code, told.err) == (0, "")
    first, second = told.out.splitlines()
    assert first == f'{draft} is ignored: "drafts/" (the configuration) ignores its folder {inbox}/drafts.'
    assert second.startswith(f"{picture} is left out: ")
