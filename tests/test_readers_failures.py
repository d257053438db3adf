"""An exception's way from a worker to the daemon, without the worker."""

import json
from typing import Any

import pytest

from damd.errors import (
    BrokenFileError,
    DamdError,
    FileChangedError,
    FileError,
    LimitExceededError,
    NotAFileError,
    PermanentFileError,
    ReaderUnavailableError,
    TransientFileError,
    UnreadableFileError,
    UnsupportedTypeError,
)
from damd.readers.failures import describe, describe_import, revive


class OddlyBrokenError(BrokenFileError):
    """A plugin's own."""


def send(error: Exception) -> FileError:
    return revive(json.loads(json.dumps(describe(error))), "/file")


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        (BrokenFileError("no header"), BrokenFileError, "no header"),
        (OddlyBrokenError("odd"), BrokenFileError, "odd"),
        (PermanentFileError("never"), PermanentFileError, "never"),
        (TransientFileError("later"), TransientFileError, "later"),
        (FileChangedError(), FileChangedError, str(FileChangedError())),
        (LimitExceededError("too many pixels"), LimitExceededError, "too many pixels"),
        (NotAFileError("a socket"), NotAFileError, "Not a regular file: a socket"),
        (UnsupportedTypeError("odd"), UnsupportedTypeError, "Unsupported file type: odd"),
        (UnreadableFileError(OSError(5, "x")), UnreadableFileError, "Cannot be read: Input/output error"),
        (DamdError("not about a file"), BrokenFileError, "DamdError: not about a file"),
        (ValueError("of 3"), BrokenFileError, "ValueError: of 3"),
        (OSError("image file is truncated"), BrokenFileError, "OSError: image file is truncated"),
        (OSError(22, "Invalid argument"), BrokenFileError, "OSError: [Errno 22] Invalid argument"),
        (OSError(1094995529, "Invalid data"), BrokenFileError, "OSError: [Errno 1094995529] Invalid data"),
        (OSError(5, "Input/output error"), UnreadableFileError, "Cannot be read: Input/output error"),
        (PermissionError(13, "no", "/file"), UnreadableFileError, "Cannot be read: Permission denied"),
        (PermissionError(13, "no", b"/previews/1"), TransientFileError, "Permission denied: /previews/1"),
        (OSError(28, "full"), TransientFileError, "What it yields cannot be written: No space left on device"),
        (
            ModuleNotFoundError("no", name="pillow_heif"),
            ReaderUnavailableError,
            "Its reader cannot be used: the Python module pillow_heif is missing",
        ),
        (
            ImportError("libheif.so.1: cannot open"),
            ReaderUnavailableError,
            "Its reader cannot be used: ImportError: libheif.so.1: cannot open",
        ),
    ],
)
def test_an_error_arrives_as_what_it_was(raised: Exception, kind: type[FileError], message: str) -> None:
    arrived = send(raised)
    assert type(arrived) is kind
    assert str(arrived) == message


@pytest.mark.parametrize("error", [MemoryError(), OSError(12, "Cannot allocate memory")])
def test_every_shortage_of_memory_is_called_the_same(error: Exception) -> None:
    assert describe(error)["kind"] == "MemoryError"


def test_any_failure_of_an_import_is_the_readers() -> None:
    arrived = revive(describe_import(SyntaxError("in a plugin")), "/file")
    assert type(arrived) is ReaderUnavailableError
    assert "SyntaxError: in a plugin" in str(arrived)


def test_values_arrive_with_their_error() -> None:
    unsupported, unreadable = (
        send(UnsupportedTypeError(mime_type="image/x-odd")),
        send(UnreadableFileError(OSError(5, "x"))),
    )
    assert isinstance(unsupported, UnsupportedTypeError)
    assert isinstance(unreadable, UnreadableFileError)
    assert unsupported.mime_type == "image/x-odd"
    assert unreadable.errno == 5


def test_a_message_becomes_one_short_line_that_any_log_can_print() -> None:
    assert str(send(BrokenFileError("a\n\tb\x1b[31m\udcff\u202ec\0"))) == "a b [31m c"
    assert len(str(send(BrokenFileError("x" * 5000)))) == 500


@pytest.mark.parametrize(
    "forged",
    [
        {},
        {"kind": "SystemExit", "message": "0"},
        {"kind": ["OSError"], "message": {"a": 1}},
        {"kind": "OSError", "errno": "5"},
        {"kind": "UnsupportedTypeError", "mime_type": 7},
        {"kind": "UnreadableFileError", "errno": [1]},
        {"kind": "OSError", "errno": 10**30},
        {"kind": "OSError", "errno": 5, "filename": 3},
    ],
)
def test_a_forged_report_is_still_some_files_error(forged: dict[str, Any]) -> None:
    assert isinstance(revive(forged, "/file"), FileError)
