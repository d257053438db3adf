"""Containers of film and sound, opened with FFmpeg by way of PyAV; what films and sound have in common.

For a reader that needs a container: ``with opened(path) as container: …`` gives an `av.container.InputContainer`, and
inside of it whatever FFmpeg raises becomes an error of damd's. A reader that seeks opens a `Source` itself, then
``with source, explaining(), demuxed(source) as container: …``, and calls `Source.allow` before each seek.
`texts` gives metadata fit to be kept, `container_name`, `codec_name` and `seconds` what both families tell.

No file can make FFmpeg open another one, or the network: it is given an open file instead of a name, only demuxers
that read one file (`DEMUXERS`) may be chosen, none of its protocols is allowed, and what a demuxer asks to have opened
is empty.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Self

import av
import av.error
import av.logging
from av.codec.context import CodecContext
from av.container import InputContainer
from av.stream import Stream

from damd.errors import BrokenFileError, FileError, UnreadableFileError
from damd.readers.opening import open_raw
from damd.readers.plain import clean_text

av.logging.set_level(None)

DEMUXERS = (
    *("mov", "matroska", "webm", "avi", "asf", "flv", "ogg", "mpeg", "mpegts", "mpegvideo", "mxf", "dv"),
    *("m4v", "h263", "h264", "hevc"),
    *("mp3", "aac", "flac", "wav", "w64", "aiff", "caf", "ape", "wv", "mpc", "mpc8", "amr", "amrnb", "amrwb", "au"),
    *("dsf", "ac3", "eac3", "tta"),
)
"""FFmpeg's demuxers of the types that damd knows; none of them is a playlist."""

OPENING_BYTES = 2**29
"""Read at most to open a file. The index of a film of many hours has some 10 MB; one in fragments is hopped through."""
SEEKING_BYTES = 2**27
"""Read at most between two calls of `Source.allow`: some frames of uncompressed 4K, or a long while of anything else.
A container without an index may be read from its beginning to wherever a seek leads; here that ends."""
_LONGEST_S = 366 * 86_400.0
_MAX_BOXES = 1_000


class Source:
    """A file as FFmpeg reads it: never more than is allowed, and without an error that would cross C.

    After its allowance, or an error of the system, it seems to end; `failure` keeps the error.

    Raises:
        UnreadableFileError: The system does not let it be opened.
        BrokenFileError: It is empty.
    """

    def __init__(self, path: str) -> None:
        self.failure: OSError | None = None
        self._left = OPENING_BYTES
        self._file = open_raw(path)
        self.size_bytes = os.fstat(self._file.fileno()).st_size
        if not self.size_bytes:
            self.close()
            raise BrokenFileError("The file is empty")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def allow(self, count: int = SEEKING_BYTES) -> None:
        """Let this many bytes be read from now on, whatever was left."""
        self._left = count

    @property
    def exhausted(self) -> bool:
        """Whether all that was allowed has been read."""
        return self._left <= 0

    def read(self, count: int = -1) -> bytes:
        """Some bytes, none at the end."""
        wanted = min(count, self._left) if count >= 0 else self._left
        try:
            # Memory is laid out for all that is asked for, and mutagen asks for the rest, whatever that is.
            wanted = min(wanted, self.size_bytes - self._file.tell())
            found = self._file.read(wanted) if wanted > 0 else b""
        except OSError as error:
            self.failure = self.failure or error
            return b""
        self._left -= len(found or b"")
        return found or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new position; -1 where a broken header points to nowhere."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file; what was read stays read."""
        self._file.close()


@contextmanager
def opened(path: str) -> Iterator[InputContainer]:
    """The container of a film or of sound, with its streams already looked at.

    Raises:
        UnreadableFileError: The system does not let it be read.
        BrokenFileError: It is empty, truncated or damaged, or of a kind that is not among `DEMUXERS`.
        MemoryError: Opening it, or what is done inside, takes more than the process may use.
    """
    with Source(path) as source, explaining(source), demuxed(source) as container:
        yield container


