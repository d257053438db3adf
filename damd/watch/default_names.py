"""The names that are ignored everywhere, and a judge of them that is quick.

They name what is never a file in its own right: what tools write before they rename it into place (the rename
is sighted), and what operating systems, file servers and version control keep for themselves. They look at
one name at a time and disregard case, of ASCII, since file servers do.

A walk asks about each of a million names, nearly all of which are ordinary. So a name is first looked up in
three tables, derived from the patterns: whoever matches a pattern has its first character, its last one, or
its last four. Only the few names that have are shown to the regular expression.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import re
from collections.abc import Iterator, Sequence

from damd.watch.patterns import Rule

PARTIAL_NAMES = (
    *("*.part", "*.partial", "*.filepart", "*.crdownload", "*.download", "*.opdownload", "*.aria2", "*.crswap"),
    *("*.!ut", "*.!qB", "*.!sync", "*.tmp", "*~", "~$*", "*.sw[opx]", ".#*", "#*#"),
    *(".~lock.*", ".*.~*", ".goutputstream-*", ".fuse_hidden*", ".nfs????????*", ".smbdelete*"),
    *(".rsync-partial/", ".~tmp~/", ".syncthing.*.tmp", "~syncthing~*", ".tmp.driveupload/", ".tmp.drivedownload/"),
)
"""What browsers, editors, synchronisers and file servers write, or leave open, on the way to a file."""

BOOKKEEPING_NAMES = (
    *(".damdignore", ".nextcloudsync.log*", ".owncloudsync.log*", ".sync-exclude.lst"),
    *(".sync_*.db*", "._sync_*.db*", ".csync_journal.db*"),
    *(".stfolder", ".stfolder/", ".stfolder.removed-*", ".stversions/", ".stignore"),
    *(".dropbox", ".dropbox.cache/", ".sync/"),
    *(".DS_Store", "._*", ".AppleDouble/", ".Spotlight-V100/", ".fseventsd/", ".TemporaryItems/"),
    *(".DocumentRevisions-V100/", ".Trash*/", "$RECYCLE.BIN/", "System Volume Information/"),
    *("Thumbs.db", "ehthumbs.db", "desktop.ini", ".directory", "lost+found/"),
    *("@eaDir/", "#recycle/", "@Recycle/", "#snapshot/", ".@__thumb/", ".snapshot/", ".snapshots/", ".zfs/"),
    *(".git", ".git/", ".hg/", ".svn/", ".bzr/"),
)
"""What systems, file servers, synchronisers and version control keep; a trailing slash: folders only."""

RSYNC_NAME = ".NAME.XXXXXX"
"""What rsync's temporary names are called where a rule is told of; no glob describes them."""

# Six of mkstemp's letters and digits. All but one in two hundred have a capital or a digit, and that keeps
# ordinary hidden files (.photos.sqlite, .config.backup).
_RSYNC = rb"(?s-i:\..+\.(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{6})\Z"

_DEFAULTS = (*PARTIAL_NAMES, *BOOKKEEPING_NAMES)
_TAIL = 4


def _expression(*names: str) -> bytes:
    return b"|".join(fnmatch.translate(name.removesuffix("/")).encode("ascii") for name in names)


_ANY_NAME = re.compile(_expression(*(name for name in _DEFAULTS if name[-1] != "/")) + b"|" + _RSYNC, re.IGNORECASE)
_FOLDER_NAME = re.compile(_expression(*(name for name in _DEFAULTS if name[-1] == "/")), re.IGNORECASE)


def _without_brackets(name: str) -> Iterator[str]:
    """``*.sw[opx]`` gives ``*.swo``, ``*.swp``, ``*.swx``."""
    parts = [part if index % 2 else [part] for index, part in enumerate(re.split(r"\[([^]!-]+)]", name))]
    return map("".join, itertools.product(*parts))


def _spellings(text: str) -> Iterator[bytes]:
    return (bytes(one) for one in itertools.product(*({ord(c.lower()), ord(c.upper())} for c in text)))


def _tables(names: Sequence[str]) -> tuple[frozenset[int], frozenset[int], frozenset[bytes]]:
    """First bytes, last bytes and tails, in either case: each name that matches a pattern has one of them."""
    first, last, tails = set[int](), set[int](), set[bytes]()
    for name in itertools.chain.from_iterable(_without_brackets(name.removesuffix("/")) for name in names):
        tail = re.split(r"[]*?[]", name)[-1]
        if name[0] not in "*?[" and not name[0].isalnum():
            first.add(ord(name[0]))
        elif len(tail) >= _TAIL:
            tails.update(_spellings(tail[-_TAIL:]))
        elif tail and not tail[-1].isalnum():
            last.add(ord(tail[-1]))
        else:
            raise ValueError(f"{name!r} would make every look at a name slow: nothing tells it from ordinary names")
    return frozenset(first), frozenset(last), frozenset(tails)


# rsync's begin with a full stop.
_FIRST, _LAST, _TAILS = _tables([*_DEFAULTS, ".*"])


def is_ignored_by_default(name: bytes, is_directory: bool) -> bool:  # noqa: FBT001 - keywords cost, a million times
    """Whether a name, which is not empty and holds no slash, is one of those that are ignored everywhere."""
    if name[0] in _FIRST or name[-1] in _LAST or name[-_TAIL:] in _TAILS:
        return matches_default(name, is_directory=is_directory)
    return False


def matches_default(name: bytes, *, is_directory: bool) -> bool:
    """The same answer as `is_ignored_by_default`, from the patterns themselves."""
    return bool(_ANY_NAME.match(name) or (is_directory and _FOLDER_NAME.match(name)))


def default_rule(name: bytes, *, is_directory: bool) -> Rule | None:
    """Which of the defaults ignores a name; None: none does."""
    if not is_ignored_by_default(name, is_directory):
        return None
    for pattern, expression in _one_by_one():
        if (is_directory or pattern[-1] != "/") and expression.match(name):
            return Rule(pattern, "the defaults")
    return Rule(RSYNC_NAME, "the defaults")


@functools.cache
def _one_by_one() -> tuple[tuple[str, re.Pattern[bytes]], ...]:
    return tuple((name, re.compile(_expression(name), re.IGNORECASE)) for name in _DEFAULTS)
