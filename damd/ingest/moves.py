"""Moves, renames and hard links: a file that is known already, under another path, need not be read again.

An inode is reused: to delete a file and to create one of equal size, with its mtime restored, may give the
same inode, size and mtime. So they only suggest which file this may be. It is believed where the birth times
agree, or, where nobody knows them, where the kernel itself reported the rename. What is not believed is
hashed, and then a location of that content whose file is gone is where it came from.

The other location may lie in another root, and that one's file system may not answer: then it is out of reach,
and nothing is concluded.
"""

# ruff: noqa: PTH116, PTH117, PTH120, PTH208 - pathlib has no paths of bytes

from __future__ import annotations

import functools
import os
import threading
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import Enum, auto
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from sqlmodel import Session

from damd.catalogue.queries import FormerLocation
from damd.catalogue.record import Finding, record_link, record_move
from damd.catalogue.roots import Place, Roots
from damd.catalogue.store import Catalogue
from damd.errors import FileChangedError
from damd.events import Event
from damd.fingerprint import Seen, Signature, look_in
from damd.ingest.failures import GONE
from damd.ingest.policy import RootPolicies
from damd.media.announced import tell
from damd.media.base import find_unchanged
from damd.results import DUPLICATE_HASH, MOVED, PATH_ALREADY_IMPORTED, IngestResult, IngestStatus
from damd.stages import stage
from damd.world import World

_PATIENCE_S = 10.0
"""A disk that sleeps has spun up by then."""
_HANGING = 4
"""So many looks at another root may hang; nobody looks there again before one of them has ended."""
_hanging: RunVar[defaultdict[str, list[threading.Event]]] = RunVar("damd hanging looks")


class Kinship(Enum):
    """What a path has to do with a known location of the same file.

    `MOVED`: the location is gone, this is where it went. `LINKED`: a hard link, or a link that is followed.
    `RESPELT`: no name of its own, but another spelling of the location's, on a file system that does not care.
    """

    MOVED = auto()
    RESPELT = auto()
    LINKED = auto()


Verdict = tuple[Kinship, FormerLocation]


async def follow_move(
    world: World,
    path: Path,
    seen: Finding,
    candidates: Sequence[FormerLocation],
    *,
    moved_from: Path | None,
    follow_symlinks: bool,
) -> IngestResult | None:
    """Record the file as the known one that it is; None where that cannot be believed unread.

    Args:
        world: Whose catalogue.
        path: The file.
        seen: What was found there when it was looked up.
        candidates: The other locations of its inode, size and mtime.
        moved_from: Where it was renamed from, as the kernel says.
        follow_symlinks: Whether the path may be a symbolic link.

    Raises:
        FileError: It cannot be looked at, or is no file any more.
        OSError: Its file system cannot be asked.
    """
    roots = world.get_resource(Roots)
    root = seen.place.root
    near, far = _by_root(root, candidates)

    def look() -> tuple[Finding, Place | None, list[Verdict]]:
        finding = find_unchanged(roots, path, seen.signature, follow_symlinks=follow_symlinks)
        renamed = roots.place(moved_from) if moved_from is not None else None
        return finding, renamed, _judge_all(roots, finding, near, renamed)

    with stage("look_up"):
        try:
            finding, renamed, verdicts = await look_in(root, look)
        except FileChangedError:
            return None  # whoever hashes it looks at it anew
        for other, there in far.items():
            verdicts += await _look_elsewhere(other, _judge_all, roots, finding, there, renamed) or []
    if not verdicts:
        return None
    kinship, known = _closest(verdicts, renamed)
    if kinship is not Kinship.RESPELT and not await _record(world, kinship, known, finding):
        return None
    return _result(kinship, known)


async def record_if_moved(world: World, finding: Finding, candidates: Sequence[FormerLocation]) -> IngestResult | None:
    """Record a file whose content was hashed as moved, where one of its content's locations is surely gone.

    Args:
        world: Whose catalogue.
        finding: The file.
        candidates: The other locations of its content, of the same size and mtime.
    """
    roots = world.get_resource(Roots)
    near, far = _by_root(finding.place.root, candidates)
    with stage("look_up"):
        gone = await look_in(finding.place.root, _gone_ones, roots, finding, near) if near else []
        for other, there in far.items():
            gone += await _look_elsewhere(other, _gone_ones, roots, finding, there) or []
    for known in gone:
        if await _record(world, Kinship.MOVED, known, finding):
            return _result(Kinship.MOVED, known)
    return None


async def _record(world: World, kinship: Kinship, known: FormerLocation, finding: Finding) -> bool:
    """Whether it was recorded: the location was still what it had been."""
    path_of = world.get_resource(Roots).path_of
    record: Callable[[Session], list[Event] | None]
    if kinship is Kinship.MOVED:
        record = functools.partial(record_move, former=known, finding=finding, path_of=path_of)
    else:
        announce = world.get_resource(RootPolicies).of(finding.place.root).announces(finding.signature)
        record = functools.partial(record_link, known=known, finding=finding, path_of=path_of, announce_copy=announce)
    with stage("record"):
        events = await world.get_resource(Catalogue).write(record)
    await tell(world, events or ())
    return events is not None


def _result(kinship: Kinship, known: FormerLocation) -> IngestResult:
    reasons = {
        Kinship.MOVED: MOVED,
        Kinship.LINKED: DUPLICATE_HASH,
        Kinship.RESPELT: PATH_ALREADY_IMPORTED,
    }
    return IngestResult(
        status=IngestStatus.SKIPPED, reason=reasons[kinship], asset_id=known.asset_id, sha256=known.sha256
    )


