import errno
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from papers import (
    CATALOGUE,
    CONTENT,
    FURTHER,
    PAGE,
    QUARTERS,
    assemble,
    deflate_bomb,
    locked_paper,
    paper,
    picture_paper,
    stream,
)
from pictures import CORNERS, corners, near
from PIL import Image

from damd.errors import BrokenFileError, LimitExceededError, UnreadableFileError

pytest.importorskip("pypdfium2", reason="needs damd[documents]")

from damd.readers import document
from damd.readers.structure import deflated


def read(path: Path, *sizes: int, max_pixels: int = 10**8) -> dict[str, Any]:
    previews = [{"size": size, "path": str(path.parent / f"{size}.tmp")} for size in sizes or (512,)]
    return document.read(str(path), previews=previews, format="png", quality=80, max_pixels=max_pixels)


def read_bytes(folder: Path, data: bytes, **options: Any) -> dict[str, Any]:
    path = folder / "a.pdf"
    path.write_bytes(data)
    return read(path, **options)


def preview(folder: Path, size: int = 512) -> Image.Image:
    with Image.open(folder / f"{size}.tmp") as image:
        return image.copy()


def test_a_document_says_what_it_is_and_its_first_page_is_drawn_on_white(tmp_path: Path) -> None:
    info: dict[str, str | bytes] = {
        "Title": "Über Fjorde",
        "Author": b"A. Writer",
        "CreationDate": b"D:20120504101112+02'00'",
    }
    facts = read_bytes(tmp_path, paper(info=info, count=3))
    assert facts["properties"] == {
        "encrypted": False,
        "pages": 3,
        "title": "Über Fjorde",
        "author": "A. Writer",
        "created_at": "2012-05-04T10:11:12+02:00",
    }
    assert facts["previews"] == [{"size": 512, "width": 512, "height": 256}]
    drawn = preview(tmp_path)
    assert (drawn.mode, drawn.size) == ("RGB", (512, 256))
    assert all(near(colour, CORNERS[name]) for name, colour in corners(drawn).items())
    read_bytes(tmp_path, paper(content=stream(b"")))
    assert preview(tmp_path).getcolors() == [(512 * 256, (255, 255, 255))]


def test_the_longest_edge_is_exactly_the_largest_size_whatever_the_page(tmp_path: Path) -> None:
    for width, height in ((200, 100), (612, 792), (595.276, 841.89), (14400, 14400), (3, 7), (100_000, 1)):
        (tmp_path / "a.pdf").write_bytes(paper(page=b"/MediaBox [0 0 %f %f]" % (width, height)))
        facts = read(tmp_path / "a.pdf", 64, 333)
        assert [max(one["width"], one["height"]) for one in facts["previews"]] == [64, 333]
        assert preview(tmp_path, 333).size == (facts["previews"][1]["width"], facts["previews"][1]["height"])
    assert read_bytes(tmp_path, paper(), max_pixels=100)["previews"] == [{"size": 512, "width": 10, "height": 5}]


def test_crop_box_and_rotation_are_heeded(tmp_path: Path) -> None:
    facts = read_bytes(tmp_path, paper(page=PAGE + b"/CropBox [0 50 200 100] /Rotate 90"))
    assert facts["previews"] == [{"size": 512, "width": 128, "height": 512}]
    found = corners(preview(tmp_path))
    assert near(found["top left"], CORNERS["top left"])
    assert near(found["bottom left"], CORNERS["top right"])


def test_without_previews_nothing_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(paper())
    facts = document.read(str(tmp_path / "a.pdf"), previews=[], format="png", quality=80, max_pixels=10**8)
    assert (facts["properties"]["pages"], facts["previews"]) == (1, [])


@pytest.mark.parametrize("handler", [b"Standard", b"Unheard-Of"])
def test_a_document_that_needs_a_password_says_so_and_nothing_else(tmp_path: Path, handler: bytes) -> None:
    facts = read_bytes(tmp_path, locked_paper(b"secret", info={"Title": "hidden"}, handler=handler))
    nothing = dict.fromkeys(("pages", "title", "author", "created_at"))
    assert facts == {"properties": {"encrypted": True, **nothing}, "previews": []}


