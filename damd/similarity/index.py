"""Perceptual hashes compared, all of them, in memory.

Two pictures are as far apart as the fewest bits in which the hash of one of them differs from the other's own, or from
that of one of its slight crops (see `damd.readers.likeness`). To compare all of these with a million pictures takes
too long, so those whose own hashes are not far apart are found first, and only they are looked at closely. Both is
done in memory. What is near there is read from the catalogue, which alone knows what is so now: which of it lies
somewhere, and how far apart it is.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import anyio
import numpy as np
import numpy.typing as npt
from sqlmodel import Session

from damd.catalogue.components import PerceptualHash
from damd.catalogue.duplicates import (
    CROPS,
    DIGITS,
    MOST_NEIGHBOURS,
    Neighbour,
    count_hashes,
    hash_page,
    hashes_after,
    hashes_of,
    settled_below,
    take_turns,
)
from damd.catalogue.store import Catalogue

_FARTHER = 14
"""How many bits the own hashes of two pictures may be farther apart than the pictures.

Of the copies that are found, 2 in 100 of those cropped by 5 % have own hashes more than 16 bits apart, and 4 in 1000
more than 20.
"""

_MOST_CANDIDATES = 20_000
"""Of those whose own hashes are near enough, how many are looked at closely, the nearest first.

Of a million random hashes, some 2,800 are within the default distance and `_FARTHER`.
"""

_MOST_ASKED = 10_000
"""Of those that look near in memory, how many the catalogue is asked about, the nearest first."""

_ASKED_AT_ONCE = (2 * MOST_NEIGHBOURS, 2_000)
"""How many at first, which mostly is enough, and how many each time thereafter."""

_PAGE = 100_000
"""Rows that are read at a time."""

_READ_EVERY = 64
"""How many imports there are between two looks at what has committed; meanwhile each reads the latest rows itself."""

_REREAD_EVERY = 1_024
"""How many imports there are at least between two readings of everything, where that is more than a page."""

_REREAD_ANYWAY = 16_384
"""After so many imports everything is read again, since a hash may change where none is added."""

Ids = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]


class _Rows(NamedTuple):
    """Assets, their own hashes, the nine of each one's crops, and whether an asset was seen to lie nowhere."""

    asset_ids: Ids
    hashes: Bits
    crops: Bits
    gone: npt.NDArray[np.bool_]

    def part(self, which: slice | npt.NDArray[np.intp]) -> _Rows:
        """Some of them: a slice of the same memory, or a copy of those at these places."""
        return _Rows(self.asset_ids[which], self.hashes[which], self.crops[which], self.gone[which])


def _empty(room: int = 0) -> _Rows:
    return _Rows(
        np.empty(room, np.int64), np.empty(room, np.uint64), np.empty((room, CROPS), np.uint64), np.zeros(room, bool)
    )


class _Known(NamedTuple):
    """What is in memory, by the assets' numbers; of those up to `watermark` nothing is missing that was there.

    `settled` is how many assets up to there have hashes at all.
    """

    rows: _Rows
    watermark: int = 0
    settled: int = 0


