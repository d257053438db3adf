import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import make_picture, photograph

from damd.filetype import HEAD_BYTES, get_file_type, get_mime_type
from damd.filetype.peek import Peek
from damd.filetype.signatures import KNOWN
from damd.media import FAMILIES

BOX = b"\0\0\0\x20ftyp"
UNLUCKY_JPEG = b"\xff\xd8\xff\xe1\x11\xfeExif\0\0II*\0\x08\0\0\0"


@pytest.mark.parametrize(
    ("suffix", "mime_type"),
    [
        ("jpg", "image/jpeg"),
        ("png", "image/png"),
        ("gif", "image/gif"),
        ("webp", "image/webp"),
        ("tiff", "image/tiff"),
        ("bmp", "image/bmp"),
        ("avif", "image/avif"),
        ("pdf", "application/pdf"),
        ("ico", "image/vnd.microsoft.icon"),
        ("icns", "image/x-icns"),
        ("tga", "image/x-tga"),
        ("pcx", "image/x-pcx"),
        ("ppm", "image/x-portable-anymap"),
        ("sgi", "image/x-sgi"),
        ("dds", "image/vnd.ms-dds"),
        ("qoi", "image/qoi"),
        ("jp2", "image/jp2"),
        ("j2k", "image/x-j2c"),
        ("eps", "image/x-eps"),
    ],
)
def test_what_pillow_writes_is_known_by_its_bytes_under_any_name(tmp_path: Path, suffix: str, mime_type: str) -> None:
    real = tmp_path / f"real.{suffix}"
    photograph().save(real)
    for name in ("nothing", "film.mp4", "notes.txt", f"right.{suffix}"):
        assert get_mime_type(real.rename(tmp_path / name)) == mime_type
        (tmp_path / name).rename(real)


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (UNLUCKY_JPEG, "image/jpeg"),
        (BOX + b"avif\0\0\0\0avifmif1miafMA1B", "image/avif"),
        (BOX + b"avis\0\0\0\0avismsf1miafMA1B", "image/avif"),
        (BOX + b"heic\0\0\0\0mif1heicmiafMiHB", "image/heic"),
        (BOX + b"heix\0\0\0\0mif1heixmiafMiHB", "image/heic"),
        (BOX + b"mif1\0\0\0\0mif1miafheicMiHB", "image/heic"),
        (BOX + b"mif1\0\0\0\0mif1miafavifMiHB", "image/avif"),
        (BOX + b"msf1\0\0\0\0msf1miafhevcMiHB", "image/heic"),
        (BOX + b"mif1\0\0\0\0mif1miafmiafmiaf" + b"heic" * 9, "image/heif"),
        (BOX + b"crx \0\0\0\0crx isom" + bytes(8), "image/x-canon-cr3"),
        (BOX + b"M4A \0\0\0\0M4A isom" + bytes(8), "audio/mp4"),
        (BOX + b"isom\0\0\0\0isomavc1" + bytes(8), "video/mp4"),
        (BOX + b"mp42\0\0\0\0isommp42" + bytes(8), "video/mp4"),
        (BOX + b"qt  \0\0\0\0qt  " + bytes(12), "video/quicktime"),
        (BOX + b"3gp5\0\0\0\0isom" + bytes(12), "video/3gpp"),
        (BOX + b"3g2a\0\0\0\0isom" + bytes(12), "video/3gpp2"),
        (b"\0\0\0\x08wide\0\0\0\0mdat" + bytes(40), "video/quicktime"),
        (b"\0\0\x20\x08mdat" + bytes(8192) + b"\0\0\0\x10moov", "video/quicktime"),
        (b"\0\0\0\1mdat\0\0\0\0\0\0\0\x18" + bytes(8), "video/quicktime"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm", "video/webm"),
        (b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x88matroska", "video/x-matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "video/x-msvideo"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/x-wav"),
        (b"ID3\x03\0\0\0\0\0\0", "audio/mpeg"),
        ((b"\xff\xfb\x90\x64" + bytes(413)) * 2, "audio/mpeg"),
        (b"fLaC\0\0\0\x22", "audio/flac"),
        (b"OggS\0\2" + bytes(20) + b"\1\x08OpusHead", "audio/ogg"),
        (b"OggS\0\2" + bytes(20) + b"\1\x07\x80theora", "video/ogg"),
        (b"II*\0\x10\0\0\0CR\2\0", "image/x-canon-cr2"),
        (b"IIRO\x08\0\0\0", "image/x-olympus-orf"),
        (b"IIU\0\x18\0\0\0", "image/x-panasonic-rw2"),
        (b"FUJIFILMCCD-RAW 0201", "image/x-fujifilm-raf"),
        (b"MM\0+\0\x08\0\0", "image/tiff"),
        (b"MM\0+\0\x08\0\0" + b"\xff" * 100, "image/tiff"),
        (b"II*\0\xff\xff\xff\xff" + b"\xff" * 100, "image/tiff"),
        (b"II*\0\0\0\0\0" + b"\xff" * 100, "image/tiff"),
        (b"II*\0\x60\0\0\0" + b"\xff" * 100, "image/tiff"),
        (b"8BPS\0\1", "image/vnd.adobe.photoshop"),
        (b"FOVb\3\0\2\0", "image/x-sigma-x3f"),
        (b"\0MRM\0\1\0\0", "image/x-minolta-mrw"),
        (b"II\x1a\0\0\0HEAPCCDR", "image/x-canon-crw"),
        (b"II*\0\x10\0\0\0IIIITwaR", "image/x-phaseone-iiq"),
        (b"MMOR\0\0\0\x08", "image/x-olympus-orf"),
        (b"P6\n# a remark\n160 120\n255\n", "image/x-portable-anymap"),
        (b"OTTO\0\x0b\0\x80\0\x03\0\x30CFF ", "font/otf"),
        (b"\0\x01\0\0\0\x0f\0\x80\0\x03\0\x70GDEF", "font/ttf"),
        (b"P7\nWIDTH 160\nHEIGHT 120\n", "image/x-portable-anymap"),
        (b"AT&TFORM\0\0\1\0DJVM", "image/vnd.djvu"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/x-eps"),
        (b"%!PS-Adobe-3.0\n", "application/postscript"),
        (b"\xef\xbb\xbf\n%PDF-1.4\n", "application/pdf"),
        (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypmjp2", "video/mj2"),
        (b"MThd\0\0\0\6\0\1", "audio/midi"),
        (b"MAC \x96\x0f", "audio/x-ape"),
        (b"MP+\x07", "audio/x-musepack"),
        (b"MPCKSH\x0f", "audio/x-musepack"),
        (b"#!AMR-WB\n\x04", "audio/amr"),
        (b"DSD \x1c" + bytes(7), "audio/x-dsf"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "audio/x-wav"),
        (b"PK\3\4" + bytes(30), "application/zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "application/msword"),
    ],
)
def test_signatures_and_brands(tmp_path: Path, content: bytes, mime_type: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert get_mime_type(path) == mime_type


def test_every_type_that_a_family_reads_is_decided_here() -> None:
    for family in FAMILIES:
        assert family.mime_types <= KNOWN


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (b"Dear diary,\nno picture today.\n", "text/plain"),
        ("Liebes Tagebuch, äöü\n".encode(), "text/plain"),
        ("Liebes Tagebuch".encode("utf-16"), "text/plain"),
        (b"BMW is a car, and so are many others\n" * 3, "text/plain"),
        (b"abc free range eggs", "text/plain"),
        (b"MMORPG players, FOVbidden words, IIRO", "text/plain"),
        (b"MAC address, MP+ and MPCK", "text/plain"),
        (b"P1 is a road, P6 120 metres", "text/plain"),
        (b"G" * HEAD_BYTES, "text/plain"),
        (b"DDS |", "text/plain"),
        (b"#define x_width 16\n", "text/plain"),
        (b"{", "text/plain"),
        (b'<?xml version="1.0"?><!-- x -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b'<?xml version="1.0"?><gpx/>', "application/xml"),
        (b'<x:xmpmeta xmlns:x="adobe:ns:meta/">', "application/rdf+xml"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<x:xmpmeta xmlns:x="adobe:ns:meta/">', "application/rdf+xml"),
        ("<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xapmeta>".encode("utf-16"), "application/rdf+xml"),
        (b'<?xml version="1.0"?><rdf:RDF xmlns:rdf="x">', "application/rdf+xml"),
        (b"<svg><metadata><rdf:RDF/></metadata></svg>", "image/svg+xml"),
        (b"<!DOCTYPE html><html><!-- <rdf:RDF> --></html>", "text/html"),
        (b"a" * (HEAD_BYTES - 1) + "ä".encode(), "text/plain"),
    ],
)
def test_text_named_jpg_is_text(tmp_path: Path, content: bytes, mime_type: str) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    assert get_mime_type(path) == mime_type


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (b'{"title": "x", "photoTakenTime": {}}', "application/json"),
        (b'\n [ {"SourceFile": "a.jpg" , ', "application/json"),
        (b'{"cut": "sho', "application/json"),
        (b"{}", "application/json"),
        (b"[1, 2.5, null]", "application/json"),
        (b"[" + b"12345, " * HEAD_BYTES, "application/json"),
        (b'["' + b"long " * HEAD_BYTES, "application/json"),
        ('{"ä": 1}'.encode("utf-16"), "application/json"),
        (b"[section]\nkey=value\n", "text/plain"),
        (b"[2024-01-01] dear diary", "text/plain"),
        (b"{braces} are no proof", "text/plain"),
        (b"[" * 2 * HEAD_BYTES, "text/plain"),
        (b"[" + b"9" * 2 * HEAD_BYTES, "application/json"),
        (b'{"' + b"\\" * 2 * HEAD_BYTES, "application/json"),
    ],
)
def test_json_is_known_by_how_it_begins(tmp_path: Path, content: bytes, mime_type: str) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    assert get_mime_type(path) == mime_type


@pytest.mark.parametrize(
    "content", [b"", b"\x01\x02\x03", bytes(5000), b"caf\xe9 \x00", b"\0\0\0\x10mdat" + bytes(8) + b"\0\0\0\x10what"]
)
def test_nobody_knows_what_these_are(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.jpg"
    path.write_bytes(content)
    assert get_mime_type(path) is None
    assert get_file_type(path) == "unknown"


def test_the_guides_word_is_the_first_part(tmp_path: Path) -> None:
    assert get_file_type(make_picture(tmp_path / "a.jpg")) == "image"
    (tmp_path / "b.jpg").write_bytes(b"RIFF\0\0\0\0AVI LIST")
    assert get_file_type(tmp_path / "b.jpg") == "video"
    (tmp_path / "c.jpg").write_text("words")
    assert get_file_type(tmp_path / "c.jpg") == "text"


def test_a_fifo_cannot_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert get_mime_type(tmp_path / "pipe") is None


@pytest.mark.parametrize(
    ("names", "mime_type"),
    [
        (("[Content_Types].xml", "_rels/.rels", "word/document.xml"), "wordprocessingml.document"),
        (("[Content_Types].xml", "docProps/app.xml", "xl/workbook.xml"), "spreadsheetml.sheet"),
        (("[Content_Types].xml", "ppt/presentation.xml"), "presentationml.presentation"),
        (("word/document.xml", "docProps/app.xml", "[Content_Types].xml"), "wordprocessingml.document"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_office_documents_are_known_by_their_folders(
    tmp_path: Path, names: tuple[str, ...], mime_type: str, *, streamed: bool
) -> None:
    path, content = tmp_path / "file", io.BytesIO()
    if streamed:  # then an entry's size stands behind it
        content.seekable = lambda: False  # type: ignore[method-assign]  # what a pipe says
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, "<x/>" * 50)
    path.write_bytes(content.getvalue())
    assert get_mime_type(path) == f"application/vnd.openxmlformats-officedocument.{mime_type}"


@pytest.mark.parametrize(
    ("stated", "mime_type"),
    [
        ("application/epub+zip", "application/epub+zip"),
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
        ("image/jpeg", "application/zip"),
    ],
)
def test_books_and_open_documents_state_their_type(tmp_path: Path, stated: str, mime_type: str) -> None:
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("mimetype", stated)
        archive.writestr("content.xml", "<x/>")
    assert get_mime_type(tmp_path / "file") == mime_type
    with zipfile.ZipFile(tmp_path / "file", "w") as archive:
        archive.writestr("word/a.txt", "a folder of that name is no document")
    assert get_mime_type(tmp_path / "file") == "application/zip"


def test_a_peek_is_bounded_and_ends_where_the_file_does(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"head")
    os.truncate(path, 1 << 32)
    with path.open("rb") as file:
        peek = Peek(file.fileno())
        assert peek.read(-1, 10) == peek.read(1 << 32, 10) == peek.read(1 << 70, 10) == b""
        assert len(peek.read((1 << 32) - 5, 10)) == 5
        assert len(peek.read(HEAD_BYTES, 1 << 32)) < 64 * 1024
        assert peek.read(1 << 30, 10) == b""
        assert peek.read(0, 4) == b"head"


def test_what_cannot_be_read_is_an_oserror(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(OSError, match=str(path.name) if path != tmp_path else "directory"):
            get_mime_type(path)


def test_no_text_makes_the_look_for_svg_slow(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for unit in (b"<!--a-->", b"<!--", b"<?xml ?>", b" ", b"<!DOCTYPE"):
        path.write_bytes(unit * HEAD_BYTES)
        assert get_mime_type(path) is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    start=st.sampled_from(
        [
            b"",
            b"\xff\xd8\xff",
            b"RIFF",
            b"\0\0\0\x18ftyp",
            b"\0\0\0\xffftypmif1",
            b"<?xml",
            b"\x1aE\xdf\xa3",
            b"\xff\xfe",
        ]
    ),
    rest=st.binary(max_size=600),
)
def test_arbitrary_bytes_never_raise(tmp_path: Path, start: bytes, rest: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(start + rest)
    mime_type = get_mime_type(path)
    assert mime_type is None or mime_type.count("/") == 1
    assert get_file_type(path) in {
        "image",
        "video",
        "audio",
        "text",
        "application",
        "unknown",
        "model",
        "font",
        "chemical",
        "multipart",
        "message",
    }
