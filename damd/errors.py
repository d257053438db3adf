"""The tree of errors, all of damd's own.

Constructors take values and build the message, which says what happened, to what, and what to do.

    DamdError
    ├── WorldError
    │   ├── RegistrationError        a system that cannot be registered as asked
    │   ├── NoHandlerError           a command that nobody handles
    │   ├── NotOneResultError        CommandResult.one() on none or several
    │   └── MissingResourceError     World.get_resource() of what was never added
    ├── ConfigurationError           exit code 78
    ├── CatalogueError
    │   ├── CatalogueTooNewError     written by a newer damd
    │   ├── NetworkMountError        SQLite where its locks do not work
    │   ├── CatalogueUnavailableError  the database does not take it now: disk full, locked, gone
    │   └── CatalogueInUseError      another daemon runs on it
    ├── WatchError                   a root that cannot be watched
    ├── WatchLostError               watches that no longer tell everything
    ├── UnknownNameError             exit code 2
    ├── DaemonUnreachableError       exit code 69
    ├── DeliveryError                a subscriber did not take an event; tried again
    └── FileError                    about one file; ends as one failure in the catalogue
        ├── PermanentFileError       the same bytes will fail again
        │   ├── UnsupportedTypeError
        │   │   └── ExtraMissingError    an optional package would read it
        │   ├── NotAFileError        a socket, a FIFO, a device, a broken link
        │   ├── BrokenFileError      the bytes are not what they claim to be
        │   ├── LimitExceededError   more pixels, memory or time than is allowed
        │   └── ReaderCrashedError   the decoder died of it, twice
        └── TransientFileError       worth another attempt later
            ├── FileChangedError     the file changed while it was read
            ├── ReaderUnavailableError  no package to read it with, or no process to read it in
            ├── ReaderKilledError    the worker process was killed by somebody else, twice
            └── UnreadableFileError  permission, I/O, gone: whatever the system said
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Sequence


class DamdError(Exception):
    """Everything that damd raises on purpose; ``str()`` of it is fit for a person."""


class WorldError(DamdError):
    """The World was used in a way that cannot work."""


class RegistrationError(WorldError):
    """A system cannot be registered as asked."""


class NoHandlerError(WorldError):
    """Nobody handles this type of command."""

    def __init__(self, command_type: type) -> None:
        self.command_type = command_type
        super().__init__(
            f"No system handles {command_type.__qualname__}: "
            f"register one with world.register_system(handler, command_type={command_type.__name__})"
        )


class NotOneResultError(WorldError):
    """``CommandResult.one()`` found none, or several."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(f"Expected exactly one result, but the command's systems gave {count}: use .results")


class MissingResourceError(WorldError):
    """The World has no resource of this type."""

    def __init__(self, resource_type: type) -> None:
        self.resource_type = resource_type
        super().__init__(
            f"The World has no resource of type {resource_type.__qualname__}: "
            "add one with world.add_resource(), or make the World with open_world(config)"
        )


class ConfigurationError(DamdError):
    """The configuration is wrong; ``problems`` names every fault, each as ``file:line:column: key: what``."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class CatalogueError(DamdError):
    """The catalogue cannot be used."""


class CatalogueTooNewError(CatalogueError):
    """The catalogue was written by a newer damd."""

    def __init__(self, where: str, revision: str) -> None:
        super().__init__(
            f"The catalogue {where} was written by a newer damd (schema {revision}), "
            "which this version cannot read: upgrade damd, or name another --state"
        )


class NetworkMountError(CatalogueError):
    """SQLite's locks and shared memory do not work over a network."""

    def __init__(self, where: str, filesystem: str) -> None:
        super().__init__(
            f"The catalogue {where} would lie on a network mount ({filesystem}), where SQLite loses data: "
            "put --state on a local disk, or use PostgreSQL (catalogue: {url: postgresql+psycopg://…})"
        )


class CatalogueUnavailableError(CatalogueError):
    """The database does not answer, or does not take what is written."""

    def __init__(self, cause: object) -> None:
        super().__init__(f"The catalogue cannot be used now: {cause}")


class CatalogueInUseError(CatalogueError):
    """Another daemon runs on this catalogue.

    Args:
        where: The state folder or the database, without a password.
        holder: Who runs on it.
        instead: What else may be named.
    """

    def __init__(self, where: str, holder: str, *, instead: str = "another --state") -> None:
        self.holder = holder
        super().__init__(f"Another damd ({holder}) already runs on {where}: stop it first, or name {instead}")


class WatchError(DamdError):
    """A root cannot be watched: it is not there, may not be read, or inotify's limits are reached.

    Attributes:
        errno: What the system said.
    """

    def __init__(self, root: str, error: OSError) -> None:
        self.errno = error.errno
        advice = "check that it is a folder which damd may read; it is waited for"
        if error.errno == errno.ENOENT:
            advice = "mount its disk, or correct its path; it is waited for"
        if error.errno == errno.ENOSPC:
            advice = "raise the sysctl fs.inotify.max_user_watches, or set `backend: polling` for it"
        elif error.errno == errno.EMFILE:
            advice = (
                "raise the sysctl fs.inotify.max_user_instances and the limit of open files, or use `backend: polling`"
            )
        reason = error.strerror or str(error)
        root = os.fsencode(root).decode("utf-8", "replace")  # it is kept in the catalogue, which takes text only
        super().__init__(f"The root {root} cannot be watched ({reason}): {advice}")


