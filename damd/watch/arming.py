"""A root's folders on one inotify instance: which are watched, and what their events mean.

A folder is watched first and listed afterwards, so that what is made in between is heard, seen, or both.
What was in a new folder before is nobody's event: once it and all below it are watched, it is marked.

Events are handled later than they happened, and a path may lead elsewhere by then. That needs no care here
as long as whatever is done about a folder can be done again: the event that moved it is still to come.

Imported on Linux only, like `damd.watch.inotify`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

import structlog
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, Mask, WatchDescriptor

from damd.events import readable
from damd.watch.folders import Folder, Folders, Unwatched, join
from damd.watch.inotify import Inotify
from damd.watch.sightings import SightingSet

_log = structlog.get_logger(__name__)

# Without IN_MODIFY: a writer is waited for otherwise. Without IN_OPEN and IN_ACCESS: damd's own reading
# would fill the queue.
_ROOT_MASK = Mask(
    InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_EXCL_UNLINK
)
# The parent tells what becomes of a folder itself. IN_MASK_ADD, for the root may be mounted below itself.
_FOLDER_MASK = Mask(
    _ROOT_MASK & ~(InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF)
    | InotifyConstants.IN_DONT_FOLLOW
    | InotifyConstants.IN_MASK_ADD
)

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_MOST_COOKIES = 512
_MOST_PAIRING = 64


class WatchedFolders:
    """Arms a root's folders, and makes sightings of their events; implements `damd.watch.inotify.Listener`.

    Args:
        inotify: Does the watching, and calls this in its thread.
        root: The folder at the top; where it is a link, what it leads to is watched.
        recursive: Whether the folders below it are watched.
        wants_folder: Whether a folder, by its path, is watched; asked in the thread, may block.
        sightings: Takes what is found.
    """

    def __init__(
        self,
        inotify: Inotify,
        root: bytes,
        *,
        recursive: bool,
        wants_folder: Callable[[bytes], bool],
        sightings: SightingSet,
    ) -> None:
        self.unwatched = Unwatched(root)
        self._inotify = inotify
        self._root = root
        self._recursive = recursive
        self._wants_folder = wants_folder
        self._sightings = sightings
        self._folders = Folders(root)
        # By the cookie that joins the halves of a rename: where from, and the folder.
        self._left: dict[int, bytes] = {}
        self._pairing: dict[int, Folder] = {}
        self._refused = 0
        self._refused_told = 0

    @property
    def is_pairing(self) -> bool:
        """Whether a folder went away that may turn up elsewhere in the root."""
        return bool(self._pairing)

    def begin(self) -> Iterator[None]:
        """Watch the root and every wanted folder below it; that no watches are left is no error, see `unwatched`."""
        try:
            wd = self._inotify.watch(self._root, _ROOT_MASK)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._refuse(self._root, error)
            else:
                self._inotify.refuse(error)
            return
        self._folders.place(self._folders.root, wd)
        if self._recursive:
            yield from self._arm_below(self._folders.root, self._root)

    def on_event(self, event: InotifyEvent) -> None:
        """Sight or mark what an event speaks of."""
        folder = self._folders.at(event.wd)
        where = None if folder is None else self._folders.path_of(folder)
        if folder is None or where is None:
            return
        if event.mask & InotifyConstants.IN_UNMOUNT:
            self._inotify.lose(f"{readable(where)} was unmounted")
        elif event.name and not event.mask & InotifyConstants.IN_ISDIR:
            self._on_file(join(where, event.name), event)
        elif event.name and self._recursive:
            self._on_folder(folder, join(where, event.name), event)
        elif event.is_delete_self or event.is_move_self:
            self._inotify.lose("the root was deleted or renamed")
        elif event.is_attrib and self._recursive:
            self._on_attributes(folder, where)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Forget a watch; without the root's nothing can be told."""
        if self._folders.forget(wd) is self._folders.root:
            self._inotify.lose("the root is not watched any more")

    def on_queue_overflow(self) -> None:
        """Never called: the instance itself tells whoever waits."""

    def on_quiet(self) -> None:
        """The second half of a rename has not come: the folder went somewhere else."""
        for folder in self._pairing.values():
            self._inotify.do(self._let_go(folder))
        self._pairing.clear()

    def on_idle(self) -> None:
        """Say how many folders could not be watched; again only when there are twice as many."""
        if self._refused >= 2 * max(self._refused_told, 0.5):
            self._refused_told = self._refused
            _log.warning(
                "no watches are left, these folders are polled: raise the sysctl fs.inotify.max_user_watches",
                root=os.fsdecode(self._root),
                folders=self._refused,
            )

    def _on_file(self, path: bytes, event: InotifyEvent) -> None:
        if event.is_moved_from:
            self._remember(event.cookie, self._sightings.leave(path))
        elif event.is_delete:
            self._sightings.leave(path)
        elif event.is_moved_to:
            self._sightings.add(path, closed=True, moved_from=self._left.pop(event.cookie, None))
        else:
            self._sightings.add(path, closed=event.is_close_write)

    def _on_folder(self, parent: Folder, path: bytes, event: InotifyEvent) -> None:
        if event.is_moved_from or event.is_delete:
            self.unwatched.forget(path)
        if event.is_moved_from:
            self._remember(event.cookie, self._sightings.leave(path))
            folder = self._folders.detach(parent, event.name)
            if folder is not None:
                if len(self._pairing) >= _MOST_PAIRING:
                    self.on_quiet()
                self._pairing[event.cookie] = folder
        elif event.is_delete:
            self._sightings.leave(path)
            self._detach(parent, event.name)
        elif event.is_moved_to:
            self._arrive(parent, path, event)
        elif event.is_attrib:
            self._on_attributes(parent.below.get(event.name) or Folder(event.name, parent), path)
        elif not _is_watched(parent.below.get(event.name)):
            # Otherwise it was seen when its parent was listed, which is marked after that.
            self._inotify.do(self._arm_and_mark(parent, event.name))

    def _arrive(self, parent: Folder, path: bytes, event: InotifyEvent) -> None:
        folder = self._pairing.pop(event.cookie, None)
        if folder is not None:
            self._detach(parent, event.name)
            self._folders.attach(parent, event.name, folder)
        origin = self._left.pop(event.cookie, None)
        if origin is not None:
            self._sightings.mark(path, moved_from=origin)
        # Even what is watched already: other folders may be wanted under another name.
        self._inotify.do(self._arm_and_mark(parent, event.name))

    def _on_attributes(self, folder: Folder, path: bytes) -> None:
        # It may have become readable.
        again = self.unwatched.forget(path) or not _is_watched(folder)
        if again and folder.parent is not None:
            self._inotify.do(self._arm_and_mark(folder.parent, folder.name))
        elif again:
            self._inotify.do(self._arm_below_and_mark(folder, path))
        elif folder.parent is not None:
            self._sightings.mark(path)

    def _arm_and_mark(self, parent: Folder, name: bytes) -> Iterator[None]:
        yield from self._arm([(parent, name)])
        path = self._path(parent, name)
        if path is not None:
            self._sightings.mark(path)

    def _arm_below_and_mark(self, folder: Folder, path: bytes) -> Iterator[None]:
        yield from self._arm_below(folder, path)
        self._sightings.mark(path)

    def _arm_below(self, folder: Folder, path: bytes) -> Iterator[None]:
        yield from self._arm(self._list(folder, path))

    def _arm(self, waiting: list[tuple[Folder, bytes]]) -> Iterator[None]:
        while waiting:
            parent, name = waiting.pop()
            path = self._path(parent, name)
            if path is not None and self._wants_folder(path):
                waiting += self._arm_one(parent, name, path)
            elif path is not None:
                self._detach(parent, name)
            yield

    def _arm_one(self, parent: Folder, name: bytes, path: bytes) -> list[tuple[Folder, bytes]]:
        """Watch a folder, and list the folders in it that are to be watched too."""
        try:
            wd = self._inotify.watch(path, _FOLDER_MASK)
        except OSError as error:
            self._refuse(path, error)
            if error.errno != errno.EACCES:
                self._detach(parent, name)
            return []
        holder = self._folders.at(wd)
        if holder is not None and holder is not parent.below.get(name) and self._is_elsewhere_too(holder, path):
            self.unwatched.add(path)
            return []
        folder = self._folders.made(parent, name)
        former = self._folders.place(folder, wd)
        if former is not None:
            self._inotify.unwatch(former)
        return self._list(folder, path)

    def _is_elsewhere_too(self, holder: Folder, path: bytes) -> bool:
        """Whether one folder has two paths, as bind mounts make them: its events can only have one of them."""
        there = self._folders.path_of(holder)
        try:
            return there is not None and os.path.samestat(os.lstat(join(there, b".")), os.lstat(path))
        except OSError:
            return False

    def _list(self, folder: Folder, path: bytes) -> list[tuple[Folder, bytes]]:
        try:
            with os.scandir(path) as entries:
                names = [entry.name for entry in entries if _is_folder(entry)]
        except OSError as error:
            self._refuse(path, error)
            return []
        for name in folder.below.keys() - set(names):
            self._detach(folder, name)
        return [(folder, name) for name in names]

    def _refuse(self, path: bytes, error: OSError) -> None:
        """What cannot be watched is polled, unless it is gone, which has an event of its own."""
        if error.errno in _GONE:
            return
        self.unwatched.add(path)
        if error.errno == errno.ENOSPC:
            self._refused += 1
        else:
            _log.debug("folder cannot be watched", path=os.fsdecode(path), error=str(error))

    def _remember(self, cookie: int, origin: bytes) -> None:
        self._left[cookie] = origin
        if len(self._left) > _MOST_COOKIES:
            del self._left[next(iter(self._left))]

    def _detach(self, parent: Folder, name: bytes) -> None:
        folder = self._folders.detach(parent, name)
        if folder is not None:
            self._inotify.do(self._let_go(folder))

    def _let_go(self, top: Folder) -> Iterator[None]:
        """End the watches of what went away; step by step, since the kernel tells of each."""
        for folder in top.walk():
            if folder.wd is not None:
                wd = folder.wd
                self._folders.forget(wd)
                self._inotify.unwatch(wd)
            yield

    def _path(self, parent: Folder, name: bytes) -> bytes | None:
        where = self._folders.path_of(parent)
        return None if where is None else join(where, name)


def _is_watched(folder: Folder | None) -> bool:
    return folder is not None and folder.wd is not None


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        # Nobody knows: to try and watch it will tell.
        return True
