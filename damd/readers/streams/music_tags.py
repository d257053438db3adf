"""What recordings say of the music in them, by the six ways of saying it that mutagen reads.

Those are ID3 (in MP3, WAV, AIFF, DSF and raw AAC), the atoms of MP4, Vorbis comments (in FLAC and Ogg), APEv2 and
Windows Media's attributes; for others, such as WAV's INFO and Matroska, there are FFmpeg's words.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import mutagen
from mutagen.apev2 import APEBinaryValue, APEv2
from mutagen.asf import ASFTags
from mutagen.id3 import ID3, TCON
from mutagen.mp4 import MP4Tags

from damd.errors import UnreadableFileError
from damd.readers.plain import clean_line
from damd.readers.streams.container import Source

MAX_TITLE = 500
MAX_GENRE = 200
_MAX_VALUES = 20
"""Of one tag: more artists than that are a list of a choir."""

_NAMES: tuple[tuple[type, Mapping[str, tuple[str, ...]]], ...] = (
    (
        ID3,
        {
            "title": ("TIT2",),
            "artist": ("TPE1", "TPE2"),
            "album": ("TALB",),
            "track": ("TRCK",),
            "year": ("TDRC", "TYER", "TDRL", "TDOR"),
            "genre": ("TCON",),
        },
    ),
    (
        MP4Tags,
        {
            "title": ("\xa9nam",),
            "artist": ("\xa9ART", "aART"),
            "album": ("\xa9alb",),
            "track": ("trkn",),
            "year": ("\xa9day",),
            "genre": ("\xa9gen",),
        },
    ),
    (
        ASFTags,
        {
            "title": ("Title",),
            "artist": ("Author", "WM/AlbumArtist"),
            "album": ("WM/AlbumTitle",),
            "track": ("WM/TrackNumber",),
            "year": ("WM/Year", "WM/OriginalReleaseYear"),
            "genre": ("WM/Genre",),
        },
    ),
    (
        APEv2,
        {
            "title": ("Title",),
            "artist": ("Artist", "Album Artist"),
            "album": ("Album",),
            "track": ("Track",),
            "year": ("Year",),
            "genre": ("Genre",),
        },
    ),
)
_WORDS: Mapping[str, tuple[str, ...]] = {
    "title": ("title",),
    "artist": ("artist", "albumartist", "album_artist", "album artist"),
    "album": ("album",),
    "track": ("tracknumber", "track"),
    "year": ("date", "year", "originaldate"),
    "genre": ("genre",),
}
"""In Vorbis comments, and as FFmpeg names them."""


class _Tagged(Source):
    """A file as mutagen reads it: a seek to nowhere fails, as it does in files."""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = super().seek(offset, whence)
        if position < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return position


def open_tagged(path: str) -> mutagen.FileType | None:
    """The file as mutagen sees it, read and closed again; None where it sees nothing that it knows.

    Raises:
        BrokenFileError: It is empty.
        UnreadableFileError: The system does not let it be read.
        MemoryError: Its tags take more than the process may use.
    """
    with _Tagged(path) as source:
        try:
            tagged: mutagen.FileType | None = mutagen.File(source)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - tags that cannot be read are no tags, however that shows
            tagged = None
        if source.failure is not None:
            raise UnreadableFileError(source.failure)
    return tagged


def read_tags(tagged: mutagen.FileType | None, words: Mapping[str, str]) -> dict[str, Any]:
    """``title``, ``artist``, ``album``, ``track``, ``year`` and ``genre``, as far as they are known.

    Args:
        tagged: What mutagen sees.
        words: What FFmpeg sees, for what mutagen does not; see `damd.readers.streams.container.texts`.
    """
    found: dict[str, Any] = {}
    tags: Any = getattr(tagged, "tags", None)
    for key, parse in _PARSERS.items():
        value = parse(_values(tags, key)) if tags is not None else None
        if value is None:
            value = parse(_first(words, _WORDS[key]))
        if value is not None:
            found[key] = value
    return found


def _values(tags: Any, key: str) -> list[str]:
    """What the tags have for one of our keys, as texts."""
    names = next((table for kind, table in _NAMES if isinstance(tags, kind)), _WORDS)[key]
    return _first(tags, names)


def _first(tags: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    for name in names:
        try:
            found = tags[name]
        except (KeyError, ValueError):
            continue
        values = found if isinstance(found, list) else getattr(found, "text", None) or [found]
        if texts := [text for value in islice(values, _MAX_VALUES) for text in _texts(value)]:
            return texts
    return []


def _texts(value: object) -> list[str]:
    if isinstance(value, tuple):  # MP4's track: its number, and how many there are
        value = value[0] if value else ""
    if isinstance(value, bytes | APEBinaryValue):
        return []
    parts = str(value)[: 2**16].split("\0")[:_MAX_VALUES]  # APEv2 and ID3 put NULs between several
    return [text for part in parts if (text := clean_line(part, MAX_TITLE))]


def _join(values: list[str]) -> str | None:
    return ", ".join(dict.fromkeys(values))[:MAX_TITLE].rstrip(" ,") or None


def _track(values: list[str]) -> int | None:
    match = re.match(r"0*([1-9][0-9]{0,4})(?![0-9])", values[0]) if values else None
    return int(match[1]) if match else None


def _year(values: list[str]) -> int | None:
    match = re.search(r"(?<![0-9])[0-9]{4}(?![0-9])", values[0]) if values else None
    return int(match[0]) or None if match else None


def _genre(values: list[str]) -> str | None:
    """Genres by name, those by number too: ``17``, ``(17)``, ``(17)Rock`` (ID3v2.3, 4.2.1), everywhere."""
    names = [name for name in TCON(encoding=3, text=values).genres if name != "Unknown"]
    return (_join(names) or "")[:MAX_GENRE].rstrip(" ,") or None


_PARSERS: Mapping[str, Callable[[list[str]], Any]] = {
    "title": _join,
    "artist": _join,
    "album": _join,
    "track": _track,
    "year": _year,
    "genre": _genre,
}
