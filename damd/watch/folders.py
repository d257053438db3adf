"""Which folder each of the kernel's watches is on, as far as the events that were handled tell.

A watch belongs to an inode and follows it wherever it is renamed to, and the kernel's events name only the
watch. So a folder here knows its parent and its own name, and renaming one renames all below it at once.
What is kept lags behind the tree on the disk by the events that are still to come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MOST_UNWATCHED = 256
"""How many folders are named as unwatched before the folders above stand for them."""


def every_folder(_: bytes) -> bool:
    """Wants any folder."""
    return True


def join(folder: bytes, name: bytes) -> bytes:
    """The path of what is called `name` in a folder, which may be ``/``."""
    return folder.rstrip(b"/") + b"/" + name


def lies_below(path: bytes, folder: bytes) -> bool:
    """Whether a path is this folder or somewhere below it."""
    return path == folder or path.startswith(join(folder, b""))


class Folder:
    """A folder that is, or was, watched.

    Attributes:
        name: In its parent.
        parent: None at the top, and for what went away.
        below: The watched folders in it, by name.
        wd: The kernel's number for its watch; None where another path has got that watch, or it ended.
    """

    __slots__ = ("below", "name", "parent", "wd")

    def __init__(self, name: bytes, parent: Folder | None) -> None:
        self.name = name
        self.parent = parent
        self.below: dict[bytes, Folder] = {}
        self.wd: int | None = None

    def walk(self) -> Iterator[Folder]:
        """This one and all below it; they may change in between."""
        waiting = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += folder.below.values()


class Folders:
    """A root's watched folders; for one thread.

    Args:
        root: The path of the folder at the top.
    """

    def __init__(self, root: bytes) -> None:
        self.root = Folder(root, None)
        self._by_wd: dict[int, Folder] = {}

    def at(self, wd: int) -> Folder | None:
        """The folder that a watch is on."""
        return self._by_wd.get(wd)

    def path_of(self, folder: Folder) -> bytes | None:
        """Its path, spelt as the root is; None if it went away."""
        names: list[bytes] = []
        while folder.parent is not None:
            names.append(folder.name)
            folder = folder.parent
        if folder is not self.root:
            return None
        return join(folder.name, b"/".join(reversed(names))) if names else folder.name

    def place(self, folder: Folder, wd: int) -> int | None:
        """Note that a folder has this watch; answers with the one that it had and that nobody needs now."""
        holder = self._by_wd.get(wd)
        if holder is folder:
            return None
        if holder is not None:
            holder.wd = None
        former, folder.wd = folder.wd, wd
        self._by_wd[wd] = folder
        if former is not None:
            del self._by_wd[former]
        return former

    def made(self, parent: Folder, name: bytes) -> Folder:
        """The folder of that name, noted if it is not yet."""
        folder = parent.below.get(name)
        if folder is None:
            folder = parent.below[name] = Folder(name, parent)
        return folder

    def detach(self, parent: Folder, name: bytes) -> Folder | None:
        """A folder went away, and all below it with it."""
        folder = parent.below.pop(name, None)
        if folder is not None:
            folder.parent = None
        return folder

    def attach(self, parent: Folder, name: bytes, folder: Folder) -> None:
        """A folder that went away is here now."""
        folder.name, folder.parent = name, parent
        parent.below[name] = folder

    def forget(self, wd: int) -> Folder | None:
        """A watch has ended."""
        folder = self._by_wd.pop(wd, None)
        if folder is not None:
            folder.wd = None
        return folder


class Unwatched:
    """Folders of which, and of all below which, nothing is heard; `paths` may be read from any thread.

    Args:
        root: What stands for all of them at last.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self.paths: frozenset[bytes] = frozenset()

    def add(self, path: bytes) -> None:
        """Nothing is heard of this folder, nor of what is below it."""
        if self._covers(path):
            return
        paths = {other for other in self.paths if not lies_below(other, path)} | {path}
        if len(paths) > MOST_UNWATCHED:
            # Half the room is kept free, lest the next few collapse it again.
            while len(paths) > MOST_UNWATCHED // 2:
                above = {self._above(other) for other in paths}
                paths = {other for other in above if not any(lies_below(other, folder) for folder in above - {other})}
        self.paths = frozenset(paths)

    def forget(self, path: bytes) -> bool:
        """A folder went away, or it and all below it is watched again, which names anew what still fails.

        Returns:
            Whether there was any sense in that: it, or what is above or below it, was unwatched.
        """
        there = {other for other in self.paths if lies_below(other, path)}
        self.paths -= there
        return bool(there) or self._covers(path)

    def _covers(self, path: bytes) -> bool:
        while path not in self.paths:
            if len(path) <= len(self._root):
                return False
            path = self._above(path)
        return True

    def _above(self, path: bytes) -> bytes:
        return self._root if path == self._root else path.rpartition(b"/")[0] or b"/"


def outermost(folders: Iterable[bytes]) -> Iterator[bytes]:
    """Without those that lie below another: a tree that is unpacked marks every folder in it."""
    last: bytes | None = None
    for folder in sorted(folders, key=lambda folder: folder.rstrip(b"/") + b"/"):
        if last is None or not folder.startswith(last):
            last = folder.rstrip(b"/") + b"/"
            yield folder
