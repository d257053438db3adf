"""Looks at a disk that may not answer."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from damd import patience


@pytest.fixture
def dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that does not answer, as on a mount whose server is gone."""
    dead, answer, real = tmp_path / "dead", threading.Event(), os.path.realpath

    def realpath(path: str) -> str:
        if Path(path).is_relative_to(dead):
            answer.wait()
        return real(path)

    monkeypatch.setattr(os.path, "realpath", realpath)
    monkeypatch.setattr(patience, "_AT_ONCE_S", 0.01)
    monkeypatch.setattr(patience, "_silent", {})
    yield dead
    answer.set()


def test_a_path_is_told_without_its_links(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "loop").symlink_to("loop")
    assert patience.real_path(tmp_path / "link" / ".." / "link") == str(tmp_path / "folder")
    assert patience.real_path(tmp_path / "loop") == str(tmp_path / "loop")


def test_one_that_does_not_answer_stays_as_it_is_spelt_and_is_not_asked_again(dead: Path) -> None:
    before = threading.active_count()
    for _ in range(3):
        assert patience.real_path(dead / "photos") == str(dead / "photos")
    assert threading.active_count() <= before + 1
