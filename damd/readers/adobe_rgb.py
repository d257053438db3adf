"""Adobe RGB (1998), which cameras name in EXIF and bring no profile of.

Its numbers are those of Adobe's specification (Adobe RGB (1998) Color Image Encoding, May 2005), the colorants
adapted to D50 as its annex gives them; the profile's form is that of ICC.1:2001-04, version 2.
"""

from __future__ import annotations

import struct

from PIL import Image

_INTEROPERABILITY, _INDEX, _COLOR_SPACE, _EXIF_DIRECTORY = 0xA005, 0x0001, 0xA001, 0x8769
_ADOBE = 2
"""Of ColorSpace: no standard has it, several makers write it."""
_COLORANTS = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}
_D50 = (0.96420, 1.0, 0.82491)
_GAMMA = 563  # 2 51/256, in 256ths


def says_adobe_rgb(exif: Image.Exif) -> bool:
    """Whether EXIF marks the picture so: by ``R03`` in its interoperability directory (DCF 2.0), or as makers do."""
    try:
        details = exif.get_ifd(_EXIF_DIRECTORY)
        if details.get(_COLOR_SPACE) == _ADOBE:
            return True
        return _INTEROPERABILITY in details and str(exif.get_ifd(_INTEROPERABILITY).get(_INDEX, "")).startswith("R03")
    except Exception:  # noqa: BLE001 - a mark that cannot be read marks nothing
        return False


def _make_profile() -> bytes:
    name = b"Compatible with Adobe RGB (1998)"
    curve = b"curv" + struct.pack(">LLH", 0, 1, _GAMMA)
    tags = {
        b"desc": b"desc" + struct.pack(">LL", 0, len(name) + 1) + name + bytes(1 + 78),
        b"cprt": b"text" + bytes(4) + b"None\0",
        b"wtpt": _xyz(_D50),
        **{kind: _xyz(values) for kind, values in _COLORANTS.items()},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for kind, data in tags.items():
        table += kind + struct.pack(">LL", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    total = start + len(body)
    header = struct.pack(">L4s4s4s4s4s12x4s", total, b"", b"\x02\x10\0\0", b"mntr", b"RGB ", b"XYZ ", b"acsp").ljust(
        68, b"\0"
    )
    header += b"".join(_fixed(value) for value in _D50)
    return header.ljust(128, b"\0") + struct.pack(">L", len(tags)) + table + body


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _fixed(value: float) -> bytes:
    return struct.pack(">l", round(value * 65536))


ADOBE_RGB = _make_profile()
"""A profile of it."""
