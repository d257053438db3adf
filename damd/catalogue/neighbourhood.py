"""Which files of a folder may belong together with one of them: a few stretches of the index of locations.

Asked for every file on the one thread that writes, so the statements are on plain tables, and made once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import bindparam
from sqlmodel import Session

from damd.catalogue.belonging import File, beginnings, may_be_sidecar
from damd.catalogue.components import Capture, ContentIdentifier, SidecarProperties
from damd.catalogue.roots import Place
from damd.catalogue.tables import FileProperties, Location, table_of

_PAGE = 100
_MOST_PAGES = 5
"""Of files whose names begin alike: of one picture there are few."""
_MOST_SIDECARS = 20
_MOST_NAMING = 100
_LONGEST_NAME = 255
"""Bytes, on every file system."""

_locations, _properties, _captures, _identifiers, _sidecars = (
    table_of(kind).c for kind in (Location, FileProperties, Capture, ContentIdentifier, SidecarProperties)
)

_FILES = (
    sqlalchemy.select(
        _locations.entity_id,
        _locations.root,
        _locations.path,
        _properties.family,
        _properties.mime_type,
        _captures.taken_at,
        _identifiers.identifier,
        _sidecars.names,
    )
    .join(FileProperties, _properties.entity_id == _locations.entity_id)
    .outerjoin(Capture, _captures.entity_id == _locations.entity_id)
    .outerjoin(ContentIdentifier, _identifiers.entity_id == _locations.entity_id)
    .outerjoin(SidecarProperties, _sidecars.entity_id == _locations.entity_id)
    .where(_locations.missing_since.is_(None))
)
_BETWEEN = (
    _FILES.where(
        _locations.root == bindparam("root"),
        _locations.path >= bindparam("low"),
        _locations.path < bindparam("high"),
    )
    .order_by(_locations.path)
    .limit(_PAGE)
)
# By the name's index: concatenated, the root has none, which would lead through all of the folder.
_NAMING = _FILES.where(
    _sidecars.names == bindparam("name"),
    _locations.root + "" == bindparam("root"),
    _locations.path >= bindparam("low"),
    _locations.path < bindparam("high"),
).limit(_MOST_NAMING)


class Neighbourhood:
    """The files in a folder that were looked at, for the sake of one of them."""

    def __init__(self, session: Session, place: Place) -> None:
        self._session, self._root = session, place.root
        folder, slash, self.name = place.path.rpartition(b"/")
        self._folder = folder + slash
        self._taken: set[bytes] = set()
        self._taken_whole: list[bytes] = []
        self._files: dict[tuple[int, bytes], File] = {}

    @property
    def files(self) -> Collection[File]:
        """All that were looked at."""
        return self._files.values()

    def take(self, names_begin: Iterable[bytes]) -> None:
        """Look at the files whose names begin so, at some hundred of each, where that was not done yet."""
        for begin in names_begin:
            if begin not in self._taken and not begin.startswith(tuple(self._taken_whole)):
                self._taken.add(begin)
                if self._take_between(self._folder + begin, _after(self._folder + begin)):
                    self._taken_whole.append(begin)

    def _take_between(self, low: bytes, high: bytes) -> bool:
        """Whether that was all."""
        for _ in range(_MOST_PAGES):
            rows = self._ask(_BETWEEN, {"root": self._root, "low": low, "high": high})
            if len(rows) < _PAGE:
                return True
            last: bytes = rows[-1].path
            below = last.find(b"/", len(self._folder))
            # In a folder whose name begins so too, there may be any number of files: on behind it.
            low = last + b"\0" if below < 0 else last[:below] + b"0"
        return False

    def take_naming(self, name: bytes) -> None:
        """Look at the sidecars here that name this file."""
        if may_be_sidecar(name) or b"\0" in name:
            return
        try:
            named = {"name": name.decode("utf-8")}
        except UnicodeDecodeError:
            return  # no sidecar can name it
        self._ask(_NAMING, named | {"root": self._root, "low": self._folder, "high": _after(self._folder)})

    def one(self, place: Place) -> File | None:
        """The file at a place, whatever its name."""
        self._ask(_BETWEEN, {"root": place.root, "low": place.path, "high": place.path + b"\0"})
        return next((file for file in self.files if file.place == place), None)

    def _ask(self, statement: sqlalchemy.Select[Any], values: dict[str, Any]) -> Sequence[Any]:
        rows = self._session.execute(statement, values).all()
        for asset_id, root, path, *known in rows:
            if root == self._root and path.rpartition(b"/")[0] == self._folder[:-1]:
                self._files[asset_id, path] = File(asset_id, Place(root, path), *known)
        return rows

    def sidecars_of(self, file: File) -> list[File]:
        """The sidecars that were found, as far as they may belong to this file."""
        found = [
            other
            for other in self.files
            if other.is_sidecar and file.name.startswith(tuple(beginnings(other.name, other.names)))
        ]
        return found[:_MOST_SIDECARS]


def _after(beginning: bytes) -> bytes:
    """What comes after all that begins so."""
    kept = beginning.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else beginning + b"\xff" * _LONGEST_NAME
