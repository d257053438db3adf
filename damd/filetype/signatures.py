"""The tables of what files begin with: where damd knows better than the library, it says so here."""

from __future__ import annotations

import re
from collections.abc import Callable

from damd.filetype.boxes import BRANDS, judge_brands, judge_quicktime
from damd.filetype.cameras import MAKERS, judge_tiff
from damd.filetype.containers import OFFICE, judge_asf, judge_matroska, judge_ogg, judge_zip
from damd.filetype.films import judge_mpeg_video, judge_transport_stream
from damd.filetype.peek import Peek
from damd.filetype.pictures import judge_icon, judge_pcx, judge_targa
from damd.filetype.sounds import judge_aac, judge_ac3, judge_id3, judge_mpeg_audio

Answer = str | Callable[[Peek], str | None]
"""A MIME type, or what looks closer and may say None after all."""
Signature = tuple[re.Pattern[bytes], Answer]

_SIGNED: tuple[tuple[bytes, Answer], ...] = (
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBP", "image/webp"),
    (rb"(?:II\*\0|MM\0\*)....CR[\x02\x03]", "image/x-canon-cr2"),
    (rb"II\*\0....IIII.waR|MM\0\*....MMMMRaw", "image/x-phaseone-iiq"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", judge_tiff),
    # Two letters prove nothing: the size of the header that follows is one of the known ones.
    (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", "image/bmp"),
    # What letters begin could begin a text as well, so more than letters is asked for, here and below.
    (rb"IIR[OS][\x08-\xff]\0|MMOR\0\0\0", "image/x-olympus-orf"),
    (rb"IIU\0", "image/x-panasonic-rw2"),
    (rb"FUJIFILMCCD-RAW", "image/x-fujifilm-raf"),
    (rb"FOVb..[\x01-\x05]\0", "image/x-sigma-x3f"),
    (rb"\0MR[MI]", "image/x-minolta-mrw"),
    (rb"II\x1a\0\0\0HEAPCCDR", "image/x-canon-crw"),
    (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", "image/jxl"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n....ftypmjp2", "video/mj2"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
    (rb"\xff\x4f\xff\x51", "image/x-j2c"),
    (rb"8BPS\0[\x01\x02]", "image/vnd.adobe.photoshop"),
    (rb"DDS \x7c\0\0\0", "image/vnd.ms-dds"),
    (rb"qoif.{8}[\x03\x04][\0\x01]", "image/qoi"),
    (rb"icns[\0-\x0f]", "image/x-icns"),
    (rb"P[1-6](?:\s++|#[^\n]*+\n)++[1-9]\d*+(?:\s++|#[^\n]*+\n)++[1-9]\d*+\s", "image/x-portable-anymap"),
    (rb"P7\n(?:#[^\n]*+\n)*+WIDTH ", "image/x-portable-anymap"),
    (rb"P[Ff]\n[1-9]\d*+\s[1-9]\d*+\s-?\d", "image/x-portable-anymap"),
    (rb"\x01\xda[\0\x01][\x01\x02]\0[\x01-\x03]", "image/x-sgi"),
    (rb"\x01\0\0\0.{36} EMF", "image/emf"),
    (rb"AT&TFORM....DJV[UMI]", "image/vnd.djvu"),
    (rb"\xc5\xd0\xd3\xc6|%!PS-Adobe-\d\.\d EPSF", "image/x-eps"),
    (rb"%!PS", "application/postscript"),
    (rb"(?:\xef\xbb\xbf)?\s*+%PDF-", "application/pdf"),
    (rb"OTTO\0", "font/otf"),
    (rb"\0\x01\0\0\0[\x04-\x40]", "font/ttf"),
    (rb"PK\x03\x04", judge_zip),
    (rb"\0.{3}ftyp.{4}", judge_brands),
    (rb"RIFF....AVI ", "video/x-msvideo"),
    (rb"\x1aE\xdf\xa3.{0,60}?\x42\x82.{1,8}?webm", "video/webm"),
    (rb"\x1aE\xdf\xa3.{0,60}?\x42\x82.{1,8}?matroska", judge_matroska),
    (rb"\0\0\x01\xba[\x20-\x2f\x40-\x7f]", "video/mpeg"),
    (rb"\0\0\x01\xb3", judge_mpeg_video),
    (rb"\0\0\x01\xb0.\0\0\x01\xb5", "video/mpeg"),
    (rb"FLV\x01[\0-\x07]\0\0\0\x09", "video/x-flv"),
    (rb"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01[\x02-\x04]", "application/mxf"),
    (rb"\x1f\x07\0[\x3f\xbf].{76}\x3f\x07\0", "video/x-dv"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", judge_asf),
    (rb"OggS\0", judge_ogg),
    (rb"(?:RIFF|RF64|BW64)....WAVE", "audio/x-wav"),
    (rb"(?:RIFF|RF64|RIFX)....RMID|MThd\0\0\0\x06", "audio/midi"),
    (rb"FORM....AIF[FC]", "audio/aiff"),
    (rb"ID3[\x02-\x04]..[\0-\x7f]{4}", judge_id3),
    (rb"fLaC[\0\x80]", "audio/flac"),
    (rb"MAC .[\x0b-\x10]", "audio/x-ape"),
    (rb"wvpk.{5}\x04", "audio/x-wavpack"),
    (rb"MP\+[\x07\x17]|MPCK(?:SH|RG|EI|SO|ST|AP|SE)[\0-\x7f]", "audio/x-musepack"),
    (rb"#!AMR(?:-WB)?(?:_MC1\.0)?\n", "audio/amr"),
    (rb"caff\0\x01\0\0", "audio/x-caf"),
    (rb"DSD \x1c\0\0\0", "audio/x-dsf"),
    (rb"\.snd\0", "audio/basic"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", judge_aac),
    (rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]", judge_mpeg_audio),
    (rb"\x0b\x77", judge_ac3),
)
"""What a file begins with, and its MIME type; the first that fits decides."""

_UNSIGNED: tuple[tuple[bytes, Answer], ...] = (
    (rb".{4}(?:moov|mdat|wide|free|skip|pnot)", judge_quicktime),
    (rb"G|.{4}G", judge_transport_stream),
    (rb"\0\0\x01\0", judge_icon),
    (rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]", judge_pcx),
    (rb".[\0\x01][\x01-\x03\x09-\x0b]", judge_targa),
)
"""The same for files that are no text, of which no two bytes are always the same or only letters are."""


def _compile(table: tuple[tuple[bytes, Answer], ...]) -> tuple[Signature, ...]:
    return tuple((re.compile(pattern, re.DOTALL), answer) for pattern, answer in table)


SIGNATURES, UNSIGNED = _compile(_SIGNED), _compile(_UNSIGNED)

_ALIASES = frozenset(
    {"image/x-icon", "video/avi", "video/dv", "video/dvd"}
    | {"audio/mid", "audio/wav", "audio/wave", "audio/vnd.qcelp", "audio/x-aiff", "audio/x-au", "audio/x-midi"}
)
"""Other names of these types, that the library gives to anything with the first four bytes."""

KNOWN = frozenset(
    _ALIASES
    | {answer for _, answer in _SIGNED if isinstance(answer, str)}
    | {*BRANDS.values(), *dict(MAKERS).values(), *OFFICE.values()}
    | {"image/x-adobe-dng", "image/tiff", "image/heif", "image/x-tga", "image/x-pcx", "image/vnd.microsoft.icon"}
    | {"video/mp4", "video/3gpp", "video/3gpp2", "video/x-matroska", "video/x-ms-wmv", "video/ogg", "video/mp2t"}
    | {"audio/x-matroska", "audio/x-ms-wma", "audio/ogg", "audio/mpeg", "audio/aac", "audio/ac3"}
    | {"application/zip", "application/epub+zip", "application/rdf+xml", "application/json", "image/svg+xml"}
)
"""The types that are decided here alone, so that the library is not believed about them."""
