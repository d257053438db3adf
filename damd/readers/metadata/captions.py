"""What people wrote, told apart from what their cameras write in its place."""

from __future__ import annotations

import re

from damd.readers.plain import clean_text

_BY_CAMERAS = re.compile(
    r"""(?ix)
    (?:olympus|sony|samsung|sanyo|minolta|konica\ minolta|medion|kodak|pentax|casio|ricoh|vivitar|polaroid|general)?
    (?:\ [\w-]+){0,3}\s*(?:digital\ (?:still\ )?camera|dsc|camera\ pictures?)
    | samsung | sony | jpeg | exif[_ ]jpeg(?:[_ ]t?\d*)?(?:[_ ]picture)? | exif_jpeg_picture
    | dcf\s?\d\.\d | dcim.* | untitled | default | ascii | charset=.{0,20} | \W*
    | (?:created\ by\ )?dji(?:\ camera)? | jenoptik | applemark | lead\ technologies.{0,40}
    | <(?:kenox|digimax).* | \(c\)\ by\ .{1,20}\ user | img
    """
)
"""Seen in ImageDescription, and copied from there into XMP and IPTC by editors."""


def clean_caption(value: object) -> str | None:
    """A title or a description as `clean_text` makes it; None too for a camera's default."""
    text = clean_text(value)
    return None if text is None or (len(text) < 80 and _BY_CAMERAS.fullmatch(text)) else text
