"""A tree that never rests: files and folders made, moved, overwritten and deleted at random."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torture.writers import write_file


@dataclass(eq=False)
class Folder:
    """One folder of the tree."""

    name: str
    parent: "Folder | None"
    root: Path

    @property
    def path(self) -> Path:
        return self.root if self.parent is None else self.parent.path / self.name

    def lies_in(self, other: "Folder") -> bool:
        """Whether it is the other one, or somewhere below it."""
        here: Folder | None = self
        while here is not None and here is not other:
            here = here.parent
        return here is other

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth + 1


@dataclass(eq=False)
class File:
    """One file of the tree."""

    name: str
    parent: Folder

    @property
    def path(self) -> Path:
        return self.parent.path / self.name


class Churn:
    """Changes one thing with each step; the same things with the same seed.

    Args:
        root: An empty folder.
        seed: Of all its choices.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._serial = 0
        self.folders = [Folder("", None, root)]
        self.files: list[File] = []
        self.contents = 0

    def make_folder(self) -> None:
        parent = self._rng.choice([each for each in self.folders if each.depth < 6])
        made = Folder(self._new_name("folder"), parent, parent.root)
        made.path.mkdir()
        self.folders.append(made)

    def make_file(self) -> None:
        made = File(self._new_name("file"), self._rng.choice(self.folders))
        write_file(made.path, self._new_content())
        self.files.append(made)

    def copy_file(self) -> None:
        """The same content a second time."""
        source = self._rng.choice(self.files)
        made = File(self._new_name("copy"), self._rng.choice(self.folders))
        write_file(made.path, source.path.read_bytes())
        self.files.append(made)

    def overwrite_file(self) -> None:
        write_file(self._rng.choice(self.files).path, self._new_content())

    def replace_file(self) -> None:
        """One is renamed onto another, which is no more."""
        source, target = self._rng.sample(self.files, 2)
        source.path.rename(target.path)
        self.files.remove(target)
        source.name, source.parent = target.name, target.parent

    def delete_file(self) -> None:
        file = self.files.pop(self._rng.randrange(len(self.files)))
        file.path.unlink()

    def move_file(self) -> None:
        """To another folder, or to another name, or both."""
        file = self._rng.choice(self.files)
        before = file.path
        choice = self._rng.randrange(3)
        if choice:
            file.parent = self._rng.choice(self.folders)
        if choice != 1:
            file.name = self._new_name("moved")
        before.rename(file.path)

    def move_folder(self) -> None:
        """With all that is in it."""
        folder = self._rng.choice(self.folders[1:])
        before = folder.path
        below = [each for each in self.folders if not each.lies_in(folder) and each.depth < 6]
        folder.parent = self._rng.choice(below)
        if self._rng.random() < 0.5:
            folder.name = self._new_name("elsewhere")
        before.rename(folder.path)

    def live(self, *, around: int) -> None:
        """One change of any kind, about so many files being there."""
        if len(self.files) < around // 2 or len(self.folders) < 5:
            self.make_file()
            self.make_folder()
            return
        more = 6 if len(self.files) < around else 2
        changes = (
            (self.make_file, more),
            (self.copy_file, 1),
            (self.move_file, 4),
            (self.overwrite_file, 2),
            (self.replace_file, 1),
            (self.delete_file, 3),
            (self.move_folder, 0.3),
            (self.make_folder, 0.3 if len(self.folders) < around // 10 else 0),
        )
        (change,) = self._rng.choices([each for each, _ in changes], [weight for _, weight in changes])
        change()

    def _new_name(self, kind: str) -> str:
        self._serial += 1
        return f"{kind}{self._serial}"

    def _new_content(self) -> bytes:
        self.contents += 1
        return f"the content number {self.contents}\n".encode() * self._rng.randrange(1, 40)


def keep_on(step: Callable[[], None], seconds: float, *, pause_s: float) -> None:
    """One step after the other for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        step()
        time.sleep(pause_s)