def test_a_document_that_is_encrypted_with_no_password_is_read(tmp_path: Path) -> None:
    facts = read_bytes(tmp_path, locked_paper(b"", info={"Title": "plain to see"}))
    properties = facts["properties"]
    assert (properties["encrypted"], properties["pages"], properties["title"]) == (True, 1, "plain to see")
    assert near(corners(preview(tmp_path))["top left"], CORNERS["top left"])


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("D:20120504101112+02'00'", "2012-05-04T10:11:12+02:00"),
        ("D:20120504101112-09'30", "2012-05-04T10:11:12-09:30"),
        ("D:20120504101112+05", "2012-05-04T10:11:12+05:00"),
        ("D:20120504101112Z00'00'", "2012-05-04T10:11:12+00:00"),
        ("D:20120504101112Z", "2012-05-04T10:11:12+00:00"),
        ("  20120504101112 ", "2012-05-04T10:11:12"),
        ("D:2012", "2012-01-01T00:00:00"),
        ("D:20120230", None),
        ("D:20120504101112+99'00'", None),
        ("D:00000504", None),
        ("D:19100504", "1910-05-04T00:00:00"),
        ("D:191000504101112", None),
        ("Friday", None),
        ("2012-05-04", None),
        ("D:٢٠١٢", None),
        ("", None),
    ],
)
def test_dates_are_read_as_far_as_they_can_be(said: str, meant: str | None) -> None:
    assert document.read_date(said) == meant


def test_what_it_says_is_bounded_and_clean(tmp_path: Path) -> None:
    info = {"Title": "a\0b", "Author": "two\r\nlines\x07 " + "x" * 10**6, "CreationDate": "D:" + "2" * 10**5}
    properties = read_bytes(tmp_path, paper(info=info))["properties"]
    assert (properties["title"], properties["created_at"]) == ("a", None)
    assert properties["author"].startswith("two lines xxx")
    assert len(properties["author"]) == 500
    assert read_bytes(tmp_path, paper(info={"Title": b"\xfe\xff\xd8\0\0A"}))["properties"]["title"] == "\ufffdA"


def test_a_locked_document_does_not_make_the_next_one_locked(tmp_path: Path) -> None:
    read_bytes(tmp_path, locked_paper(b"secret"))
    with pytest.raises(BrokenFileError, match="no page"):
        read_bytes(tmp_path, paper(count=0))


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7\n", b"no document at all", paper(count=0)])
def test_what_is_no_document_is_broken(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BrokenFileError):
        read_bytes(tmp_path, data)


