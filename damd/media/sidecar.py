"""Sidecars: files that say something about the file beside them; `damd.catalogue.belonging` tells which."""

from __future__ import annotations

from dataclasses import dataclass

from damd.catalogue.components import Capture, Description, SidecarProperties
from damd.catalogue.tables import Component
from damd.media.base import Facts, Family, ProcessMediaCommand, process
from damd.media.said import said
from damd.results import IngestResult
from damd.world import World, handles_command


@dataclass(frozen=True, kw_only=True)
class ProcessSidecarCommand(ProcessMediaCommand):
    """Make an asset of a sidecar whose content is new."""


@handles_command(ProcessSidecarCommand)
async def handle_process_sidecar(cmd: ProcessSidecarCommand, world: World) -> IngestResult:
    """Read the sidecar and record it, with what it belongs to.

    Raises:
        FileError: It cannot be read, or changed meanwhile.
    """
    return await process(world, cmd, FAMILY)


def _rows(facts: Facts) -> list[Component]:
    return [SidecarProperties(**facts["properties"]), *said(facts)]


FAMILY = Family(
    name="sidecar",
    mime_types=frozenset({"application/rdf+xml", "application/json"}),
    command=ProcessSidecarCommand,
    handler=handle_process_sidecar,
    reader="sidecar",
    rows=_rows,
    tables=(SidecarProperties, Capture, Description),
)