class Index:
    """The hashes of all assets in memory, 89 bytes each.

    What is in memory may lag behind, and may be of assets that changed: it only says whom to look at. What counts is
    read within the transaction that records a new asset. What another process hashes later, of an asset that had been
    there without hashes, is found by counting; hashes that it changes, once everything is read again.
    """

    def __init__(self, distance: int) -> None:
        self._distance = distance
        # One thread reads the catalogue into `_room` and the one that writes looks at `_known`, which is a part of it:
        # the first changes nothing that the other relies on but a hash that is in `_learnt` as well.
        self._room, self._size, self._floor = _empty(), 0, 0
        self._known = _Known(self._room)
        self._learnt: list[tuple[int, str]] = []
        self._reading = anyio.Lock()
        self._calls = 0
        self._reread_at = 0

    async def keep_up(self, catalogue: Catalogue) -> None:
        """Read what has committed since the last time, of any process; to be called before every import.

        The first call reads everything. Most others do nothing, since `neighbours` sees the latest rows by itself.

        Raises:
            CatalogueUnavailableError: It cannot be read now.
        """
        async with self._reading:
            if self._calls % _READ_EVERY == 0:
                after: int | None = await catalogue.read(self._begin)
                while after is not None:
                    after = await catalogue.read(functools.partial(self._read_page, after=after))
            self._calls += 1

    def _begin(self, session: Session) -> int:
        """Where to read on; at the beginning, if something appeared, or is gone, where all had been read."""
        known, since = self._known, self._calls - self._reread_at
        may = known.rows.asset_ids.size <= _PAGE or since >= _REREAD_EVERY
        if since < _REREAD_ANYWAY and not (may and count_hashes(session, 0, known.watermark) != known.settled):
            self._floor = known.watermark
            return known.watermark
        self._reread_at = self._calls
        self._room, self._size, self._floor = _empty(), 0, 0  # what was known is looked at until all has been read
        return 0

    def _read_page(self, session: Session, after: int) -> int | None:
        """Returns the number after which the next page begins; None: this was the last one."""
        page = hash_page(session, after, _PAGE)
        if page is None:
            self._publish(session, after)
            return None
        last = int(page.asset_ids.rpartition(",")[2])
        asset_ids, bits = np.fromstring(page.asset_ids, np.int64, sep=","), _as_bits(page.digits)
        is_sound = bits.size == asset_ids.size * (1 + CROPS)
        rows = _split(asset_ids, bits) if is_sound else _as_rows(hashes_after(session, after, last))
        self._append(rows, after)
        return last

    def _append(self, rows: _Rows, after: int) -> None:
        """Put these behind the asset of that number, in the place of whatever was there."""
        start = int(np.searchsorted(self._room.asset_ids[: self._size], after, "right"))
        self._size = start + rows.asset_ids.size
        if self._size > self._room.asset_ids.size:
            room = _empty(2 * self._size)  # what is never written to takes no memory
            for mine, former in zip(room, self._room, strict=True):
                mine[:start] = former[:start]
            self._room = room
        for mine, added in zip(self._room, rows, strict=True):
            mine[start : self._size] = added

    def _publish(self, session: Session, last: int) -> None:
        """Have all that was read looked at, and what was learnt meanwhile."""
        watermark = max(self._floor, settled_below(session, last))
        settled = (self._known.settled if self._floor else 0) + count_hashes(session, self._floor, watermark)
        learnt = len(self._learnt)
        rows = _as_rows(sorted(dict(self._learnt[:learnt]).items()))
        places = np.searchsorted(self._room.asset_ids[: self._size], rows.asset_ids)
        is_new = np.append(self._room.asset_ids[: self._size], -1)[places] != rows.asset_ids
        for mine, changed in zip(self._room, rows, strict=True):
            mine[places[~is_new]] = changed[~is_new]
        if is_new.any():
            present = self._room.part(slice(self._size))
            wider = (
                np.insert(one, places[is_new], new[is_new], axis=0) for one, new in zip(present, rows, strict=True)
            )
            self._room = _Rows(*wider)
            self._size = self._room.asset_ids.size
        self._known = _Known(self._room.part(slice(self._size)), watermark, settled)
        del self._learnt[:learnt]

    def learn(self, asset_id: int, row: PerceptualHash) -> None:
        """An asset that is not new has these hashes now, and that has committed."""
        if row.crops != "":
            self._learnt.append((asset_id, row.phash + (row.crops or row.phash * CROPS)))

    def neighbours(self, session: Session, asset_id: int, row: PerceptualHash) -> list[Neighbour]:
        """The assets that look like this one, nearest first, within the configured distance; at most 100.

        Called in the transaction that records the asset, where it sees all that was recorded before, so that two
        pictures which are imported at the same moment find each other. It only reads. An asset that lies nowhere, or
        only where it is missing, is nobody's neighbour; when it comes back, what comes after finds it.

        Args:
            session: The transaction.
            asset_id: The asset, which may be recorded already; it is no neighbour of its own.
            row: Its hashes.
        """
        own, crops = _as_bits(row.phash), _as_bits(row.crops if row.crops is not None else row.phash * CROPS)
        if own.size != 1 or crops.size == 0:
            return []
        take_turns(session)
        rows = self._known.rows
        found: list[tuple[int, int]] = []
        for asked in self._near(session, own[0], crops):
            wanted = asked[asked != asset_id]
            present = _as_rows(hashes_of(session, wanted.tolist()))
            distances = _apart(own[0], crops, present)
            is_near = distances <= self._distance
            found += zip(distances[is_near].tolist(), present.asset_ids[is_near].tolist(), strict=True)
            _mark_gone(rows, wanted, present.asset_ids)
            if len(found) >= MOST_NEIGHBOURS:
                break
        return [Neighbour(other, distance) for distance, other in sorted(found)[:MOST_NEIGHBOURS]]

    def _near(self, session: Session, own: np.uint64, crops: Bits) -> Iterator[Ids]:
        """The assets that are near in memory or behind what is there, the nearest first; in parts.

        Those that were seen to lie nowhere come last, and no more than two thousand of them: they may be back.
        """
        latest = _as_rows([*hashes_after(session, self._known.watermark), *self._learnt])
        near, gone = [], []
        for rows in (self._known.rows, latest):
            close = rows.part(_candidates(rows, own, self._distance + _FARTHER))
            distances = _apart(own, crops, close).astype(np.int64)
            is_near = distances <= self._distance
            keys = np.column_stack([distances, close.asset_ids])
            near.append(keys[is_near & ~close.gone])
            gone.append(keys[is_near & close.gone])
        asked = np.concatenate([_nearest(near, _MOST_ASKED), _nearest(gone, _ASKED_AT_ONCE[1])])
        first, more = _ASKED_AT_ONCE
        ends = [0, *range(first, asked.size, more), asked.size]
        for start, end in itertools.pairwise(ends):
            if end > start:
                yield asked[start:end]


