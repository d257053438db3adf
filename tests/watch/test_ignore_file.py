import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from damd.fingerprint import Signature
from damd.watch.ignore import IgnoreRules
from damd.watch.ignore_file import MOST_BYTES, MOST_PATTERNS


def rules_of(root: Path, *patterns: str) -> IgnoreRules:
    return IgnoreRules(patterns, folder=os.fsencode(root))


def ignored(rules: IgnoreRules, path: str | bytes, *, is_directory: bool = False) -> bool:
    return rules.ignores(os.fsencode(path), is_directory=is_directory)


def told(logs: list[Any]) -> list[Mapping[str, Any]]:
    assert all(line["log_level"] == "warning" for line in logs)
    return logs


def signature(path: Path) -> Signature:
    return Signature.of(path.lstat())


def test_a_file_of_any_editor_and_any_encoding_is_read(tmp_path: Path) -> None:
    lines = [b"\xef\xbb\xbf*.first", b"# a comment", b"", b"   ", b"*.crlf\r", b"*.space   ", b"*.\xe9", b"B\xc3\xbc/"]
    (tmp_path / ".damdignore").write_bytes(b"\n".join([*lines, b"last"]))
    rules = rules_of(tmp_path)
    with capture_logs() as logs:
        for name in (b"a.first", b"a.crlf", b"a.space", b"a.\xe9", b"B\xc3\xbc/a.jpg", b"last"):
            assert ignored(rules, name), name
        assert not ignored(rules, "# a comment")
        assert not ignored(rules, "a.jpg")
    assert not logs


def test_a_malformed_line_is_skipped_and_told_of_once(tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    file = tmp_path / "album/.damdignore"
    file.write_bytes(b"*.one\nphotos[\n*.\xff\\\n*.two\n")
    rules = rules_of(tmp_path)
    with capture_logs() as logs:
        for _ in range(2):
            assert ignored(rules, "album/a.one")
            assert ignored(rules, "album/a.two")
            assert rules.in_folder(b"album", signature(file))(b"a.two", False)
    assert [line["file"] for line in told(logs)] == [f"{file}:2", f"{file}:3"]
    assert "bracket" in logs[0]["error"]


def test_a_file_that_is_no_text_does_not_flood_the_log(tmp_path: Path) -> None:
    (tmp_path / ".damdignore").write_bytes("a\n".encode("utf-16") * 500)
    with capture_logs() as logs:
        assert not ignored(rules_of(tmp_path), "a")
    assert len(told(logs)) == 21
    assert logs[-1]["count"] > 400


def test_of_a_file_that_is_too_large_the_whole_lines_at_its_beginning_count(tmp_path: Path) -> None:
    filling = b"#" * (MOST_BYTES - 11)
    (tmp_path / ".damdignore").write_bytes(b"first\n" + filling + b"\na.jpg\nlast\n")
    with capture_logs() as logs:
        rules = rules_of(tmp_path)
        assert ignored(rules, "first")
        assert not any(ignored(rules, name) for name in ("a", "a.", "a.jpg", "last"))
    assert [line["file"] for line in told(logs)] == [str(tmp_path / ".damdignore")]


def test_more_patterns_than_anyone_writes_are_left_out(tmp_path: Path) -> None:
    (tmp_path / ".damdignore").write_text("".join(f"/n{number}\n" for number in range(MOST_PATTERNS + 2)))
    with capture_logs() as logs:
        rules = rules_of(tmp_path)
        assert ignored(rules, f"n{MOST_PATTERNS - 1}")
        assert not ignored(rules, f"n{MOST_PATTERNS}")
    assert [line["file"] for line in told(logs)] == [f"{tmp_path}/.damdignore:{MOST_PATTERNS + 1}"]


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "unreadable"])
def test_what_cannot_be_read_counts_as_absent_and_is_told_of_once(tmp_path: Path, kind: str) -> None:
    file = tmp_path / ".damdignore"
    match kind:
        case "link":
            (tmp_path / "elsewhere").write_text("*.jpg\n")
            file.symlink_to("elsewhere")
        case "fifo":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case _:
            if os.geteuid() == 0:
                pytest.skip("root may read everything")
            file.write_text("*.jpg\n")
            file.chmod(0)
    rules = rules_of(tmp_path)
    with capture_logs() as logs:
        for number in range(3):
            assert not ignored(rules, f"{number}.jpg")
            assert not rules.in_folder(b"", signature(file))(b"a.jpg", False)
            assert not ignored(rules, f"below{number}/a.jpg")
    assert [line["file"] for line in told(logs)] == [str(file)]


def test_what_could_not_be_read_is_read_when_it_can_be(tmp_path: Path) -> None:
    file = tmp_path / ".damdignore"
    file.symlink_to("elsewhere")
    rules = rules_of(tmp_path)
    assert not rules.in_folder(b"", signature(file))(b"a.jpg", False)
    file.unlink()
    file.write_text("*.jpg\n")
    assert rules.in_folder(b"", signature(file))(b"a.jpg", False)
