"""Samples that say what no catalogue should hear: controls, NULs, half characters, and a megabyte of text."""

from __future__ import annotations

import struct
from pathlib import Path

from pictures import make_exif, make_jpeg_with, make_xmp, photograph
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from samples import SIZE, dng, film, page, song, takeout, variant, xmp_sidecar

IDENTIFIER = "B2F1C3D4-0000-4000-8000-0123456789AB"
"""What a Live Photo's still and film call themselves."""
_NASTY = b"A\x1b[31m\x07B\xed\xa0\x80\xc2\x85\xe2\x80\xae\r\n\tC\xff\xfe\0D"
"""An escape, a bell, a lone surrogate, C1, a turned direction, line ends, what is no UTF-8, and a NUL."""
_LONG = "long and longer " * 2**16
"""A megabyte."""


def _replace(path: Path, place: bytes, nasty: bytes = _NASTY) -> None:
    """Write nasty bytes over words of the same length, in a file whose maker would not take them."""
    data = path.read_bytes()
    assert place in data, path
    path.write_bytes(data.replace(place, nasty))


_PLACE = "P" * len(_NASTY)


def _talkative_exif() -> bytes:
    exif = make_exif()
    exif[0x010E], exif[0x013B] = _NASTY, _LONG[:20_000]
    exif[0x9C9B] = b"T\0\0\xd8\x1b\0i\0\0\0x\0"  # XPTitle, in UTF-16
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + b"\xd8\0" * 500
    exif.get_ifd(0x8769)[0x927C] = apple_note()
    return exif.tobytes()


def apple_note(text: str = IDENTIFIER) -> bytes:
    """The maker note of a Live Photo's still."""
    raw = text.encode() + b"\0"
    entry = struct.pack(">HHHLL", 1, 0x0011, 2, len(raw), 14 + 2 + 12 + 4)
    return b"Apple iOS\0\0\1MM" + entry + bytes(4) + raw


def _talkative_jpeg(path: Path) -> None:
    packet = make_xmp(dc_title="TITLE").replace(b"TITLE", _NASTY.replace(b"\0", b"&#0;"))
    exif, comments = _talkative_exif(), [b"\xfe" + _LONG.encode()[:65_000]] * 16
    make_jpeg_with(path, b"\xe1" + exif, b"\xe1http://ns.adobe.com/xap/1.0/\0" + packet, *comments)


def _talkative_png(path: Path) -> None:
    info = PngInfo()
    info.add_text("Description", _LONG)
    info.add_itxt("XML:com.adobe.xmp", make_xmp(dc_description=_LONG).decode())
    photograph(*SIZE).save(path, pnginfo=info, exif=_talkative_exif())


def _talkative_tiff(path: Path) -> None:
    fields = ImageFileDirectory_v2()
    fields[270], fields[315] = _LONG, _PLACE
    photograph(*SIZE).save(path, tiffinfo=fields)
    _replace(path, _PLACE.encode())


def _talkative_dng(path: Path) -> None:
    packet = make_xmp(dc_title="TITLE").replace(b"TITLE", _NASTY)
    dng(path, fields={270: (2, _LONG.encode()), 315: (2, _NASTY + b"\0"), 700: (1, packet)})


def _talkative_film(path: Path) -> None:
    identifier = {"com.apple.quicktime.content.identifier": IDENTIFIER, "com.apple.quicktime.make": "Apple"}
    film(path, metadata={"title": _PLACE, "comment": _LONG, **identifier})
    _replace(path, _PLACE.encode())


def _talkative_song(path: Path) -> None:
    song(path, title=_PLACE, album=_LONG, track="3/12", date="2001")
    _replace(path, _PLACE.encode())


def _talkative_json(path: Path) -> None:
    takeout(path, "A\x1b[31m\x07B\ud800\x85\u202e\r\n\tC\0D" + _LONG)


TALKATIVE = {
    "jpg": variant("jpg", _talkative_jpeg),
    "png": variant("png", _talkative_png),
    "tif": variant("tif", _talkative_tiff),
    "dng": variant("dng", _talkative_dng),
    "mov": variant("mov", _talkative_film),
    "mkv": variant("mkv", _talkative_film),
    "mp3": variant("mp3", _talkative_song),
    "flac": variant("flac", _talkative_song),
    "pdf": variant(
        "pdf",
        page,
        title=b"\xfe\xff" + "A\x1b\x07B\x85\r\n\u202e".encode("utf-16-be") + b"\xd8\0\0\0\0D",
        author=_LONG,
    ),
    "xmp": variant("xmp", xmp_sidecar, b"A\x1b[31m\xc2\x85\xe2\x80\xae\r\n\tC\xef\xbf\xbe" + _LONG.encode()),
    "takeout": variant("takeout", _talkative_json),
}
"""By the names in `samples.SAMPLES`."""
