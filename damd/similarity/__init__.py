"""Who looks like whom: `index` compares perceptual hashes, `groups` puts pairs together, `resource` is the World's.

The index is numpy's work, and numpy takes a tenth of a second to load: who imports no picture does without it.
"""

from __future__ import annotations

from pydantic import Field

from damd.settings import Settings


class SimilaritySettings(Settings):
    """The section ``similarity:``."""

    distance: int = Field(default=6, ge=0, le=16, strict=True)
    """The most bits in which their perceptual hashes of 64 differ: 0 to 16. It counts when a picture is imported; those
    that are there already are compared again when they are read again."""
