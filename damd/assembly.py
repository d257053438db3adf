"""The composition root: a World with all its resources, and which systems there are."""

from __future__ import annotations

import functools
import importlib
import os
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import anyio.to_thread
from sqlalchemy import Engine
from sqlmodel import Session

from damd.catalogue.endpoints import are_attached, attach, known_endpoints
from damd.catalogue.engine import make_engine
from damd.catalogue.failing import forget_outdated
from damd.catalogue.roots import Place, Roots, claim, known_roots
from damd.catalogue.schema import upgrade
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Root, Table, now
from damd.config import Config
from damd.errors import ConfigurationError
from damd.events import Subscription, readable
from damd.ingest import HANDLERS
from damd.ingest.policy import RootPolicies, RootPolicy
from damd.media import FAMILIES
from damd.media.base import Families
from damd.mounts import Mounts
from damd.patience import is_folder, real_path
from damd.sandbox import Sandbox
from damd.similarity.resource import Similarity
from damd.thumbnails import Thumbnails, in_use
from damd.world import World


@asynccontextmanager
async def open_world(config: Config, *, claims_roots: bool = True) -> AsyncIterator[World]:
    """A running World with every resource and no systems: `register_systems` adds damd's own.

    Args:
        config: What `damd.config.load_config` returns, or made by hand.
        claims_roots: Whether the catalogue is told of the configured roots, which may move locations to
            their keys, and of the configured endpoints, which hear from then on; who only asks leaves it as it is.

    Raises:
        CatalogueError: The catalogue cannot be opened; the message says why and what to do.
        ConfigurationError: A root's name already means another folder.
    """
    async with AsyncExitStack() as stack:
        engine = await anyio.to_thread.run_sync(_open_catalogue, config)
        stack.callback(engine.dispose)
        catalogue = Catalogue(engine)
        sandbox = await stack.enter_async_context(Sandbox(config.ingest))
        thumbnails = Thumbnails(config.thumbnails, config.state / "previews", sandbox)
        await anyio.to_thread.run_sync(thumbnails.prepare)
        stack.enter_context(in_use(thumbnails))
        mounts = stack.enter_context(closing(Mounts()))
        world = World()
        if claims_roots:
            await _claim_endpoints(config, catalogue)
        roots = await (_claim_roots(config, catalogue) if claims_roots else catalogue.read(known_roots))
        following = _following(config)
        policies, places = RootPolicies(_policies(config, roots)), Roots(roots, mounts, following)
        families, similarity = Families(FAMILIES), Similarity(config.similarity)
        for resource in (config, catalogue, mounts, places, policies, sandbox, similarity, thumbnails, families):
            world.add_resource(resource)
        yield await stack.enter_async_context(world)


def register_systems(world: World) -> None:
    """Register damd's own systems, then those of the plugins that the configuration names.

    Raises:
        ConfigurationError: A plugin's ``setup`` failed.
    """
    for handler in HANDLERS:
        world.register_system(handler)
    for family in world.get_resource(Families):
        world.register_system(family.handler)
    for plugin in world.get_resource(Config).plugins:
        _set_up(plugin, world)


def _set_up(plugin: str, world: World) -> None:
    try:
        importlib.import_module(plugin).setup(world)
    except Exception as error:
        *_, innermost = traceback.extract_tb(error.__traceback__)
        what = f"{Path(innermost.filename).name}:{innermost.lineno}: {type(error).__name__}: {error}"
        raise ConfigurationError([f"plugins: setup(world) of {plugin} failed ({what})"]) from error


async def places_of(world: World, config: Config) -> list[Place]:
    """The configured roots, each by its name and the real path of its folder, if they can be those of this catalogue.

    Raises:
        ConfigurationError: A root's name already means another folder, which is still there.
        CatalogueUnavailableError: The catalogue cannot be asked now.
    """
    known = await world.get_resource(Catalogue).read(known_roots)
    look = functools.partial(_wanted_roots, config, {root.name: root.path for root in known})
    return await anyio.to_thread.run_sync(look, abandon_on_cancel=True)