@contextmanager
def demuxed(source: Source, **options: str) -> Iterator[InputContainer]:
    """The source as a container; `options` are FFmpeg's, for its demuxers and decoders. Use it inside `explaining`."""
    container = av.open(
        source,
        "r",
        options=options,
        container_options={"format_whitelist": ",".join(DEMUXERS), "protocol_whitelist": "none"},
        # Bytes that are no UTF-8 survive; `texts` decodes them.
        metadata_errors="surrogateescape",
        io_open=_open_nothing,
    )
    with container:
        source.allow()
        yield container


@contextmanager
def explaining(source: Source) -> Iterator[None]:
    """Whatever FFmpeg raises, as an error of damd's that says what is wrong with the file."""
    try:
        yield
    except (FileError, MemoryError):
        raise
    except Exception as error:
        if source.failure is not None:
            raise UnreadableFileError(source.failure) from error
        if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
            raise  # about another file, such as a preview
        raise explain(source) from error
    if source.failure is not None:
        raise UnreadableFileError(source.failure)


def explain(
    source: Source, otherwise: str = "Not a readable film or recording: it is damaged, or of a rare kind"
) -> FileError:
    """What is wrong with a file that cannot be used: that it is truncated, where that shows."""
    if is_cut(source):
        return BrokenFileError("The recording is truncated: it ends before its index or its data are complete")
    return BrokenFileError(otherwise)


_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})


def boxes(source: Source) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes of the ISO base media format (ISO/IEC 14496-12, 4.2), none where it is another one.

    Each with its name, where it begins, and where it says that it ends, which may be beyond the end of the file.
    Leaves the source somewhere else: seek before it is used on.
    """
    at = 0
    for _ in range(_MAX_BOXES):
        source.seek(at)
        head = source.read(16)
        name, length = head[4:8], int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:
            length = source.size_bytes - at
        if (at == 0 and name not in _BOXES) or length < 8:
            return
        yield name, at, at + length
        at += length
        if at >= source.size_bytes:
            return


def is_cut(source: Source) -> bool:
    """Whether a file of boxes ends within one of them, or has no index."""
    source.allow()
    found = [(name, end) for name, _, end in boxes(source)]
    return bool(found) and (found[-1][1] > source.size_bytes or b"moov" not in dict(found))


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> io.BytesIO:  # noqa: ARG001 - PyAV's interface
    return io.BytesIO()


def texts(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata by its names in lower case, without what is no text; UTF-8, or else Latin-1."""
    found: dict[str, str] = {}
    for name, value in metadata.items():
        text = clean_text(_decoded(value))
        if text is not None:
            found.setdefault(name.lower(), text)
    return found


def _decoded(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates stand for bytes that are no UTF-8
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def seconds(container: InputContainer, stream: Stream | None = None) -> float | None:
    """The duration as the container says it, else the stream; None where neither does, or it cannot be."""
    if container.duration is not None:
        duration = container.duration / av.time_base
    elif stream is not None and stream.duration is not None and stream.time_base:
        duration = float(stream.duration * stream.time_base)
    else:
        return None
    return round(duration, 3) if math.isfinite(duration) and 0 <= duration <= _LONGEST_S else None


def decoder_of(stream: Stream) -> CodecContext | None:
    """The stream's decoder; None where FFmpeg has none, which PyAV's types do not say."""
    decoder: CodecContext | None = getattr(stream, "codec_context", None)
    return decoder


def codec_name(stream: Stream) -> str | None:
    """The codec as FFmpeg calls it, whichever of its decoders reads it; None where none does."""
    decoder = decoder_of(stream)
    return decoder.codec.canonical_name if decoder is not None else None


def container_name(container: InputContainer) -> str:
    """The container as FFmpeg calls it; one name where its demuxer has several.

    The family of MP4 is told apart by the brand that the file begins with (registered at mp4ra.org).
    """
    name = container.format.name
    if name.startswith("mov,"):
        brand = container.metadata.get("major_brand", "qt  ")
        known = {"qt": "mov", "3gp": "3gp", "3g2": "3g2", "M4A": "m4a", "M4B": "m4a", "M4V": "m4v"}
        return next((short for start, short in known.items() if brand.startswith(start)), "mp4")
    return name.partition(",")[0]


def rate(value: Fraction | None, most: float) -> float | None:
    """A rate that can be: more than nothing, and no more than ``most``; to three digits."""
    return round(float(value), 3) if value and 0 < value <= most else None
