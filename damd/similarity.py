"""Who looks like whom: perceptual hashes compared, and what belongs together by them.

Two pictures are as far apart as the fewest bits in which the hash of one of them differs from the other's own, or from
that of one of its slight crops (see `damd.readers.likeness`). To compare all of these with a million pictures takes
too long, so those whose own hashes are not far apart are found first, in memory, and only the nearest of them are
looked at closely.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import anyio
import numpy as np
import numpy.typing as npt
from pydantic import Field
from sqlmodel import Session

from damd.catalogue.duplicates import (
    Hashes,
    HashPage,
    Neighbour,
    Pair,
    hash_page,
    hashes_after,
    hashes_of,
    settled_below,
    take_turns,
)
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import PerceptualHash
from damd.settings import Settings

MOST_NEIGHBOURS = 100
"""Of one asset, the nearest."""

_FARTHER = 14
"""How many bits the own hashes of two pictures may be farther apart than the pictures.

Of the copies that are found, 2 in 100 of those cropped by 5 % have own hashes more than 16 bits apart, and 4 in 1000
more than 20.
"""

_MOST_CANDIDATES = 400
"""Of those whose own hashes are near enough, how many are looked at closely, the nearest first."""

_PAGE = 100_000
"""Rows that are read at a time."""

_READ_EVERY = 64
"""How many imports there are between two looks at what has committed; meanwhile each reads the latest rows itself."""

_DIGITS = 16
_CROPS = 9

Ids = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]


class SimilaritySettings(Settings):
    """The section ``similarity:``."""

    distance: int = Field(default=6, ge=0, le=16)
    """The most bits in which the hashes of pictures that look alike differ."""


class _Known(NamedTuple):
    """Assets in their order, and their hashes; behind `watermark` some may be missing."""

    asset_ids: Ids
    hashes: Bits
    watermark: int


class Similarity:
    """The hashes of all assets in memory, 16 bytes each; a resource of the World.

    What is in memory may lag behind, and may be of assets that changed: it only says whom to look at. What counts is
    read within the transaction that records a new asset.
    """

    def __init__(self, settings: SimilaritySettings) -> None:
        self.settings = settings
        # Replaced as a whole: one thread reads the catalogue into it, and the one that writes looks at it.
        self._known = _Known(np.empty(0, np.int64), np.empty(0, np.uint64), 0)
        self._learnt: list[tuple[int, str]] = []
        self._reading = anyio.Lock()
        self._calls = 0

    async def keep_up(self, catalogue: Catalogue) -> None:
        """Read what has committed since the last time, of any process; to be called before every import.

        The first call reads everything. Most others do nothing, since `neighbours` sees the latest rows by itself.

        Raises:
            CatalogueUnavailableError: It cannot be read now.
        """
        async with self._reading:
            if self._calls % _READ_EVERY == 0:
                after: int | None = self._known.watermark
                while after is not None:
                    after = await catalogue.read(functools.partial(self._read_page, after=after))
            self._calls += 1

    def _read_page(self, session: Session, after: int) -> int | None:
        """Returns the number after which the next page begins; None: this was the last one."""
        learnt = len(self._learnt)
        page = hash_page(session, after, _PAGE)
        last = int(page.asset_ids.rpartition(",")[2]) if page else after
        rows = _parse(session, page, after, last) if page else _as_arrays(())
        added = _as_arrays(self._learnt[:learnt])
        self._known = _add(_add(self._known, *rows, settled_below(session, last)), *added)
        del self._learnt[:learnt]
        return last if page else None

    def learn(self, asset_id: int, row: PerceptualHash) -> None:
        """An asset that is not new has these hashes now, and that has committed."""
        if row.crops != "":
            self._learnt.append((asset_id, row.phash))

    def neighbours(self, session: Session, asset_id: int, row: PerceptualHash) -> list[Neighbour]:
        """The assets that look like this one, nearest first, within the configured distance; at most 100.

        Called in the transaction that records the asset, where it sees all that was recorded before, so that two
        pictures which are imported at the same moment find each other. It only reads.

        Args:
            session: The transaction.
            asset_id: The asset, which may be recorded already; it is no neighbour of its own.
            row: Its hashes.
        """
        own = _as_bits(row.phash)
        if own.size != 1 or row.crops == "":
            return []
        take_turns(session)
        candidates = self._candidates(session, own[0]) - {asset_id}
        if not candidates:
            return []
        found = _look_closely(own[0], _as_bits(row.crops or ""), hashes_of(session, candidates))
        near = sorted((distance, other) for other, distance in found if distance <= self.settings.distance)
        return [Neighbour(other, distance) for distance, other in near[:MOST_NEIGHBOURS]]

    def _candidates(self, session: Session, own: np.uint64) -> set[int]:
        """The assets whose own hashes are near enough, in memory or behind what is there."""
        known = self._known
        latest = _as_arrays([*hashes_after(session, known.watermark), *self._learnt])
        within = self.settings.distance + _FARTHER
        found = [_near(*each, own, within) for each in ((known.asset_ids, known.hashes), latest)]
        distances, asset_ids = np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])
        if asset_ids.size > _MOST_CANDIDATES:
            asset_ids = asset_ids[np.argpartition(distances, _MOST_CANDIDATES)[:_MOST_CANDIDATES]]
        return set(asset_ids.tolist())


def _near(asset_ids: Ids, hashes: Bits, own: np.uint64, within: int) -> tuple[npt.NDArray[np.uint8], Ids]:
    distances = np.bitwise_count(hashes ^ own)
    places = np.flatnonzero(distances <= within)
    return distances[places], asset_ids[places]


def _look_closely(own: np.uint64, crops: Bits, others: Mapping[int, Hashes]) -> list[tuple[int, int]]:
    """How far each of the others is, its crops and these considered."""
    # Where there are no crops, the own hash stands for each of them.
    rows = [(each, hashes.phash + (hashes.crops or hashes.phash * _CROPS)) for each, hashes in others.items()]
    asset_ids, bits = _as_arrays(rows, 1 + _CROPS)
    table = bits.reshape(-1, 1 + _CROPS)
    apart = np.bitwise_count(np.hstack([table ^ own, table[:, :1] ^ crops])).min(axis=1)
    return list(zip(asset_ids.tolist(), apart.tolist(), strict=True))


def _add(known: _Known, asset_ids: Ids, hashes: Bits, watermark: int = 0) -> _Known:
    """With these assets, whose hashes take the place of earlier ones."""
    asset_ids, which = np.unique(asset_ids[::-1], return_index=True)
    hashes = hashes[::-1][which]
    places = np.searchsorted(known.asset_ids, asset_ids)
    is_new = np.append(known.asset_ids, -1)[places] != asset_ids
    present = known.hashes.copy()
    present[places[~is_new]] = hashes[~is_new]
    return _Known(
        np.insert(known.asset_ids, places[is_new], asset_ids[is_new]),
        np.insert(present, places[is_new], hashes[is_new]),
        max(known.watermark, watermark),
    )


def _parse(session: Session, page: HashPage, after: int, last: int) -> tuple[Ids, Bits]:
    hashes = _as_bits(page.phashes)
    asset_ids = np.fromstring(page.asset_ids, np.int64, sep=",")
    if hashes.size == asset_ids.size:
        return asset_ids, hashes
    return _as_arrays([each for each in hashes_after(session, after) if each[0] <= last])


def _as_arrays(rows: Sequence[tuple[int, str]], each: int = 1) -> tuple[Ids, Bits]:
    """Assets and their hashes, so many of each; whatever is not that is left out with its asset."""
    bits = _as_bits("".join(digits for _, digits in rows))
    if bits.size != each * len(rows) or any(len(digits) != each * _DIGITS for _, digits in rows):
        rows = [(asset_id, digits) for asset_id, digits in rows if _as_bits(digits).size == each]
        bits = _as_bits("".join(digits for _, digits in rows))
    return np.array([asset_id for asset_id, _ in rows], np.int64), bits


def _as_bits(digits: str) -> Bits:
    """Hashes of 16 hexadecimal digits, one after another; none at all where there is anything else."""
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    # fromhex() overlooks spaces.
    is_sound = 2 * len(raw) == len(digits) and len(digits) % _DIGITS == 0
    return np.frombuffer(raw if is_sound else b"", ">u8").astype(np.uint64)


Group = list[tuple[int, int]]
"""Assets by their numbers, each with the fewest bits between it and another of the group."""


class Groups:
    """What belongs together by pairs that look alike, also where it takes others in between."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}
        self._nearest: dict[int, int] = {}

    def add(self, pairs: Iterable[Pair]) -> None:
        """Bring together what these pairs are made of."""
        for pair in pairs:
            for asset_id in (pair.one, pair.other):
                self._parents.setdefault(asset_id, asset_id)
                self._nearest[asset_id] = min(pair.distance, self._nearest.get(asset_id, pair.distance))
            one, other = self._first(pair.one), self._first(pair.other)
            self._parents[max(one, other)] = min(one, other)

    def found(self) -> list[Group]:
        """The groups in the order of their first assets, and so are the assets within."""
        groups: dict[int, Group] = defaultdict(list)
        for asset_id in sorted(self._parents):
            groups[self._first(asset_id)].append((asset_id, self._nearest[asset_id]))
        return list(groups.values())

    def _first(self, asset_id: int) -> int:
        """The first asset of its group."""
        while (parent := self._parents[asset_id]) != asset_id:
            self._parents[asset_id] = self._parents[parent]  # the next search is shorter
            asset_id = parent
        return asset_id