async def take_over(
    world: World, config: Config, places: Sequence[Place], subscriptions: Mapping[str, Subscription]
) -> None:
    """Have the roots and the endpoints of another configuration from now on: one transaction, or nothing.

    Args:
        world: Whose catalogue and roots.
        config: The other configuration.
        places: What `places_of` says of it. Best nothing is in work in the roots that are left: what is, keeps the
            keys that it has, and is found again under the new ones.
        subscriptions: What each endpoint asks for, by its name; any other is removed.

    Raises:
        CatalogueUnavailableError: The catalogue does not take it now: nothing has changed.
    """
    forget = _forgetting(world, config)

    def change(session: Session) -> list[Root]:
        roots = claim(session, places)
        forget(session)
        attach(session, subscriptions, at=now(), sole=True)
        return roots

    roots = await world.get_resource(Catalogue).write(change)
    world.get_resource(Roots).renew(roots, _following(config))
    world.get_resource(RootPolicies).renew(_policies(config, roots))


async def forget_what_is_read_now(world: World, config: Config) -> None:
    """Let scans find the files again that failed, where a family, a newer reader, or their root takes them now.

    Called once all systems are registered.
    """
    await world.get_resource(Catalogue).write(_forgetting(world, config))


def _forgetting(world: World, config: Config) -> Callable[[Session], object]:
    roots = [name for name, root in config.roots.items() if root.unsupported == "catalogue"]
    types, readers = world.get_resource(Families).mime_types, world.get_resource(Sandbox).versions
    return functools.partial(forget_outdated, roots=roots, mime_types=types, readers=readers)


async def _claim_endpoints(config: Config, catalogue: Catalogue) -> None:
    """Tell the catalogue of the endpoints, also where no daemon runs yet: what is imported now, they hear of later."""
    subscriptions = config.endpoints
    if not are_attached(await catalogue.read(known_endpoints), subscriptions):
        await catalogue.write(functools.partial(attach, subscriptions=subscriptions, at=now()))


async def _claim_roots(config: Config, catalogue: Catalogue) -> list[Root]:
    """Tell the catalogue of the configured roots; returns all that it was ever told of."""
    known = await catalogue.read(known_roots)
    wanted = await anyio.to_thread.run_sync(_wanted_roots, config, {root.name: root.path for root in known})
    if set(wanted) <= {(root.name, root.path) for root in known}:
        return known
    return await catalogue.write(functools.partial(claim, wanted=wanted))


def _wanted_roots(config: Config, known: Mapping[str, bytes]) -> list[Place]:
    """The configured roots by the real paths of their folders.

    Raises:
        ConfigurationError: A root's name already means another folder, which is still there; one that is
            gone may have moved.
    """
    wanted, problems = [], []
    for name, root in config.roots.items():
        path = os.fsencode(real_path(root.path))
        wanted.append(Place(name, path))
        if known.get(name, path) != path and is_folder(os.fsdecode(known[name])):
            other = readable(known[name])
            problems.append(
                f"watch: the catalogue knows {name} as {other}, which is still there: give {root.path} another name"
            )
    if problems:
        raise ConfigurationError(problems)
    return wanted


def _following(config: Config) -> list[str]:
    return [name for name, root in config.roots.items() if root.follow_symlinks]


def _policies(config: Config, roots: Iterable[Root]) -> dict[str, RootPolicy]:
    claimed_at = {root.name: root.claimed_at for root in roots}
    return {
        name: RootPolicy(
            catalogue_unsupported=root.unsupported == "catalogue",
            silent_before=claimed_at[name] if root.announce == "new" else None,
            follow_symlinks=root.follow_symlinks,
        )
        for name, root in config.roots.items()
        if name in claimed_at
    }


def _open_catalogue(config: Config) -> Engine:
    for plugin in config.plugins:
        importlib.import_module(plugin)  # a Config that no file was read for; its tables are made here
    engine = make_engine(config.catalogue, config.state)
    try:
        upgrade(engine, Table.metadata)
    except BaseException:
        engine.dispose()
        raise
    return engine