def _by_root(
    root: str, candidates: Sequence[FormerLocation]
) -> tuple[list[FormerLocation], dict[str, list[FormerLocation]]]:
    """Those of this root, and the others by theirs."""
    by_root: defaultdict[str, list[FormerLocation]] = defaultdict(list)
    for known in candidates:
        by_root[known.place.root].append(known)
    return by_root.pop(root, []), by_root


async def _look_elsewhere(root: str, look: Callable[..., Seen], *arguments: object) -> Seen | None:
    """What a look at another root's files returns; None where it does not answer."""
    try:
        by_root = _hanging.get()
    except LookupError:
        by_root = defaultdict(list)
        _hanging.set(by_root)
    hanging = by_root[root]
    hanging[:] = [each for each in hanging if not each.is_set()]
    if len(hanging) >= _HANGING:
        return None
    ended = threading.Event()

    def take() -> Seen:
        try:
            return look(*arguments)
        finally:
            ended.set()

    with anyio.move_on_after(_PATIENCE_S):
        # Not in that root's own threads: they are busy with large files, or hang themselves.
        return await anyio.to_thread.run_sync(take, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True)
    hanging.append(ended)
    return None


def _judge_all(
    roots: Roots, finding: Finding, candidates: Sequence[FormerLocation], renamed: Place | None
) -> list[Verdict]:
    """Those of the candidates that the file has to do with; blocking."""
    verdicts = []
    for known in candidates:
        try:
            kinship = judge(roots, finding, known, is_pair=known.place == renamed)
        except OSError:
            continue  # out of reach: nothing is concluded
        if kinship is not None:
            verdicts.append((kinship, known))
    return verdicts


def _closest(verdicts: Sequence[Verdict], renamed: Place | None) -> Verdict:
    """What tells most: a move rather than a link, since one of several links may move."""
    kinds = list(Kinship)
    # The missing ones last: of two names that are gone, the one that was there has moved.
    return min(verdicts, key=lambda each: (kinds.index(each[0]), each[1].place != renamed, each[1].missing))


def judge(roots: Roots, finding: Finding, known: FormerLocation, *, is_pair: bool) -> Kinship | None:
    """What a file has to do with a location of the same inode, size and mtime; None where it must be hashed.

    Blocks.

    Args:
        roots: Where the keys lie.
        finding: The file.
        known: The location.
        is_pair: Whether the kernel reported that this was renamed from there.

    Raises:
        OSError: One of them cannot be looked at.
    """
    here, there = roots.path_of(finding.place), roots.path_of(known.place)
    if not os.path.isabs(there):
        return None  # of a root that the catalogue does not know any more
    status = os.stat(here, follow_symlinks=roots.follows(finding.place.root))
    if Signature.of(status) != finding.signature:
        return None
    same_birth = finding.born_ns == known.born_ns if finding.born_ns and known.born_ns else None
    if known.missing and not same_birth:
        return None
    other = _status(there, follow_symlinks=roots.follows(known.place.root))
    if other is None or not os.path.samestat(status, other):
        # A rename stays on its file system; where that of the former path is another one, something was
        # mounted or unmounted there.
        stays = status.st_dev == (other or _nearest(there)).st_dev
        is_believed = is_pair if same_birth is None else same_birth
        return Kinship.MOVED if stays and is_believed else None
    if not exists_as_spelt(here, there):
        return Kinship.RESPELT
    if not exists_as_spelt(there, here):
        return Kinship.MOVED if same_birth or (is_pair and same_birth is None) else None
    return Kinship.LINKED if same_birth else None


def _status(path: bytes, *, follow_symlinks: bool) -> os.stat_result | None:
    """What lies at a path, None for nothing.

    Raises:
        OSError: Nobody knows; also for a link that is followed and leads nowhere.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    return os.stat(path) if follow_symlinks else status


def _nearest(path: bytes) -> os.stat_result:
    """The status of the innermost folder of a path that is still there."""
    while True:
        path = os.path.dirname(path)
        try:
            return os.stat(path)
        except OSError as error:
            if error.errno not in GONE or path == b"/":
                raise


def _gone_ones(roots: Roots, finding: Finding, candidates: Sequence[FormerLocation]) -> list[FormerLocation]:
    return [known for known in candidates if _is_gone(roots, finding, known)]


def _is_gone(roots: Roots, finding: Finding, known: FormerLocation) -> bool:
    """Whether nothing is left at a location, though everything is there that it would lie on; blocking."""
    here, there = roots.path_of(finding.place), roots.path_of(known.place)
    try:
        if not known.place.root or not os.path.isabs(there) or not _is_in_reach(roots, known):
            return False
        is_there = _status(there, follow_symlinks=False) is not None and exists_as_spelt(there, here)
        return not is_there and _is_in_reach(roots, known)
    except OSError:
        return False


def _is_in_reach(roots: Roots, known: FormerLocation) -> bool:
    os.scandir(roots.folder(known.place.root)).close()
    return roots.volume_of(known.place) == known.volume


def exists_as_spelt(path: bytes, other: bytes) -> bool:
    """Whether a path that can be found has these very names; blocking.

    Always, unless it is spelt like the other path but for case or Unicode's normal forms: then file systems
    that do not care find it under either spelling, and only the listings of its folders tell which is real.

    Raises:
        OSError: A folder cannot be listed.
    """
    if path == other or _fold(path) != _fold(other):
        return True
    names, others = path.split(b"/"), other.split(b"/")
    return all(
        name in os.listdir(b"/".join(names[:number]) or b"/")
        for number, (name, another) in enumerate(zip(names, others, strict=True))
        if name != another
    )


def _fold(path: bytes) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", os.fsdecode(path)).casefold())
