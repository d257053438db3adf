"""Makers of PDFs, byte by byte, so that a test can say anything that a PDF says, and lie."""

import hashlib
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

QUARTERS = (
    b"0.86 0.12 0.12 rg 0 50 100 50 re f 0.12 0.71 0.16 rg 100 50 100 50 re f "
    b"0.16 0.24 0.86 rg 0 0 100 50 re f 0.9 0.9 0.9 rg 100 0 100 50 re f"
)
"""A page of 200 by 100 whose quarters have the colours of `pictures.CORNERS`."""
PAGE = b"/MediaBox [0 0 200 100]"
CATALOGUE, PAGES, FIRST_PAGE, CONTENT, INFO, FURTHER = range(1, 7)
"""The numbers of the objects in a `paper`; what else it is given begins at the last of them."""

_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
_PERMISSIONS = struct.pack("<i", -4)
_IDENTIFIER = b"sixteen bytes ID"


def stream(data: bytes, entries: bytes = b"") -> bytes:
    """A stream with these entries in its dictionary."""
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), entries, data)


def text(value: str | bytes) -> bytes:
    """A string, in hexadecimal; of a ``str`` the UTF-16 that PDFs have."""
    raw = value if isinstance(value, bytes) else b"\xfe\xff" + value.encode("utf-16-be")
    return b"<%s>" % raw.hex().encode()


def assemble(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of these objects, numbered from 1; the first is its catalogue."""
    body, places = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in (places))
    size = len(objects) + 1
    head = b"xref\n0 %d\n0000000000 65535 f \n" % size
    tail = b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, len(body))
    return body + head + table + tail


def paper(
    *further: bytes,
    page: bytes = PAGE,
    content: bytes = stream(QUARTERS),
    info: Mapping[str, str | bytes] | None = None,
    count: int = 1,
) -> bytes:
    """A PDF of so many equal pages, with these entries in each page's dictionary and in ``/Info``."""
    return assemble(_objects(further, page, content, info or {}, count), b"/Info %d 0 R" % INFO)


def _objects(
    further: Sequence[bytes],
    page: bytes,
    content: bytes,
    info: Mapping[str, str | bytes],
    count: int,
    encrypt: Callable[[int, bytes], bytes] = lambda number, data: data,
) -> list[bytes]:
    one = b"<< /Type /Page /Parent %d 0 R /Contents %d 0 R %s >>" % (PAGES, CONTENT, page)
    others = range(FURTHER + len(further), FURTHER + len(further) + count - 1)
    kids = b" ".join(b"%d 0 R" % number for number in (FIRST_PAGE, *others)[:count])
    words = b" ".join(b"/%s %s" % (key.encode(), text(encrypt(INFO, _raw(value)))) for key, value in info.items())
    return [
        b"<< /Type /Catalog /Pages %d 0 R >>" % PAGES,
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (count, kids),
        one,
        content,
        b"<< %s >>" % words,
        *further,
        *[one] * len(others),
    ]


def _raw(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else b"\xfe\xff" + value.encode("utf-16-be")


def locked_paper(
    password: bytes, *, info: Mapping[str, str | bytes] | None = None, handler: bytes = b"Standard"
) -> bytes:
    """A PDF encrypted with this user's password by the standard handler, revision 2 (RC4, 40 bits).

    The algorithms are 1 to 4 of ISO 32000-1, 7.6.2 and 7.6.3.
    """
    owner = _rc4(_md5(_padded(b"owner"))[:5], _padded(password))
    key = _md5(_padded(password) + owner + _PERMISSIONS + _IDENTIFIER)[:5]

    def encrypt(number: int, data: bytes) -> bytes:
        return _rc4(_md5(key + number.to_bytes(3, "little") + b"\0\0")[:10], data)

    content = stream(encrypt(CONTENT, QUARTERS))
    lock = b"<< /Filter /%s /V 1 /R 2 /O %s /U %s /P -4 >>" % (handler, text(owner), text(_rc4(key, _PADDING)))
    objects = _objects([lock], PAGE, content, info or {}, 1, encrypt)
    identifier = text(_IDENTIFIER)
    trailer = b"/Info %d 0 R /Encrypt %d 0 R /ID [%s %s]" % (INFO, FURTHER, identifier, identifier)
    return assemble(objects, trailer)


def _padded(password: bytes) -> bytes:
    return (password + _PADDING)[:32]


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def deflate_bomb(size: int, *, layers: int = 1) -> bytes:
    """A stream of zeros that unpacks to this many bytes, packed so many times over."""
    packer, data = zlib.compressobj(9), b""
    block = bytes(2**20)
    for _ in range(size // len(block)):
        data += packer.compress(block)
    data += packer.flush()
    for _ in range(layers - 1):
        data = zlib.compress(data, 9)
    return stream(data, b"/Filter [%s]" % (b"/FlateDecode " * layers))


def picture_paper(width: int, height: int, data: bytes = b"", entries: bytes = b"/Filter /FlateDecode") -> bytes:
    """A page that is filled by one grey picture, which claims this size."""
    head = b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8 %s"
    image = stream(data or zlib.compress(bytes(1000)), head % (width, height, entries))
    resources = b"/Resources << /XObject << /Im %d 0 R >> >>" % FURTHER
    return paper(image, page=PAGE + resources, content=stream(b"q 200 0 0 100 0 0 cm /Im Do Q"))