class WatchLostError(DamdError):
    """A watcher missed something, or may have: it is left and entered anew, and its root reconciled."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The watches are renewed: {reason}")


class UnknownNameError(DamdError):
    """What is asked for is not known by this name."""


class DaemonUnreachableError(DamdError):
    """No daemon answers on this state folder's socket.

    Attributes:
        is_silent: There is one, and it does not answer.
    """

    def __init__(self, state: str, *, is_silent: bool = False) -> None:
        self.is_silent = is_silent
        says = f"No damd runs on {state}: start one with `damd run`"
        if is_silent:
            says = f"The damd that runs on {state} does not answer: its log may say why; if it hangs, restart it"
        super().__init__(says)


class DeliveryError(DamdError):
    """A subscriber did not take an event.

    Plugins make it of whatever a receiver said: what is no such value as it should be is made one, or left out.

    Args:
        reason: In a sentence for a person, without any secret.
        status_code: The HTTP status it answered with, three digits, if it answered.
        retry_after_s: What the receiver asked for, in seconds, if it did.
        response: The beginning of what it answered, as text.
        is_down: Whether any other event would fare alike at the moment: it is left alone for a while.
        is_gone: Whether it says that it never wants another one: it is disabled.
    """

    status_code: int | None = None
    retry_after_s: float | None = None
    response: str | None = None
    is_down: bool = False
    is_gone: bool = False

    def __init__(
        self,
        reason: str,
        *,
        status_code: int | None = None,
        retry_after_s: float | None = None,
        response: str | bytes | None = None,
        is_down: bool = False,
        is_gone: bool = False,
    ) -> None:
        code = _number(status_code)
        self.status_code = int(code) if code is not None and 100 <= code <= 999 else None
        self.retry_after_s = _number(retry_after_s)
        text = response.decode("utf-8", "replace") if isinstance(response, bytes) else response
        self.response = None if text is None else str(text)
        self.is_down = bool(is_down)
        self.is_gone = bool(is_gone)
        super().__init__(str(reason))


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is none raises
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


class FileError(DamdError):
    """Something is wrong with one file; ``str()`` of it is the reason that the catalogue keeps."""

    permanent: bool = True
    reader: tuple[str, int] | None = None
    """The reader that found the fault, and its version, if one did: a newer one may be of another mind."""


class PermanentFileError(FileError):
    """The same bytes will fail again, so they are not read again."""


class UnsupportedTypeError(PermanentFileError):
    """No family reads this type; the words are the guide's, and `detail` is added where there is one."""

    def __init__(self, detail: str | None = None, *, mime_type: str | None = None) -> None:
        self.mime_type = mime_type
        super().__init__(f"Unsupported file type: {detail}" if detail else "Unsupported file type")


class ExtraMissingError(UnsupportedTypeError):
    """An optional package would read it, and is not installed."""

    def __init__(self, package: str, extra: str, *, mime_type: str | None = None) -> None:
        super().__init__(f"it needs the package {package}: install damd[{extra}]", mime_type=mime_type)


class NotAFileError(PermanentFileError):
    """Not a regular file: a socket, a FIFO, a device, a directory or a broken link."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Not a regular file: {what}")


class BrokenFileError(PermanentFileError):
    """The bytes are not what they claim to be: truncated, damaged, empty."""


class LimitExceededError(PermanentFileError):
    """Reading it would take more pixels, memory or time than the configuration allows."""


class ReaderCrashedError(PermanentFileError):
    """The worker process died while reading it, and died again when it was tried alone."""

    def __init__(self, how: str) -> None:
        super().__init__(f"The reader crashed on it ({how})")


class TransientFileError(FileError):
    """Worth another attempt later."""

    permanent = False


class FileChangedError(TransientFileError):
    """The file changed while it was read."""

    def __init__(self) -> None:
        super().__init__("The file changes while it is read: it is tried again when it has come to rest")


class ReaderUnavailableError(TransientFileError):
    """What would read it cannot be loaded or started, which says nothing about the file."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Its reader cannot be used: {why}")


class ReaderKilledError(TransientFileError):
    """The worker process was killed from outside, twice: that is what a system without memory does to anybody."""

    def __init__(self) -> None:
        super().__init__("Its reader was killed from outside, as a system does that is short of memory")


class UnreadableFileError(TransientFileError):
    """The system would not let damd read it."""

    def __init__(self, error: OSError) -> None:
        self.errno = error.errno
        super().__init__(f"Cannot be read: {os.strerror(error.errno) if error.errno else error}")
