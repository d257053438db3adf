"""`Similarity`, by which a World knows who looks like whom."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from sqlmodel import Session

from damd.catalogue.components import PerceptualHash
from damd.catalogue.duplicates import Neighbour
from damd.catalogue.store import Catalogue
from damd.similarity import SimilaritySettings

if TYPE_CHECKING:
    from damd.similarity.index import Index


class Similarity:
    """The hashes of all assets; a resource of the World, which reads them when the first picture is imported."""

    def __init__(self, settings: SimilaritySettings) -> None:
        self.settings = settings

    @functools.cached_property
    def _index(self) -> Index:
        from damd.similarity.index import Index

        return Index(self.settings.distance)

    async def keep_up(self, catalogue: Catalogue) -> None:
        """`Index.keep_up`."""
        await self._index.keep_up(catalogue)

    def learn(self, asset_id: int, row: PerceptualHash) -> None:
        """`Index.learn`."""
        self._index.learn(asset_id, row)

    def neighbours(self, session: Session, asset_id: int, row: PerceptualHash) -> list[Neighbour]:
        """`Index.neighbours`."""
        return self._index.neighbours(session, asset_id, row)
