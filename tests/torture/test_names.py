"""Names that no person would choose."""

# ruff: noqa: PTH103, PTH104, PTH108 - pathlib has no paths of bytes

import errno
import os
import unicodedata
from pathlib import Path

import pytest
from torture.harness import Ordeal
from torture.writers import write_file

_LONGEST = 255
_NFC = ("é.bin", "Ångström", "한글.jpg", "ﬁ ½ ﬃ", "naïve café")


def _names() -> list[bytes]:
    bytes_of_all_kinds = [bytes([each]) for each in range(1, 256) if each != ord("/")]
    twins = [unicodedata.normalize(form, name).encode() for name in _NFC for form in ("NFC", "NFD", "NFKC", "NFKD")]
    names = [
        *(b"a" + each + b"z" for each in bytes_of_all_kinds),
        *(each for each in bytes_of_all_kinds if each not in b".~"),  # one is no name, the other a draft's
        b"x" * _LONGEST,
        b"\xff" * _LONGEST,
        b"\n" * _LONGEST,
        "é".encode() * 127 + b"!",
        "\U0001d4b3".encode() * 63 + b"abc",
        *twins,
        *(b"\n", b"\nleading", b"trailing\n", b"two\n\nlines", b"\r\n", b"a\n.tmp\nb", b"\x1b[2J\x07"),
        *(b" ", b"  leading", b"trailing  ", b"...", b".. ", b"trailing.", b"-rf", b"--", b"-", b"*", b"?", b"[a-z]"),
        *(b"\xed\xa0\x80", b"\xed\xb3\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xfe\xff"),
        *("\u202etxt.exe".encode(), "\ufeffbom".encode(), "\u2028".encode(), "\u200b".encode(), b"\xc3"),
        *(b"%s%n%d", b"{0}", b"${HOME}", b"`id`", b"'; DROP TABLE location; --", b'"', b"\\", b"\\n", b"\\x00"),
        *(b"CON", b"nul.txt", b"a:b", b"CASE", b"case", b"Case", b".hidden", b"#", b"!important", b"C:\\a\\b"),
    ]
    return list(dict.fromkeys(names))


def test_hostile_names_of_files_and_folders(ordeal: Ordeal) -> None:
    ordeal.configure(max_missing="100%")
    names = _names()
    before, live = ordeal.root / "before", ordeal.root / "live"
    _make(before, names[::2])
    ordeal.start()
    ordeal.begin()
    _make(before, names[1::2])
    _make(live, names)
    assert len(ordeal.await_equality(180)) == 2 * 3 * len(names)
    # Every third is renamed to what no other is called, every third is deleted; then all of it moves on.
    top = os.fsencode(live)
    for number, name in enumerate(names):
        path = top + b"/files/" + name
        if number % 3 == 0:
            os.rename(path, top + b"/folders/" + name + b"/" + names[number - 1])
        elif number % 3 == 1:
            os.unlink(path)
    os.rename(before, os.fsdecode(os.fsencode(ordeal.root) + b"/\xff\n\xc3"))
    assert len(ordeal.await_equality(180)) == 2 * 3 * len(names) - len(names[1::3])
    ordeal.finish()


def _make(folder: Path, names: list[bytes]) -> None:
    """Files of these names, and folders of these names, each with a file in it and one below."""
    top = os.fsencode(folder)
    for kind in (b"/files/", b"/folders/"):
        os.makedirs(top + kind, exist_ok=True)
    try:
        for name in names:
            write_file(top + b"/files/" + name, top + b": " + name)
            os.makedirs(top + b"/folders/" + name + b"/below")
            write_file(top + b"/folders/" + name + b"/file.bin", top + b": in " + name)
            write_file(top + b"/folders/" + name + b"/below/file.bin", top + b": below " + name)
    except OSError as error:
        if error.errno not in (errno.EILSEQ, errno.EINVAL):
            raise
        pytest.skip(f"this file system takes no such names: {error}")
