"""Whether the catalogue equals the tree: file for file, hash for hash."""

# ruff: noqa: PTH123 - pathlib has no paths of bytes

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

Key = tuple[str, bytes]
"""A root's name and the path below it, in the system's bytes."""

Expected = dict[Key, str]
"""The SHA-256 of every file."""

_SHOWN = 8
_NO_TIME_TO_WAIT_S = 30


class Row(NamedTuple):
    """A location of the catalogue."""

    key: Key
    sha256: str | None
    is_missing: bool


def query(state: Path, statement: str) -> list[tuple[Any, ...]]:
    """What the catalogue answers, read beside the daemon.

    Raises:
        sqlite3.OperationalError: It is not there yet, or cannot be read.
    """
    file = f"file:{state / 'catalogue.sqlite3'}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=_NO_TIME_TO_WAIT_S)) as connection:
        return connection.execute(statement).fetchall()


def locations(state: Path) -> list[Row]:
    """Every location, those that are missing too."""
    rows = query(
        state,
        "SELECT root, path, sha256, missing_since IS NOT NULL FROM location LEFT JOIN content_hash USING (entity_id)",
    )
    return [Row((root, bytes(path)), sha256, bool(is_missing)) for root, path, sha256, is_missing in rows]


def files_below(folder: bytes) -> Iterator[bytes]:
    """The paths of all regular files, without following links."""
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    folders.append(entry.path)
                elif stat.S_ISREG(mode):
                    yield entry.path


def hash_file(path: bytes) -> str:
    """Its SHA-256, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_trees(roots: Mapping[str, Path]) -> Expected:
    """Every file of these roots, which must rest meanwhile."""
    expected: Expected = {}
    for name, folder in roots.items():
        top = os.fsencode(folder)
        for path in files_below(top):
            expected[name, path[len(top) + 1 :]] = hash_file(path)
    return expected


def differences(expected: Expected, rows: list[Row]) -> dict[str, list[str]]:
    """What keeps the catalogue from being the tree, by kind; empty when nothing does."""
    present = {row.key: row for row in rows if not row.is_missing}
    taken_for_deleted = {row.key for row in rows if row.is_missing and row.key in expected}
    found = {
        "files that the catalogue takes for deleted": sorted(map(_show, taken_for_deleted)),
        "files that the catalogue does not know": [
            _show(key) for key in sorted(expected) if key not in present and key not in taken_for_deleted
        ],
        "files whose content is another": [
            f"{_show(key)}: {row.sha256} instead of {expected[key]}"
            for key, row in sorted(present.items())
            if key in expected and row.sha256 != expected[key]
        ],
        "locations where no file is, and that are not marked missing": [
            _show(key) for key in sorted(present) if key not in expected
        ],
        "paths that have several locations": _repeated([row.key for row in rows]),
    }
    return {kind: each for kind, each in found.items() if each}


def describe(found: Mapping[str, list[str]]) -> str:
    """The differences for people: how many of each kind, and the first."""
    lines = []
    for kind, each in found.items():
        lines += [f"{len(each)} {kind}:", *(f"    {one}" for one in each[:_SHOWN])]
        lines += ["    …"] if len(each) > _SHOWN else []
    return "\n".join(lines)


def assert_sound(state: Path) -> None:
    """The database is whole, and each content is one asset."""
    assert query(state, "PRAGMA integrity_check") == [("ok",)]
    assert query(state, "PRAGMA foreign_key_check") == []
    contents = [sha256 for (sha256,) in query(state, "SELECT sha256 FROM content_hash")]
    assert len(contents) == len(set(contents)), "a content has several assets"
    assert query(state, "SELECT count(*) FROM entity") == [(len(contents),)], "an entity has no content"


def assert_only_these_contents(state: Path, allowed: Callable[[str], bool]) -> None:
    """No asset has another content: one would have been imported half."""
    strange = [sha256 for (sha256,) in query(state, "SELECT sha256 FROM content_hash") if not allowed(sha256)]
    names = [
        (sha256, bytes(path), mtime_ns)
        for sha256, path, mtime_ns in query(
            state, "SELECT sha256, path, mtime_ns FROM content_hash JOIN location USING (entity_id)"
        )
        if sha256 in set(strange)
    ]
    assert not strange, f"{len(strange)} contents that nobody wrote completely, some at {names[:_SHOWN]}"


def _show(key: Key) -> str:
    root, path = key
    text = ascii(os.fsdecode(path))
    return f"{root}: {text if len(text) < 200 else text[:90] + ' … ' + text[-90:]}"


def _repeated(keys: list[Key]) -> list[str]:
    seen: set[Key] = set()
    repeated = {key for key in keys if key in seen or seen.add(key)}  # type: ignore[func-returns-value]  # add, as it goes
    return sorted(map(_show, repeated))
