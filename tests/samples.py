"""Samples: a file of every kind that damd reads, turned, coloured, talkative, slow or damaged as a test asks for it.

Each is made by a function that takes the path. What an optional package writes is imported only then.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import papers
import pytest
from pictures import corners, make_exif, make_picture, make_psd, make_xmp, photograph
from PIL import Image, ImageCms
from raws import jpeg, make_dng, make_maker_raw, stored_as

SIZE = (160, 120)
"""Of what a sample shows, as it is displayed, unless it says otherwise."""
RAW_SIZE = (640, 480)

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Sample:
    """A file that is whole.

    Attributes:
        suffix: Of its name.
        reader: The name of its reader, which is its family's, too, but for RAW.
        make: Writes it.
        size: Of what it shows, as it is displayed; None where it shows nothing.
        needs: A module without which it cannot be made or read.
    """

    suffix: str
    reader: str
    make: Make
    size: tuple[int, int] | None = SIZE
    needs: str = "PIL"

    @property
    def family(self) -> str:
        """The name of its family."""
        return {"raw": "image"}.get(self.reader, self.reader)


def picture(path: Path, orientation: int = 1, **options: Any) -> Path:
    if path.suffix == ".heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if path.suffix == ".jxl":
        return _jpeg_xl(path, _jpeg(orientation))
    return make_picture(path, size=SIZE, orientation=orientation, **options)


def _jpeg_xl(path: Path, jpeg_file: bytes) -> Path:
    """By way of a JPEG: its encoder takes orientation and profile from there, and from nowhere else."""
    import pillow_jxl  # noqa: F401 - registers its format

    source = path.with_suffix(".jpeg")
    source.write_bytes(jpeg_file)
    with Image.open(source) as image:
        image.save(path, lossless_jpeg=True)
    source.unlink()
    return path


def _jpeg(orientation: int = 1, **options: Any) -> bytes:
    stored = stored_as(photograph(*SIZE), orientation)
    return jpeg(stored, exif=make_exif(orientation).tobytes(), **options)


def _photoshop(path: Path, resources: Mapping[int, bytes] | None = None, image: Image.Image | None = None) -> None:
    path.write_bytes(make_psd(image or photograph(), resources=dict(resources or {})))


def dng(path: Path, orientation: int = 1, *, with_preview: bool = False, fields: Any = None) -> Path:
    preview = jpeg(stored_as(photograph(*RAW_SIZE), orientation)) if with_preview else None
    return make_dng(path, size=RAW_SIZE, orientation=orientation, preview=preview, fields=fields)


def _nef(path: Path, orientation: int = 1) -> Path:
    preview = jpeg(stored_as(photograph(*RAW_SIZE), orientation))
    return make_maker_raw(path, "NIKON CORPORATION", "NIKON D500", preview=preview, orientation=orientation)


_FILM_TURNS = {1: (0, False), 2: (0, True), 3: (180, False), 4: (180, True), 6: (90, False), 8: (270, False)}
"""A film's rotation in degrees clockwise, and whether it is mirrored, by the orientation that EXIF would have."""


def film(path: Path, orientation: int = 1, metadata: dict[str, str] | None = None) -> Path:
    from films import make_film

    rotation, mirrored = _FILM_TURNS[orientation]
    stored = stored_as(photograph(*SIZE), orientation)
    return make_film(
        path,
        frames=6,
        size=stored.size,
        paint=lambda number, size: stored,
        rotation=rotation,
        mirrored=mirrored,
        metadata=metadata,
    )


_SECONDS = 3.0
"""Of sound; half of less may be whole within what headers are believed to be wrong by."""


def song(path: Path, cover: bytes | None = None, **tags: str) -> Path:
    from sounds import make_sound

    said: dict[str, Any] = {"title": "Kjerag", "artist": "A Band", "genre": "Rock"} | tags
    make_sound(path, seconds=_SECONDS, **said)
    add_cover(path, _jpeg() if cover is None else cover)
    return path


def add_cover(path: Path, cover: bytes) -> None:
    """Put a picture into an MP3, M4A or FLAC."""
    from mutagen.flac import FLAC, Picture
    from mutagen.id3 import APIC, ID3
    from mutagen.mp4 import MP4, MP4Cover

    if path.suffix == ".mp3":
        tags = ID3(path)
        tags.add(APIC(encoding=3, mime="image/jpeg", type=3, desc="", data=cover))
        tags.save(path)
    elif path.suffix == ".m4a":
        song = MP4(path)
        song["covr"] = [MP4Cover(cover)]
        song.save()
    else:
        flac, picture = FLAC(path), Picture()
        picture.type, picture.mime, picture.data = 3, "image/jpeg", cover
        flac.add_picture(picture)
        flac.save()


