"""What is examined: a configuration, and a World that is its own where its catalogue opens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import anyio.to_thread

from damd.assembly import open_world, register_systems
from damd.catalogue.engine import CatalogueSettings, catalogue_exists
from damd.checks.findings import Finding
from damd.config import Config
from damd.errors import CatalogueError
from damd.units.installed import Service
from damd.world import World


@dataclass(frozen=True, kw_only=True)
class Patient:
    """Who is examined.

    Attributes:
        config: The configuration.
        world: Its World, with damd's systems; or one like it, with an empty catalogue.
        has_catalogue: Whether the World's catalogue is the configuration's own.
        because: Why it is not, though there is one.
        scratch: A folder for the time being.
        service: The service that starts the configuration, if there is one.
    """

    config: Config
    world: World
    has_catalogue: bool
    because: str | None
    scratch: Path
    service: Service | None = None


Examination: TypeAlias = Callable[[Patient], Awaitable[list[Finding]]]
"""Looks at what takes a World."""


@asynccontextmanager
async def admitted(
    config: Config, scratch: Path, *, may_open: bool, service: Service | None = None
) -> AsyncIterator[Patient]:
    """The patient, until it is left.

    Args:
        config: The configuration.
        scratch: An empty folder, for the time being.
        may_open: Whether its catalogue is worth opening; one that does not answer would be waited for.
        service: The service that starts the configuration, if there is one.

    Raises:
        ConfigurationError: A plugin cannot be set up.
    """
    there = may_open and await anyio.to_thread.run_sync(catalogue_exists, config.catalogue, config.state)
    because = None
    async with AsyncExitStack() as stack:
        world = None
        if there:
            try:
                world = await stack.enter_async_context(open_world(config, claims_roots=False))
            except (CatalogueError, OSError) as error:
                because = str(error)
        is_own = world is not None
        if world is None:
            like_it = config.model_copy(update={"state": scratch / "state", "catalogue": CatalogueSettings()})
            world = await stack.enter_async_context(open_world(like_it, claims_roots=False))
        register_systems(world)
        yield Patient(
            config=config, world=world, has_catalogue=is_own, because=because, scratch=scratch, service=service
        )