def test_a_document_that_was_cut_off_or_lost_its_first_page_is_broken(tmp_path: Path) -> None:
    whole = paper(content=stream(os.urandom(10_000)))
    for part in (0.2, 0.5, 0.9):
        with pytest.raises(BrokenFileError, match="cut off"):
            read_bytes(tmp_path, whole[: int(len(whole) * part)])
    with pytest.raises(BrokenFileError):
        read_bytes(tmp_path, assemble([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Count 1 /Kids [9 0 R] >>"]))


def test_a_table_of_contents_that_is_wrong_is_made_anew(tmp_path: Path) -> None:
    data = paper(info={"Title": "T"})
    start = data.rindex(b"startxref")
    assert read_bytes(tmp_path, data[:start] + b"startxref\n7\n%%EOF\n")["properties"]["title"] == "T"


def test_a_picture_with_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    with pytest.raises(LimitExceededError, match="3600000000 pixels, and max_pixels allows 100000000"):
        read_bytes(tmp_path, picture_paper(60_000, 60_000))
    assert read_bytes(tmp_path, picture_paper(100, 100))["properties"]["pages"] == 1


def test_a_picture_within_a_form_is_looked_at_too(tmp_path: Path) -> None:
    image = stream(b"", b"/Type /XObject /Subtype /Image /Width 50000 /Height 9000 /ColorSpace /DeviceGray")
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /Im %d 0 R >> >>" % FURTHER
    resources = b"/Resources << /XObject << /Fm %d 0 R >> >>" % (FURTHER + 1)
    with pytest.raises(LimitExceededError, match="450000000 pixels"):
        read_bytes(tmp_path, paper(image, stream(b"/Im Do", form), page=PAGE + resources, content=stream(b"/Fm Do")))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_stream_that_unpacks_to_too_much_is_a_bomb(
    tmp_path: Path, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deflated, "MAX_STREAM_BYTES", 2**22)
    for data in (paper(content=deflate_bomb(2**23, layers=layers)), paper(deflate_bomb(2**23, layers=layers))):
        with pytest.raises(LimitExceededError, match="unpacks to more than 4 MiB: a decompression bomb"):
            read_bytes(tmp_path, data)
    assert read_bytes(tmp_path, paper(content=deflate_bomb(2**21, layers=layers)))["properties"]["pages"] == 1


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_that_is_damaged_at_its_end_is_one_all_the_same(
    tmp_path: Path, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deflated, "MAX_STREAM_BYTES", 2**22)
    bomb = deflate_bomb(2**24, layers=layers)
    end = bomb.index(b"\nendstream")
    damaged = bomb[: end - 12] + b"\xff" * 12 + bomb[end:]
    with pytest.raises(LimitExceededError):
        read_bytes(tmp_path, paper(content=damaged))


def test_every_stream_is_found_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflated, "MAX_STREAM_BYTES", 2**20)
    monkeypatch.setattr(deflated, "_BLOCK", 2**13)
    bomb = deflate_bomb(2**21)
    for gap in (0, 2**13 - 60, 2**13 - 20, 2**13, 3 * 2**13, 10**5):
        file = io.BytesIO(
            paper(stream(zlib.compress(os.urandom(gap)), b"/Filter /FlateDecode"), b"(%s)" % bytes(gap), bomb)
        )
        with pytest.raises(LimitExceededError):
            deflated.check_streams(file)


def test_pixels_and_attached_files_may_unpack_to_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflated, "MAX_STREAM_BYTES", 2**16)
    pixels = zlib.compress(bytes(1000 * 1000))
    assert read_bytes(tmp_path, picture_paper(1000, 1000, pixels))["properties"]["pages"] == 1
    attached = stream(zlib.compress(bytes(2**20)), b"/Type /EmbeddedFile /Filter /FlateDecode")
    assert read_bytes(tmp_path, paper(attached))["properties"]["pages"] == 1


def test_scripts_and_forms_change_nothing(tmp_path: Path) -> None:
    script = b"<< /S /JavaScript /JS (while \\(true\\) {}) >>"
    quiet = read_bytes(tmp_path, paper())
    loud = paper(script, page=PAGE + b"/AA << /O %d 0 R >>" % FURTHER)
    loud = loud.replace(b"<< /Type /Catalog", b"<< /OpenAction %d 0 R /Type /Catalog" % FURTHER)
    assert read_bytes(tmp_path, loud) == quiet


def test_a_file_that_cannot_be_read_is_not_called_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path / "missing.pdf", tmp_path):
        with pytest.raises(UnreadableFileError):
            read(path)

    class FailingFile(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if size == 4:  # no more than PDFium asks for, and only PDFium
                raise OSError(errno.EIO, "a bad sector")
            return super().read(size)

    @contextmanager
    def open_failing(path: str) -> Iterator[io.BytesIO]:
        yield FailingFile(paper())

    monkeypatch.setattr(document, "opened", open_failing)
    with pytest.raises(UnreadableFileError):
        read(tmp_path / "a.pdf")


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    data = paper(info={"Title": "T"}, content=stream(QUARTERS))
    assert read_bytes(tmp_path, data) == read_bytes(tmp_path, data)
    assert (CATALOGUE, CONTENT) == (1, 4)
