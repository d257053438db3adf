"""Documents: the pages of a PDF, what it says of itself, and how its first page looks.

PDFium runs without its forms, so that no script of a document's is ever looked at.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import IO, Any

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
from PIL import Image

from damd.errors import BrokenFileError, FileError, LimitExceededError, UnreadableFileError
from damd.readers.opening import opened
from damd.readers.plain import clean_line
from damd.readers.previews import write_previews
from damd.readers.structure.deflated import check_streams

_MAX_WORDS = 500
"""Of a title, in characters."""
_MAX_OBJECTS = 100_000
"""That are looked at on a page for the size of its pictures: half a second."""
_TAIL = 2**16
_LOCKED = (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY)
_DATE = re.compile(
    r"(?:D:)?([0-9]{4})([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?"
    r"(?:(Z)(?:00'?(?:00'?)?)?|([+-])([0-9]{2})'?(?:([0-9]{2})'?)?)?"
)


def read(path: str, *, previews: list[dict[str, Any]], format: str, quality: int, max_pixels: int) -> dict[str, Any]:  # noqa: A002 - named as the configuration names it
    """Read one PDF and write the previews of its first page.

    Its arguments are those of every reader, see `damd.readers.previews`. A page has no pixels of its own, so the
    largest preview has exactly the size that was asked for.

    Returns:
        ``properties``: ``encrypted``; ``pages``, their number; ``title`` and ``author``; ``created_at``, ISO 8601 in
        whole seconds, with its offset where the document says it. And ``previews``, each with its ``width`` and
        ``height``. Of a document that opens only with a password, or to a program that knows its kind of
        encryption, nothing but ``encrypted`` is known, and it has no preview.

    Raises:
        BrokenFileError: It is empty, cut off, damaged or without a page.
        LimitExceededError: A picture on the first page has too many pixels, or a stream unpacks to too much.
        UnreadableFileError: The system does not let it be read.
        OSError: A preview cannot be written.
        MemoryError: It takes more than the process may use.
    """
    with opened(path) as file:
        source = _Source(file)
        with _explaining(source):
            properties, page = _read_document(source, [int(preview["size"]) for preview in previews], max_pixels)
    written = write_previews(page, previews, format, quality) if page is not None else []
    return {"properties": properties, "previews": written}


def _read_document(source: _Source, sizes: Sequence[int], max_pixels: int) -> tuple[dict[str, Any], Image.Image | None]:
    _check_ends(source.file)
    check_streams(source.file)
    document = _open_document(source)
    if document is None:
        return {"encrypted": True, "pages": None, "title": None, "author": None, "created_at": None}, None
    with document:
        properties = {
            "encrypted": pdfium_c.FPDF_GetSecurityHandlerRevision(document) != -1,
            "pages": len(document),
            "title": clean_line(_look_up(document, b"Title"), _MAX_WORDS),
            "author": clean_line(_look_up(document, b"Author"), _MAX_WORDS),
            "created_at": read_date(_look_up(document, b"CreationDate")),
        }
        if not properties["pages"]:
            raise BrokenFileError("The document has no page that could be found")
        page = document[0]
        _check_pictures(page, max_pixels)
        return properties, _draw(page, min(max(sizes), math.isqrt(max_pixels))) if sizes else None


def _open_document(source: _Source) -> pdfium.PdfDocument | None:
    """The document, or None for one that is locked.

    Raises:
        PdfiumError: It is none.
    """
    access = pdfium_c.FPDF_FILEACCESS()
    access.m_FileLen = source.file.seek(0, os.SEEK_END)
    access.m_GetBlock = type(access.m_GetBlock)(source.fill)
    # Not through pypdfium2, which takes a document without pages for one that failed as the one before it.
    handle = pdfium_c.FPDF_LoadCustomDocument(access, None)
    if handle:
        document = pdfium.PdfDocument(handle)
        document.access = access  # lives as long as PDFium may read
        return document
    if (code := pdfium_c.FPDF_GetLastError()) in _LOCKED:
        return None
    raise pdfium.PdfiumError("not opened", err_code=code)


def _check_ends(file: IO[bytes]) -> None:
    """Whether it is complete: PDFium would put together something from what is left of one that was cut off.

    Raises:
        BrokenFileError: It is not.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise BrokenFileError("The file is empty")
    file.seek(max(0, size - _TAIL))
    if b"startxref" not in file.read(_TAIL):
        raise BrokenFileError("The document is cut off: its table of contents is missing at the end")