def _candidates(rows: _Rows, own: np.uint64, within: int) -> npt.NDArray[np.intp]:
    """Where those are whose own hashes are near enough; those that lie nowhere give way to others."""
    distances = np.bitwise_count(rows.hashes ^ own)
    places = np.flatnonzero(distances <= within)
    if places.size > _MOST_CANDIDATES:
        order = distances[places] + np.uint8(64) * rows.gone[places]
        places = places[np.argpartition(order, _MOST_CANDIDATES)[:_MOST_CANDIDATES]]
    return places


def _nearest(keys: Sequence[npt.NDArray[np.int64]], most: int) -> Ids:
    """The assets of these distances and numbers, each once."""
    rows = np.concatenate(keys)
    nearest = rows[np.lexsort(rows.T[::-1])[:most], 1]
    return np.array(list(dict.fromkeys(nearest.tolist())), np.int64)


def _mark_gone(rows: _Rows, asked: Ids, present: Ids) -> None:
    """Remember which lie nowhere, for later searches; only a hint, which another thread may overwrite."""
    if rows.asset_ids.size == 0:
        return
    places = np.minimum(np.searchsorted(rows.asset_ids, asked), rows.asset_ids.size - 1)
    is_known = rows.asset_ids[places] == asked
    rows.gone[places[is_known]] = ~np.isin(asked, present)[is_known]


def _apart(own: np.uint64, crops: Bits, others: _Rows) -> npt.NDArray[np.uint8]:
    """How far each of the others is, its crops and these considered."""
    bits = np.column_stack([others.hashes ^ own, others.crops ^ own, others.hashes[:, None] ^ crops])
    apart: npt.NDArray[np.uint8] = np.bitwise_count(bits).min(axis=1)
    return apart


def _split(asset_ids: Ids, bits: Bits) -> _Rows:
    table = bits.reshape(-1, 1 + CROPS)
    return _Rows(asset_ids, table[:, 0], table[:, 1:], np.zeros(asset_ids.size, bool))


def _as_rows(found: Sequence[tuple[int, str]]) -> _Rows:
    """Assets and their hashes' digits; whatever is not that is left out with its asset."""
    length = (1 + CROPS) * DIGITS
    bits = _as_bits("".join(digits for _, digits in found))
    if bits.size != (1 + CROPS) * len(found) or any(len(digits) != length for _, digits in found):
        found = [(asset_id, digits) for asset_id, digits in found if _as_bits(digits).size == 1 + CROPS]
        bits = _as_bits("".join(digits for _, digits in found))
    return _split(np.array([asset_id for asset_id, _ in found], np.int64), bits)


def _as_bits(digits: str) -> Bits:
    """Hashes of 16 hexadecimal digits, one after another; none at all where there is anything else."""
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    # fromhex() overlooks spaces.
    is_sound = 2 * len(raw) == len(digits) and len(digits) % DIGITS == 0
    return np.frombuffer(raw if is_sound else b"", ">u8").astype(np.uint64)
