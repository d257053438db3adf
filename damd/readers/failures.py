"""How a failure crosses from a worker to the daemon: an exception to plain data, and back.

Both ends are here so that they cannot drift apart. The daemon does not trust what a worker sends: only
the names in a table become classes, and every text is cleaned and shortened.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Any

from damd import errors
from damd.errors import BrokenFileError, FileError, ReaderUnavailableError, TransientFileError, UnreadableFileError

OUT_OF_MEMORY = "MemoryError"
IMPORT_FAILED = "ImportError"
_SYSTEM = "OSError"
_MAX_CHARACTERS = 500

_CLASSES: dict[str, type[FileError]] = {
    kind.__name__: kind
    for kind in (
        errors.PermanentFileError,
        errors.UnsupportedTypeError,
        errors.NotAFileError,
        errors.BrokenFileError,
        errors.LimitExceededError,
        errors.TransientFileError,
        errors.FileChangedError,
        errors.ReaderUnavailableError,
        errors.UnreadableFileError,
    )
}

# A seek to an offset that a damaged header names fails like this: the bytes are wrong, not the disk.
_ERRNOS_OF_BROKEN_FILES = frozenset({errno.EINVAL, errno.EOVERFLOW, errno.EFBIG, errno.EDOM, errno.EILSEQ})
_ERRNOS_OF_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def describe(error: Exception) -> dict[str, Any]:
    """In the worker: a reader's exception as plain data, ``kind``, ``message`` and what belongs to its kind."""
    message = str(error)[: 2 * _MAX_CHARACTERS]
    if isinstance(error, ImportError):
        return describe_import(error)
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return {"kind": OUT_OF_MEMORY, "message": message}
    if isinstance(error, OSError) and error.errno in errno.errorcode and error.errno not in _ERRNOS_OF_BROKEN_FILES:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
        return {"kind": _SYSTEM, "message": message, "errno": error.errno, "filename": name}
    if not isinstance(error, FileError):
        return {"kind": type(error).__name__, "message": message}
    kind = next(base.__name__ for base in type(error).__mro__ if base.__module__ == errors.__name__)
    values = {name: getattr(error, name) for name in ("errno", "mime_type") if hasattr(error, name)}
    return {"kind": kind, "message": message, **values}


def describe_import(error: Exception) -> dict[str, Any]:
    """In the worker: what hindered an import, whatever its class, as plain data."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return {"kind": IMPORT_FAILED, "message": f"the Python module {error.name} is missing"}
    return {"kind": IMPORT_FAILED, "message": f"{type(error).__name__}: {error}"[: 2 * _MAX_CHARACTERS]}


def revive(report: Mapping[str, Any], path: str) -> FileError:
    """In the daemon: the error that a report is about.

    Args:
        report: What `describe` made, or anything else that a worker has sent in its place.
        path: The file that was asked for; a system error about another one says which.
    """
    kind, message, number = str(report.get("kind")), clean(report.get("message")), report.get("errno")
    number = number if isinstance(number, int) else 0
    if kind == IMPORT_FAILED:
        return ReaderUnavailableError(message)
    if kind == _SYSTEM and number in errno.errorcode:
        return _revive_system_error(number, report.get("filename"), path)
    if kind not in _CLASSES:
        return BrokenFileError(clean(f"{kind}: {message}"))
    # Its constructor would build the message again, from values that have stayed in the worker.
    error = _CLASSES[kind].__new__(_CLASSES[kind], message)
    if isinstance(error, errors.UnsupportedTypeError):
        mime_type = report.get("mime_type")
        error.mime_type = None if mime_type is None else clean(mime_type)
    if isinstance(error, UnreadableFileError):
        error.errno = number or None
    return error


def _revive_system_error(number: int, filename: object, path: str) -> TransientFileError:
    reason = os.strerror(number)
    if number in _ERRNOS_OF_WRITING:
        return TransientFileError(f"What it yields cannot be written: {reason}")
    if filename is not None and filename != path:
        return TransientFileError(f"{reason}: {clean(filename)}")
    return UnreadableFileError(OSError(number, reason))


def clean(text: object) -> str:
    """Fit for a log and a database: one line, no control characters, no lone surrogates, 500 characters."""
    line = "".join(char if char.isprintable() else " " for char in str(text)[: 2 * _MAX_CHARACTERS])
    line = " ".join(line.split())
    return line if len(line) <= _MAX_CHARACTERS else line[: _MAX_CHARACTERS - 1] + "…"
