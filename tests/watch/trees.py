"""What the tests of a root's tree ask of it, and what lies in it."""

import os
from pathlib import Path

from damd.watch.ignore import IgnoreRules
from damd.watch.tree import Tree


def tree_of(
    folder: Path | bytes,
    *patterns: str,
    recursive: bool = True,
    excluded: bytes = b"/nowhere",
    follow_symlinks: bool = False,
) -> Tree:
    path = os.fsencode(folder)
    return Tree(
        root="inbox",
        folder=path,
        recursive=recursive,
        rules=IgnoreRules(patterns, folder=path),
        excluded=excluded,
        follow_symlinks=follow_symlinks,
    )


def names(tree: Tree, below: bytes = b"") -> list[bytes]:
    return [path for files in tree.walk(below) for path, _ in files]


def write(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")
