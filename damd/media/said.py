"""What a file says of itself in the same words, whatever its family: about its capture, its subject, its other half."""

from __future__ import annotations

from damd.catalogue.components import Capture, ContentIdentifier, Description
from damd.catalogue.tables import Component
from damd.media.base import Facts

SAID = (Capture, Description, ContentIdentifier)
"""The tables of what `said` makes."""


def said(facts: Facts) -> list[Component]:
    """The components that a reader's facts of these kinds make; none of what the file says nothing about."""
    rows: list[Component] = []
    if facts.get("capture"):
        rows.append(Capture(**facts["capture"]))
    if facts.get("description"):
        rows.append(Description(**facts["description"]))
    if facts.get("content_identifier"):
        rows.append(ContentIdentifier(identifier=facts["content_identifier"]))
    return rows
