"""A ``.damdignore``: gitignore syntax, relative to the folder that it lies in.

Whoever may write into a root may write one, so nothing in it stops anything: a line that is no pattern is
skipped and told of, and what is no regular file, or too large, or cannot be read, counts for as much of it
as can be had.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from damd.events import readable
from damd.fingerprint import Signature
from damd.watch.patterns import Layer, Pattern, as_text, parse_pattern

_log = structlog.get_logger(__name__)

NAME = b".damdignore"

MOST_BYTES = 2**20
MOST_PATTERNS = 2000
"""Each file of the folder is compared with each of them; a thousand take some 0.1 s to read."""
_REMEMBERED_FILES = 8192
_MOST_COMPLAINTS = 20  # of one file: one that is in fact binary has thousands of lines


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """What a ``.damdignore`` said when it was read.

    Attributes:
        signature: The file's, then; as far as it could be had.
        layer: Its patterns; None: it has none.
        failure: Why it could not be read, for people; it then counts as if it were not there.
    """

    signature: Signature | None
    layer: Layer | None = None
    failure: str | None = None


def read_ignore_file(folder: bytes, known: IgnoreFile | None = None) -> IgnoreFile | None:
    """Read the file in a folder, and log what is wrong with it; blocks. None: there is none.

    Args:
        folder: The absolute path.
        known: What was read before: what was told of it then is not told again.
    """
    path = os.path.join(folder, NAME)  # noqa: PTH118 - pathlib has no paths of bytes
    signature: Signature | None = None
    try:
        status = os.lstat(path)
        signature = Signature.of(status)
        _require_regular(status)
        signature, content = _content(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        failed = IgnoreFile(signature, failure=error.strerror)
        if failed != known:
            _log.warning("ignore file cannot be read", file=readable(path), error=failed.failure)
        return failed
    if known is not None and known.failure is None and known.signature == signature:
        return known
    patterns = list(_patterns(readable(path), content))
    return IgnoreFile(signature, layer=Layer(patterns) if patterns else None)


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is not a regular file, and links are not followed")


def _content(path: bytes) -> tuple[Signature, bytes]:
    # Something else may have taken its place: a FIFO would hold the thread, a link would lead anywhere.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _require_regular(status)
        return Signature.of(status), file.read(MOST_BYTES + 1)


def _patterns(path: str, content: bytes) -> Iterator[Pattern]:
    complaints = count = 0
    for number, line in _lines(path, content):
        if count == MOST_PATTERNS:
            _log.warning("ignore file has too many patterns", file=f"{path}:{number}", most=MOST_PATTERNS)
            break
        try:
            pattern = parse_pattern(line, f"{path}:{number}")
        except ValueError as error:
            complaints += 1
            if complaints <= _MOST_COMPLAINTS:
                _log.warning("line of an ignore file is skipped", file=f"{path}:{number}", error=str(error))
            continue
        count += 1
        yield pattern
    if complaints > _MOST_COMPLAINTS:
        _log.warning("more lines of an ignore file are skipped", file=path, count=complaints - _MOST_COMPLAINTS)


def _lines(path: str, content: bytes) -> Iterator[tuple[int, str]]:
    """The lines that are meant to be patterns, with their numbers."""
    if len(content) > MOST_BYTES:
        _log.warning("ignore file is too large, the rest of it is left out", file=path, most_bytes=MOST_BYTES)
        content = content[: content.rfind(b"\n", 0, MOST_BYTES) + 1]
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip() and not line.startswith(b"#"):
            yield number, as_text(line.removesuffix(b"\r"))


class IgnoreFiles:
    """What the ``.damdignore`` files of one root say, read when first asked for; safe to ask from several threads.

    Only what was read is remembered; that a folder has none, its caller remembers.

    Args:
        root: The root's absolute folder.
        changed: Called when what was said before may not hold any more; in any thread, and it must not block.
    """

    def __init__(self, root: bytes, changed: Callable[[], None]) -> None:
        self._root = root
        self._changed = changed
        # One reads at a time, so that nothing is told twice; to forget waits for no reader.
        self._reading = threading.Lock()
        self._lock = threading.Lock()
        self._files: dict[bytes, IgnoreFile] = {}
        self._forgotten = 0

    def layer(self, folder: bytes, *, look: bool = True) -> Layer | None:
        """The patterns of a folder, by its path below the root; blocks. None: there are none.

        Args:
            folder: The folder's path below the root.
            look: Whether to look for a file where none is remembered.
        """
        file = self._files.get(folder)
        if file is None and look:
            with self._reading:
                file = self._files.get(folder) or self._read(folder, None)
        return None if file is None else file.layer

    def compare(self, folder: bytes, listed: Signature | None) -> None:
        """Read again what is not as a listing showed it; blocks.

        Args:
            folder: The folder's path below the root.
            listed: The file's signature in the listing; None: it was not there.
        """
        known = self._files.get(folder)
        if listed is None if known is None else (known.failure is None and known.signature == listed):
            return
        with self._reading:
            # The listing may be older than what is known, so the file itself is looked at.
            self._read(folder, self._files.get(folder))

    def forget(self, folder: bytes) -> None:
        """Read the file of this folder again, when it is asked for again."""
        with self._lock:
            self._forgotten += 1
            self._files.pop(folder, None)
        self._changed()

    def _read(self, folder: bytes, known: IgnoreFile | None) -> IgnoreFile | None:
        forgotten = self._forgotten
        file = read_ignore_file(os.path.join(self._root, folder), known)  # noqa: PTH118 - pathlib has no paths of bytes
        with self._lock:
            self._files.pop(folder, None)
            if file is not None and forgotten == self._forgotten:
                if len(self._files) >= _REMEMBERED_FILES:
                    self._files.clear()
                    self._changed()
                self._files[folder] = file
        if file != known:
            # After it is remembered: whoever counts on what was said before, and did not see it, is told.
            self._changed()
        return file