def page(path: Path, orientation: int = 1, title: bytes | str = "Fjorde", author: bytes | str = "A. Writer") -> Path:
    """A page whose quarters have the colours of `pictures.CORNERS` once it is turned as it says."""
    rotation = {1: 0, 6: 90, 3: 180, 8: 270}[orientation]
    stored = stored_as(photograph(200, 100), orientation)
    width, height = stored.size
    places = ((0, height // 2), (width // 2, height // 2), (0, 0), (width // 2, 0))
    content = b"".join(
        b"%.2f %.2f %.2f rg %d %d %d %d re f " % (*(part / 255 for part in colour), *place, width // 2, height // 2)
        for colour, place in zip(corners(stored).values(), places, strict=True)
    )
    page = b"/MediaBox [0 0 %d %d] /Rotate %d" % (width, height, rotation)
    info = {"Title": title, "Author": author, "CreationDate": b"D:20120504101112+02'00'"}
    path.write_bytes(papers.paper(page=page, content=papers.stream(content), info=info))
    return path


def xmp_sidecar(path: Path, title: bytes = b"Seaside") -> Path:
    """What Lightroom leaves beside a RAW file."""
    packet = make_xmp(
        "<dc:subject><rdf:Bag><rdf:li>sea</rdf:li></rdf:Bag></dc:subject>",
        dc_title="TITLE",
        xmp_Rating="3",
        tiff_Model="EOS 5D",
    )
    path.write_bytes(packet.replace(b"TITLE", title))
    return path


def takeout(path: Path, description: str = "On the beach") -> Path:
    said = {"title": "a.jpg", "description": description, "photoTakenTime": {"timestamp": "1568462400"}}
    path.write_text(json.dumps(said | {"geoData": {"latitude": 53.9, "longitude": 10.7, "altitude": 0.0}}))
    return path


def _exiftool(path: Path, title: str = "Seaside") -> Path:
    path.write_text(json.dumps([{"SourceFile": "./a.jpg", "Title": title, "Keywords": ["sea"], "Rating": 4}]))
    return path


SAMPLES = {
    **{
        suffix: Sample(f".{suffix}", "image", picture)
        for suffix in ("jpg", "png", "gif", "webp", "tif", "bmp", "avif", "jp2", "tga")
    },
    "psd": Sample(".psd", "image", _photoshop),
    "jxl": Sample(".jxl", "image", picture, needs="pillow_jxl"),
    "heic": Sample(".heic", "image", picture, needs="pillow_heif"),
    "dng": Sample(".dng", "raw", dng, RAW_SIZE, "rawpy"),
    "nef": Sample(".nef", "raw", _nef, RAW_SIZE, "rawpy"),
    **{suffix: Sample(f".{suffix}", "video", film, needs="av") for suffix in ("mp4", "mov", "mkv", "avi")},
    **{suffix: Sample(f".{suffix}", "audio", song, needs="av") for suffix in ("mp3", "m4a", "flac")},
    "pdf": Sample(".pdf", "document", page, (200, 100), "pypdfium2"),
    "xmp": Sample(".xmp", "sidecar", xmp_sidecar, None),
    "takeout": Sample(".json", "sidecar", takeout, None),
    "exiftool": Sample(".json", "sidecar", _exiftool, None),
}
"""One of each kind; all shown are a `photograph`, upright."""


def variant(name: str, make: Callable[..., object], *arguments: Any, **options: Any) -> Sample:
    sample = SAMPLES[name]
    return Sample(
        sample.suffix, sample.reader, lambda path: make(path, *arguments, **options), sample.size, sample.needs
    )


def _song_with_turned_cover(path: Path, orientation: int) -> None:
    song(path, _jpeg(orientation))


_TURNED_BY: dict[str, tuple[Callable[..., object], tuple[int, ...]]] = {
    **dict.fromkeys(("jpg", "png", "webp", "tif", "avif", "jxl", "heic"), (picture, tuple(range(2, 9)))),
    "dng": (dng, tuple(range(2, 9))),
    "nef": (_nef, (3, 6, 8)),
    **dict.fromkeys(("mp4", "mov"), (film, tuple(_FILM_TURNS)[1:])),
    **dict.fromkeys(("mp3", "m4a", "flac"), (_song_with_turned_cover, (2, 6))),
    "mp3": (_song_with_turned_cover, tuple(range(2, 9))),
    "pdf": (page, (3, 6, 8)),
}

TURNED = {
    f"{name} turned as {orientation}": variant(name, make, orientation)
    for name, (make, orientations) in _TURNED_BY.items()
    for orientation in orientations
} | {
    f"dng with a preview turned as {orientation}": variant("dng", dng, orientation, with_preview=True)
    for orientation in (1, 2, 6)
}
"""Samples whose pictures lie turned in the file, by EXIF's orientation (1 to 8) or the format's own word for it."""


@cache
def strange_profile() -> bytes:
    """A colour profile by which red is blue and blue is red: who ignores it is found out."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    swapped = bytearray(profile)
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(swapped).replace("sRGB".encode("utf-16-be"), "BGRs".encode("utf-16-be"))


def _strangely_coloured() -> Image.Image:
    red, green, blue = photograph(*SIZE).split()
    return Image.merge("RGB", (blue, green, red))


def _profiled(path: Path) -> None:
    if path.suffix == ".heic":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if path.suffix == ".jxl":
        _jpeg_xl(path, jpeg(_strangely_coloured(), icc_profile=strange_profile()))
    else:
        _strangely_coloured().save(path, icc_profile=strange_profile())


def _song_with_profiled_cover(path: Path) -> None:
    song(path, jpeg(_strangely_coloured(), icc_profile=strange_profile()))


COLOURED = {
    **{name: variant(name, _profiled) for name in ("jpg", "png", "webp", "tif", "avif", "jxl", "heic")},
    "psd": variant("psd", _photoshop, {1039: strange_profile()}, _strangely_coloured()),
    "mp3": variant("mp3", _song_with_profiled_cover),
}
"""Samples whose colours are right only to who heeds their profile."""


def place(sample: Sample, folder: Path) -> Path:
    """The sample as a file in this folder; skips the test where its package is not installed."""
    pytest.importorskip(sample.needs, reason=f"needs {sample.needs}")
    path = folder / f"a{sample.suffix}"
    sample.make(path)
    return path
