"""How damd stands: what its daemon says, or, where none runs, what the catalogue says without it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from damd.cli.asking import ask_status

if TYPE_CHECKING:
    from damd.config import Config


async def catalogue_alone(config: Config) -> dict[str, int] | None:
    """How much the catalogue holds; None where there is none: a question does not begin one."""
    from damd.assembly import open_world
    from damd.catalogue.describe import summary
    from damd.catalogue.engine import catalogue_exists
    from damd.catalogue.store import Catalogue

    if not catalogue_exists(config.catalogue, config.state):
        return None
    async with open_world(config, claims_roots=False) as world:
        return await world.get_resource(Catalogue).read(summary)


async def ask_again_and_again(config: Config, *, pause_s: float) -> AsyncIterator[dict[str, Any]]:
    """What the daemon says of itself, each time that it is asked, for ever.

    Args:
        config: Whose daemon.
        pause_s: From one answer to the next question.

    Yields:
        The daemon's answer; while none runs, only what `catalogue_alone` says, as ``catalogue``.
    """
    import anyio

    while True:
        yield await ask_status(config) or {"catalogue": await catalogue_alone(config)}
        await anyio.sleep(pause_s)
