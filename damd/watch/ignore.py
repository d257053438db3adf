"""Which paths below a root are none of damd's business.

Two layers. The defaults name what is never a file in its own right: what tools write before they rename it
into place (the rename is sighted), and what operating systems, file servers and version control keep for
themselves. They look at one name at a time and disregard case, since file servers do. On top come the
root's own patterns in gitignore syntax; the last one that matches decides, and a ``!pattern`` brings back
what the defaults, or an earlier pattern, ignore. As in git, nothing comes back from below an ignored folder.
Only ``!*/`` and its like, which name everything, leave the defaults alone: in ``*``, ``!*/``, ``!*.jpg``
("nothing but photographs") nobody means to ask for the recycle bin.
"""

from __future__ import annotations

import fnmatch
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

PARTIAL_NAMES = (
    *("*.part", "*.partial", "*.filepart", "*.crdownload", "*.download", "*.opdownload", "*.aria2"),
    *("*.!ut", "*.!qB", "*.!sync", "*.tmp", "*~", "~$*", "*.sw[opx]", ".#*", "#*#"),
    *(".~lock.*", ".*.~*", ".goutputstream-*", ".fuse_hidden*", ".nfs????????*", ".smbdelete*"),
    *(".rsync-partial/", ".~tmp~/", ".syncthing.*.tmp", "~syncthing~*", ".tmp.driveupload/", ".tmp.drivedownload/"),
)
"""What browsers, editors, synchronisers and file servers write, or leave open, on the way to a file."""

BOOKKEEPING_NAMES = (
    *(".nextcloudsync.log*", ".owncloudsync.log*", ".sync_*.db*", "._sync_*.db*", ".csync_journal.db*"),
    *(".stfolder", ".stfolder/", ".stversions/", ".stignore", ".dropbox", ".dropbox.cache/", ".sync/"),
    *(".DS_Store", "._*", ".AppleDouble/", ".Spotlight-V100/", ".fseventsd/", ".TemporaryItems/"),
    *(".DocumentRevisions-V100/", ".Trash*/", "$RECYCLE.BIN/", "System Volume Information/"),
    *("Thumbs.db", "ehthumbs.db", "desktop.ini", ".directory", "lost+found/"),
    *("@eaDir/", "#recycle/", "@Recycle/", "#snapshot/", ".@__thumb/", ".snapshot/", ".snapshots/", ".zfs/"),
    *(".git", ".git/", ".hg/", ".svn/", ".bzr/"),
)
"""What systems, file servers, synchronisers and version control keep; a trailing slash: folders only."""

_CACHED_FOLDERS = 8192

# rsync's temporary name is .NAME.XXXXXX with six of mkstemp's letters and digits. All but one in two hundred
# have a capital or a digit, and that keeps ordinary hidden files (.photos.sqlite, .config.backup).
_RSYNC = r"(?-i:\..+\.(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{6})\Z"


def _one_expression(names: Sequence[str], *extra: str) -> re.Pattern[str]:
    return re.compile("|".join([*(fnmatch.translate(name) for name in names), *extra]), re.IGNORECASE)


_DEFAULTS = [*PARTIAL_NAMES, *BOOKKEEPING_NAMES]
_ANY_NAME = _one_expression([name for name in _DEFAULTS if not name.endswith("/")], _RSYNC)
_FOLDER_NAME = _one_expression([name.removesuffix("/") for name in _DEFAULTS if name.endswith("/")])


@dataclass(frozen=True, slots=True)
class _Pattern:
    """One gitignore pattern, asked about one path without a trailing slash."""

    expression: re.Pattern[str]
    ignores: bool
    folders_only: bool
    names_everything: bool

    def matches(self, path: str, *, is_directory: bool) -> bool:
        """Whether it names this very path, rather than a folder above it."""
        if self.folders_only and not is_directory:
            return False
        match = self.expression.search(path)
        # pathspec names a group where a pattern matched by way of a folder above; that folder has been judged.
        return match is not None and match.lastgroup is None


def parse_pattern(text: str) -> _Pattern:
    """One line of gitignore syntax.

    Raises:
        ValueError: It is malformed, or it would match nothing: blank, a comment, an open bracket.
    """
    if text.startswith("#"):
        raise ValueError(f"{text!r} is a comment in gitignore syntax and ignores nothing: write '\\{text}'")
    if "\n" in text or "\0" in text:
        raise ValueError(f"{text!r} holds a line break or NUL: write one pattern for each entry")
    body = text if text.endswith("\\ ") else text.rstrip()
    try:
        with warnings.catch_warnings():
            # Python warns of brackets that a later version might read differently, [[:alpha:]] among them.
            warnings.simplefilter("error", FutureWarning)
            compiled = GitIgnoreSpecPattern(body.rstrip("/"))
    except (ValueError, re.error, FutureWarning) as error:
        raise ValueError(f"{text!r} is not a pattern in gitignore syntax: {error}") from None
    if compiled.regex is None or compiled.include is None:
        raise ValueError(f"{text!r} matches nothing in gitignore syntax: is a bracket left open?")
    everything = not body.lstrip("!").strip("*/")
    return _Pattern(compiled.regex, compiled.include, folders_only=body.endswith("/"), names_everything=everything)


class IgnoreRules:
    """The defaults and one root's own patterns; safe to ask from several threads.

    Args:
        patterns: gitignore syntax, relative to the root.

    Raises:
        ValueError: A pattern is malformed or would match nothing.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        # The last match decides, so the search starts at the end.
        self._patterns = [parse_pattern(text) for text in reversed(patterns)]
        self._folders: dict[bytes, bool] = {}

    def ignores(self, relative: bytes, *, is_directory: bool) -> bool:
        """Whether this path, or a folder above it, is ignored.

        Args:
            relative: The path below the root, as the system spells it; empty is the root itself.
            is_directory: Whether it is a folder; a symbolic link to one is not.
        """
        if is_directory:
            return self._ignores_folder(relative)
        parent, _, _ = relative.rpartition(b"/")
        return self._ignores_folder(parent) or self._judge(relative, is_directory=False)

    def _ignores_folder(self, folder: bytes) -> bool:
        if not folder:
            return False
        verdict = self._folders.get(folder)
        if verdict is None:
            verdict = self._walk_down(folder)
        return verdict

    def _walk_down(self, folder: bytes) -> bool:
        verdict = False
        end = -1
        while end != len(folder):
            end = folder.find(b"/", end + 1)
            end = len(folder) if end == -1 else end
            ancestor = folder[:end]
            known = None if verdict else self._folders.get(ancestor)
            verdict = verdict or (self._judge(ancestor, is_directory=True) if known is None else known)
            if len(self._folders) >= _CACHED_FOLDERS:
                self._folders.clear()
            self._folders[ancestor] = verdict
        return verdict

    def _judge(self, relative: bytes, *, is_directory: bool) -> bool:
        # A line break, which no pattern can name, would end pathspec's matching early.
        path = os.fsdecode(relative.replace(b"\n", b"\r"))
        for pattern in self._patterns:
            if pattern.matches(path, is_directory=is_directory):
                if pattern.names_everything and not pattern.ignores:
                    break
                return pattern.ignores
        name = path.rpartition("/")[2]
        return bool(_ANY_NAME.match(name) or (is_directory and _FOLDER_NAME.match(name)))