def _look_up(document: pdfium.PdfDocument, key: bytes) -> str:
    """A text of the document's; what is no character in it is replaced, unlike in pypdfium2, which would refuse it."""
    size = pdfium_c.FPDF_GetMetaText(document, key, None, 0)
    buffer = ctypes.create_string_buffer(size)
    pdfium_c.FPDF_GetMetaText(document, key, buffer, size)
    return buffer.raw[: max(0, size - 2)].decode("utf-16-le", "replace")


def read_date(text: str) -> str | None:
    """A PDF's date, ``D:20120504101112+02'00'``, in ISO 8601; None for one that cannot be.

    What is left out at its end is the first month, day or second, as ISO 32000-1, 7.9.4, has it.
    """
    match = _DATE.fullmatch(text.strip()[:40])
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) if part else None for part in match.groups()[:6])
    zulu, sign, hours, minutes = match.groups()[6:]
    try:
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
        zone = timezone(offset) if zulu or sign else None
        moment = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0, tzinfo=zone)
    except ValueError:
        return None
    return moment.isoformat()


def _check_pictures(page: pdfium.PdfPage, max_pixels: int) -> None:
    """Whether the pictures on a page may be decoded, by the sizes that they claim.

    Raises:
        LimitExceededError: One may not.
    """
    for found in islice(page.get_objects(), _MAX_OBJECTS):
        if isinstance(found, pdfium.PdfImage) and (pixels := _count_pixels(found)) > max_pixels:
            raise LimitExceededError(
                f"A picture on its first page has {pixels} pixels, and max_pixels allows {max_pixels}"
            )


def _count_pixels(picture: pdfium.PdfImage) -> int:
    try:
        width, height = picture.get_px_size()
    except pdfium.PdfiumError:
        return 0  # it says no size, and is not drawn
    return int(width) * int(height)


def _draw(page: pdfium.PdfPage, edge: int) -> Image.Image:
    """The page on white, its longest edge as long as ``edge``."""
    # PDFium counts begun pixels, and a product that is a hair too large would begin another one.
    scale = (edge - 0.01) / max(page.get_size())
    bitmap = page.render(scale=scale, prefer_bgrx=True, rev_byteorder=True, limit_image_cache=True)
    image: Image.Image = bitmap.to_pil()
    return image.convert("RGB")


class _Source:
    """A file as PDFium reads it, through C, where no exception passes: it is kept in ``error``."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def fill(self, _: object, position: int, buffer: Any, size: int) -> int:
        """Copy bytes of the file to where PDFium wants them; 1 if that could be done, else 0."""
        try:
            self.file.seek(position)
            data = self.file.read(size)
        except OSError as error:
            self.error = error
            return 0
        if len(data) < size:
            return 0
        ctypes.memmove(buffer, data, size)
        return 1


@contextmanager
def _explaining(source: _Source) -> Iterator[None]:
    """Whatever PDFium fails with, as an error of ours that says what is wrong with the document."""
    try:
        yield
    except (FileError, MemoryError):
        raise
    except Exception as error:
        if cause := source.error or (error if isinstance(error, OSError) else None):
            raise UnreadableFileError(cause) from error
        raise BrokenFileError("Not a readable PDF: it is damaged, or of a rare kind that damd cannot read") from error
    if source.error is not None:
        raise UnreadableFileError(source.error)
