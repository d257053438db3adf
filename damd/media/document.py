"""Documents: `ProcessDocumentCommand`, its handler, and what a document has that nothing else has."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Field

from damd.catalogue.tables import Component
from damd.media.base import Extra, Facts, Family, ProcessMediaCommand, process
from damd.results import IngestResult
from damd.world import World, handles_command


class DocumentProperties(Component, table=True):
    """A document; `pages` is None where it is `encrypted` and tells nothing.

    `created_at` is ISO 8601 in whole seconds, with its offset where the file says one.
    """

    __tablename__ = "document_properties"

    encrypted: bool
    pages: int | None = None
    title: str | None = Field(default=None, max_length=500)
    author: str | None = Field(default=None, max_length=500)
    created_at: str | None = Field(default=None, max_length=32)


@dataclass(frozen=True, kw_only=True)
class ProcessDocumentCommand(ProcessMediaCommand):
    """Make an asset of a document whose content is new."""


@handles_command(ProcessDocumentCommand)
async def handle_process_document(cmd: ProcessDocumentCommand, world: World) -> IngestResult:
    """Read the document, make previews of its first page, record it.

    Raises:
        FileError: It cannot be read, or changed meanwhile.
    """
    return await process(world, cmd, FAMILY)


def _rows(facts: Facts) -> list[Component]:
    return [DocumentProperties(**facts["properties"])]


EXTRA = Extra("documents", {"pypdfium2": "pypdfium2"})
_TYPES = frozenset({"application/pdf"})

FAMILY = Family(
    name="document",
    mime_types=_TYPES,
    command=ProcessDocumentCommand,
    handler=handle_process_document,
    reader="document",
    rows=_rows,
    tables=(DocumentProperties,),
    extras=dict.fromkeys(_TYPES, EXTRA),
)
