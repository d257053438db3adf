"""Who looks like whom: `index` compares perceptual hashes, `groups` puts pairs together, `resource` is the World's.

The index is numpy's work, and numpy takes a tenth of a second to load: who imports no picture does without it.
"""

from __future__ import annotations

from pydantic import Field

from damd.settings import Settings


class SimilaritySettings(Settings):
    """The section ``similarity:``."""

    distance: int = Field(default=6, ge=0, le=16, strict=True)
    """The most bits in which the hashes of pictures that look alike differ."""
