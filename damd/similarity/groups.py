"""What belongs together by pairs that look alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from damd.catalogue.duplicates import Pair

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
