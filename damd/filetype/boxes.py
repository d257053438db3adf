"""Files made of boxes: ISO base media (ISO/IEC 14496-12) by their brands, and QuickTime files without any."""

from __future__ import annotations

from damd.filetype.peek import Peek

BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"hevm": "image/heic",
    b"hevs": "image/heic",
    b"avci": "image/heif",
    b"avcs": "image/heif",
    b"crx ": "image/x-canon-cr3",
    b"jxl ": "image/jxl",
    b"qt  ": "video/quicktime",
    b"mqt ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
    b"F4A ": "audio/mp4",
    b"F4B ": "audio/mp4",
    b"M4V ": "video/x-m4v",
    b"M4VH": "video/x-m4v",
    b"M4VP": "video/x-m4v",
}
"""Brands of ISO base media files that decide alone; most are registered at mp4ra.org."""

_GENERIC_IMAGE_BRANDS = (b"mif1", b"mif2", b"msf1", b"miaf", b"1pic")
"""They say "images", not how these are coded: a compatible brand says that."""

_QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid", b"udta", b"PICT")
_MOST_BOXES = 16


def judge_brands(peek: Peek) -> str:
    """The type of an ISO base media file; what no brand decides is a video, or a generic image."""
    head = peek.head
    major, compatible = head[8:12], head[16 : max(16, int.from_bytes(head[:4], "big"))]
    if major in BRANDS:
        return BRANDS[major]
    if major[:3] in (b"3gp", b"3ge", b"3gg", b"3gs", b"3gr"):
        return "video/3gpp"
    if major[:3] == b"3g2":
        return "video/3gpp2"
    if major in _GENERIC_IMAGE_BRANDS:
        brands = (compatible[start : start + 4] for start in range(0, len(compatible), 4))
        coded = (BRANDS.get(brand, "") for brand in brands)
        return next((mime_type for mime_type in coded if mime_type.startswith("image/")), "image/heif")
    return "video/mp4"


def judge_quicktime(peek: Peek) -> str | None:
    """QuickTime, if every box up to the film's description, or to where the file is cut, is one of QuickTime's."""
    offset = 0
    for _ in range(_MOST_BOXES):
        box = peek.read(offset, 16)
        if not box:
            break
        size, kind = int.from_bytes(box[:4], "big"), box[4:8]
        if size == 1:
            size = int.from_bytes(box[8:16], "big")
        if kind not in _QUICKTIME_BOXES or 0 < size < 8:
            return None
        if kind == b"moov" or size == 0:
            break
        offset += size
    return "video/quicktime"
