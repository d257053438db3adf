import os
from fractions import Fraction
from pathlib import Path

import pytest

from damd.errors import BrokenFileError, NotAFileError, UnreadableFileError

pytest.importorskip("av", reason="needs damd[video]")

from films import make_film

from damd.readers.streams.container import (
    Source,
    boxes,
    codec_name,
    container_name,
    explain,
    opened,
    rate,
    seconds,
    texts,
)


def test_a_source_gives_no_more_than_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    with Source(str(path)) as source:
        source.allow(10)
        assert [len(source.read(6)), len(source.read(6)), source.read(6), source.exhausted] == [6, 4, b"", True]
        source.allow(10)
        assert (source.read(3), source.exhausted) == (bytes([10, 11, 12]), False)
        assert (source.seek(90), source.tell()) == (90, 90)
        assert (len(source.read(20)), source.read(1)) == (7, b"")


def test_a_position_that_cannot_be_is_no_error_that_crosses_c(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    with Source(str(path)) as source:
        assert source.seek(-5) == source.seek(0, 77) == source.seek(2**70) == -1
        assert source.read(3) == b"abc"


def test_what_is_no_file_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    with pytest.raises(NotAFileError, match="took its place"):
        Source(str(tmp_path / "fifo"))
    with pytest.raises(BrokenFileError, match="The file is empty"):
        Source(str(tmp_path / "empty"))
    for name in ("", "gone"):
        with pytest.raises(UnreadableFileError):
            Source(str(tmp_path / name))


def test_a_container_is_told_with_its_streams(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", sound=True, metadata={"title": "Öl"})
    with opened(str(film)) as container:
        assert (container_name(container), seconds(container)) == ("mp4", 3.0)
        assert [codec_name(stream) for stream in container.streams] == ["mpeg4", "aac"]
        assert texts(container.metadata)["title"] == "Öl"


def test_the_boxes_of_a_film_are_found(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4")
    with Source(str(film)) as source:
        found = list(boxes(source))
    assert [name for name, _, _ in found] == [b"ftyp", b"free", b"mdat", b"moov"]
    assert (found[0][1], found[-1][2]) == (0, film.stat().st_size)


def test_many_little_boxes_end_somewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x08free" * 50_000)
    with Source(str(path)) as source:
        assert len(list(boxes(source))) == 1_000
        assert "truncated" in str(explain(source))


def test_texts_of_any_encoding_are_clean() -> None:
    metadata = {"TITLE": "Stra\udcdfe\0and more", "Comment": "a\x07b", "empty": " ", "artist": "Ada", "ARTIST": "Bob"}
    assert texts(metadata) == {"title": "Straße", "comment": "ab", "artist": "Ada"}


def test_a_rate_that_cannot_be_is_none() -> None:
    assert rate(Fraction(30_000, 1_001), 1_000) == 29.97
    assert rate(Fraction(90_000), 1_000) is rate(None, 1_000) is rate(Fraction(0), 1_000) is None
