"""Makers of real pictures, for every test that needs one."""

import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from PIL.TiffImagePlugin import IFDRational

CORNERS = {
    "top left": (220, 30, 30),
    "top right": (30, 180, 40),
    "bottom left": (40, 60, 220),
    "bottom right": (230,) * 3,
}
"""The colours of a `photograph`'s quarters, so that any turn shows."""

_STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def photograph(width: int = 160, height: int = 120, mode: str = "RGB") -> Image.Image:
    """Four coloured quarters and something to see in the middle."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    middle = (width // 2, height // 2)
    boxes = (
        (0, 0, *middle),
        (middle[0], 0, width, middle[1]),
        (0, middle[1], middle[0], height),
        (*middle, width, height),
    )
    for box, colour in zip(boxes, CORNERS.values(), strict=True):
        draw.rectangle(box, fill=colour)
    draw.ellipse((width // 3, height // 3, width // 2, height // 2), fill=(250, 200, 20))
    return image.convert(mode)


def corners(image: Image.Image) -> dict[str, tuple[int, ...]]:
    """The colours near an image's corners, named as in `CORNERS`."""
    rgb = image.convert("RGB")
    right, bottom = rgb.width - 4, rgb.height - 4
    places = {"top left": (3, 3), "top right": (right, 3), "bottom left": (3, bottom), "bottom right": (right, bottom)}
    return {name: _colour(rgb, place) for name, place in places.items()}


def _colour(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    colour = image.getpixel(place)
    assert isinstance(colour, tuple)
    return tuple(int(value) for value in colour)


def near(colour: tuple[int, ...], other: tuple[int, ...], within: int = 30) -> bool:
    return all(abs(one - another) <= within for one, another in zip(colour, other, strict=True))


def make_exif(orientation: int | None = None) -> Image.Exif:
    """What a good camera writes."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "EOS 5D"
    if orientation:
        exif[0x0112] = orientation
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0x9011] = "2012:05:04 10:11:12", "+02:00"
    details[0x829A], details[0x829D] = IFDRational(1, 250), IFDRational(28, 10)
    details[0x8827], details[0x920A], details[0xA434] = 400, IFDRational(50, 1), "EF50mm f/1.8"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "S", (IFDRational(33), IFDRational(51), IFDRational(54, 1))
    gps[3], gps[4] = "E", (IFDRational(151), IFDRational(12), IFDRational(36, 1))
    gps[5], gps[6] = b"\0", IFDRational(585, 10)
    return exif


def make_picture(path: Path, *, size: tuple[int, int] = (160, 120), orientation: int = 1, **options: Any) -> Path:
    """A photograph with the EXIF of a good camera, in the format of the path's suffix.

    It looks upright where ``orientation`` is heeded.
    """
    image = photograph(*size)
    turn = _STORED_AS[orientation]
    stored = image if turn is None else image.transpose(turn)
    stored.save(path, **{"exif": make_exif(orientation).tobytes(), **options})
    return path


def make_animation(path: Path, frames: int) -> Path:
    """Its first frame is a `photograph`, the others are grey."""
    others = [Image.new("RGB", (160, 120), (shade, shade, shade)) for shade in range(40, 40 * frames, 40)]
    photograph().save(path, save_all=True, append_images=others, duration=50)
    return path


def make_png(width: int, height: int, *, before: bytes = b"", rows: bytes = b"") -> bytes:
    """A grey PNG that claims this size, with chunks of your own (see `chunk`) before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_tiff_header(*fields: tuple[int, int, int]) -> bytes:
    """A little-endian TIFF of one directory that has these fields (tag, type, value) and no pixels."""
    entries = b"".join(struct.pack("<HHLL", tag, kind, 1, value) for tag, kind, value in sorted(fields))
    return b"II*\0" + struct.pack("<LH", 8, len(fields)) + entries + bytes(4) + bytes(64)


def make_psd(
    image: Image.Image,
    *,
    depth: int = 8,
    large: bool = False,
    runs: bool = False,
    layers: bytes = b"",
    resources: dict[int, bytes] | None = None,
) -> bytes:
    """A PSD, or a PSB if ``large``, whose merged picture is this one; ``runs`` are PackBits without any saving."""
    modes = {"L": 1, "RGB": 3, "RGBA": 3, "CMYK": 4, "LAB": 9}
    bands = image.split()
    blocks = b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content + bytes(len(content) % 2)
        for number, content in (resources or {}).items()
    )
    head = b"8BPS" + struct.pack(
        ">H6xHIIHH", 1 + large, len(bands), image.height, image.width, depth, modes[image.mode]
    )
    long = ">Q" if large else ">I"
    section = struct.pack(long, len(layers)) + layers if layers else b""
    head += bytes(4) + struct.pack(">I", len(blocks)) + blocks + struct.pack(long, len(section)) + section
    planes = [_psd_plane(band.tobytes(), image.mode, depth) for band in bands]
    if not runs:
        return head + b"\0\0" + b"".join(planes)
    width = image.width * depth // 8
    rows = [_pack(plane[start : start + width]) for plane in planes for start in range(0, len(plane), width)]
    table = b"".join(struct.pack(">I" if large else ">H", len(row)) for row in rows)
    return head + b"\0\1" + table + b"".join(rows)


def _psd_plane(band: bytes, mode: str, depth: int) -> bytes:
    if mode == "CMYK":
        band = bytes(255 - value for value in band)
    return band if depth == 8 else b"".join(bytes((value, 7)) for value in band)


def _pack(row: bytes) -> bytes:
    parts = [row[start : start + 128] for start in range(0, len(row), 128)]
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def make_xmp(body: str = "", **attributes: str) -> bytes:
    """An XMP packet: elements of its one description, and attributes, ``xmp_Rating`` for ``xmp:Rating``."""
    names = " ".join(f'{name.replace("_", ":", 1)}="{value}"' for name, value in attributes.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
        ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:aux="http://ns.adobe.com/exif/1.0/aux/"'
        f' {names}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>{" " * 100}<?xpacket end="w"?>'
    ).encode()


def make_iptc(*datasets: tuple[int, int, bytes]) -> bytes:
    """IPTC's older metadata of these datasets (record, number, content)."""
    return b"".join(struct.pack(">BBBH", 0x1C, record, number, len(text)) + text for record, number, text in datasets)


def make_jpeg_with(path: Path, *segments: bytes) -> Path:
    """A photograph as a JPEG with these application segments, each its marker's last byte and its content."""
    photograph().save(path)
    whole = path.read_bytes()
    extra = b"".join(b"\xff" + one[:1] + struct.pack(">H", len(one) + 1) + one[1:] for one in segments)
    path.write_bytes(whole[:2] + extra + whole[2:])
    return path


def iptc_segment(iptc: bytes) -> bytes:
    """A Photoshop segment of a JPEG with this IPTC."""
    return b"\xedPhotoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)


def make_icns(content: bytes) -> bytes:
    """An icon of macOS that holds one picture, a PNG or JPEG 2000 of 256 pixels."""
    return b"icns" + struct.pack(">I", 16 + len(content)) + b"ic08" + struct.pack(">I", 8 + len(content)) + content
