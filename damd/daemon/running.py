"""A daemon's life: what is entered first is left last.

The order is what loses nothing. Watches are armed before trees are compared; systemd hears READY when they
are armed, since a first scan may take hours. At the end the watchers stop first, then the commands in work
end, and the rest is found again at the next start.
"""

from __future__ import annotations

import functools
import math
import os
import resource
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import anyio
import anyio.to_thread
import structlog
from sqlmodel import Session

from damd import __version__, control, logs, systemd
from damd.assembly import forget_what_is_read_now, open_world, places_of, register_systems, take_over
from damd.catalogue.sole import Hold, sole_daemon, this_daemon
from damd.catalogue.store import Catalogue
from damd.checks.environment import check_environment
from damd.config import Config
from damd.daemon.answers import Answers
from damd.daemon.reloading import Reloader, Source
from damd.daemon.signals import Signals, receive_signals
from damd.daemon.standing import Standing
from damd.daemon.state_folder import locked, make_state_folder, mind_state
from damd.daemon.subscribing import Subscribing
from damd.daemon.supervision import Supervision
from damd.daemon.watching import Watching
from damd.errors import CatalogueUnavailableError, ConfigurationError
from damd.events import Subscription
from damd.intake import COMMANDS_PER_WORKER, Intake
from damd.relay.listeners import Listeners
from damd.relay.relay import Relay, subscriptions_of
from damd.sandbox import Sandbox
from damd.settings import Settings
from damd.subscribers.base import Subscriber
from damd.subscribers.log import with_failures
from damd.world import World

_log = structlog.get_logger(__name__)

_MOST_DESCRIPTORS = 65_536
_FAREWELL_S = 30.0
"""For all that ends after what is in work: deliveries under way, workers, the catalogue."""
_STUCK_AFTER_TIMEOUTS = 3
_STUCK_AFTER_S = 60.0
"""A file may take its time twice, and what cannot be done alone waits for its neighbours; a minute beyond all that."""


async def run(config: Config, source: Source | None = None) -> None:
    """Run until SIGTERM or SIGINT; then finish what is in work. A second signal ends the process at once.

    What is still in work after ``ingest.timeout`` is given up, and found again at the next start. SIGHUP reads the
    configuration again.

    Args:
        config: What is in force at first.
        source: Where it was read, to read it again; None: every reload is refused.

    Raises:
        ConfigurationError: No root is named, the state folder cannot be made, or a secret cannot be read.
        CatalogueError: The catalogue cannot be used, or another daemon runs on it.
    """
    async with anyio.create_task_group() as listening:
        # To the very end: what is in work may take its time to end, and a second signal must find a handler.
        signals = await listening.start(receive_signals)
        await _run(config, source or Source(), signals)
        listening.cancel_scope.cancel()


async def _run(config: Config, source: Source, signals: Signals) -> None:
    problems = await anyio.to_thread.run_sync(functools.partial(check_environment, config, roots=False))
    if not config.watch:
        problems.append("watch: no folder is named: do so in the configuration, or with damd run --watch DIR")
    if problems:
        raise ConfigurationError(problems)
    async with AsyncExitStack() as stack:
        await anyio.to_thread.run_sync(make_state_folder, config.state)
        _raise_descriptor_limit()
        stack.enter_context(locked(config.state, this_daemon()))
        # Before the catalogue is opened, which may change its schema under another daemon.
        hold = await stack.enter_async_context(sole_daemon(config.catalogue, config.state))
        # Entered before the World, and so left after the last of its events.
        subscribing, subscribers = await stack.enter_async_context(Subscribing.opened(_entries(config)))
        world = await stack.enter_async_context(open_world(config))
        register_systems(world)
        await forget_what_is_read_now(world, config)
        await Daemon(config, source, world, subscribing, subscribers, hold).run(signals)


def _entries(config: Config) -> Sequence[Settings]:
    """The subscribers; failures and held roots reach the log, whatever the configuration says."""
    return with_failures(config.subscribers)


class Daemon:
    """What runs beside the World: the watched roots, the intake, the relay, the control socket and reloads."""

    def __init__(
        self,
        config: Config,
        source: Source,
        world: World,
        subscribing: Subscribing,
        subscribers: Sequence[Subscriber],
        hold: Hold,
    ) -> None:
        self._world = world
        self._subscribing = subscribing
        self._subscribers = subscribers
        self._hold = hold
        self._relay = Relay(world.get_resource(Catalogue), subscribers, keep=config.events.keep)
        self._relay.listen(world)
        self._listeners = Listeners(subscribers)
        self._listeners.listen(world)
        workers = world.get_resource(Sandbox).worker_count
        self._intake = Intake(world, concurrency=COMMANDS_PER_WORKER * workers)
        self._watching = Watching(world, self._intake, config.state, self._all_compared)
        self._standing = Standing(
            config=config, path=source.path, intake=self._intake, watching=self._watching, relay=self._relay
        )
        self._supervision = Supervision(self._standing.sentence, self._is_stuck)
        self._reloader = Reloader(source, self._standing, self._apply)
        self._armed = anyio.Event()
        self._drained = anyio.Event()

    async def run(self, signals: Signals) -> None:
        """Run until a signal asks to stop."""
        signals.on_reload(self._reloader.ask)
        await self._run_until(signals.stop)
        _log.info("stopped", **self._intake.outcomes)

    async def _run_until(self, stop: anyio.Event) -> None:
        config, path = self._standing.config, self._standing.path
        known = {"config": str(path)} if path is not None else {}
        known["state"] = str(config.state)
        _log.info("started", version=__version__, **known, roots=list(config.roots), pid=os.getpid())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._relay.run)
            tasks.start_soon(self._take_in)
            tasks.start_soon(self._supervision.feed_watchdog)
            tasks.start_soon(self._supervision.keep_status)
            tasks.start_soon(mind_state, config, self._hold)
            answers = Answers(self._world, self._standing, self._reloader)
            await tasks.start(functools.partial(control.serve, config.state, answers.by_command))
            if config.http is not None:
                from damd.web.serving import serve

                await tasks.start(serve, config.http, answers)
            async with anyio.create_task_group() as working:
                await working.start(self._watching.run)
                working.start_soon(self._begin)
                await stop.wait()
                self._standing.is_stopping = True
                await self._supervision.tell(systemd.stopping)
                await self._supervision.tell_status()
                _log.info("stopping", in_work=self._intake.lanes.in_work)
                drain_s = config.ingest.timeout.total_seconds()
                tasks.start_soon(self._supervision.ask_for_time, drain_s + _FAREWELL_S)
                working.cancel_scope.cancel()
            self._intake.stop()
            with anyio.move_on_after(drain_s) as drain:
                await self._drained.wait()
            if drain.cancelled_caught:
                _log.warning("left for the next start", in_work=self._intake.lanes.in_work)
            tasks.cancel_scope.cancel()

    async def _begin(self) -> None:
        """Watch the roots; from then on, reload when that is asked for."""
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(self._supervision.ask_for_time, math.inf)
            await self._watching.enter(self._standing.config.roots)
            waiting.cancel_scope.cancel()
        self._standing.is_armed = True
        await self._supervision.ready()
        self._armed.set()
        await self._reloader.run(self._begin_reload, self._supervision.ready)

    async def _begin_reload(self) -> None:
        await self._supervision.tell(systemd.reloading)

    async def _all_compared(self) -> None:
        await self._armed.wait()
        absent = [root.tree.root for root in self._watching.roots if root.state.backend is None]
        _log.info("ready", roots=len(self._watching.roots), **({"not_watched": absent} if absent else {}))
        await self._supervision.tell_status()

    async def _apply(self, old: Config, new: Config) -> None:
        """Have the new configuration in force instead of the old one.

        First comes all that can fail, up to the one transaction that tells the catalogue; what follows is done here.

        Raises:
            ConfigurationError: A subscriber cannot be entered, or a root's name means another folder; the old
                configuration is in force.
            CatalogueUnavailableError: The catalogue does not take it now; the same.
        """
        subscribers = await self._subscribing.enter(_entries(new))
        try:
            await self._take_over(old, new, subscriptions_of(subscribers))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._subscribing.keep(self._subscribers)
            raise
        if new.logging != old.logging:
            logs.configure(new.logging.level, new.logging.format)
        await self._relay.change(subscribers, keep=new.events.keep)
        await self._listeners.change(subscribers)
        self._subscribers = subscribers
        await self._subscribing.keep(subscribers)
        await self._subscribing.renew()
        await self._watching.enter(new.roots)

    async def _take_over(self, old: Config, new: Config, subscriptions: Mapping[str, Subscription]) -> None:
        """Tell the catalogue, once nothing is in work any more in the roots that are left."""
        places = await places_of(self._world, new)
        leaving = self._watching.differing(new.roots, {place.root: place.path for place in places})
        if not leaving and new.watch == old.watch and new.subscribers == old.subscribers:
            return
        await self._world.get_resource(Catalogue).write(_nothing)  # one that takes nothing had better say so now
        try:
            await self._watching.leave(leaving, within_s=old.ingest.timeout.total_seconds())
            await take_over(self._world, new, places, subscriptions)
        except CatalogueUnavailableError:
            await self._watching.enter(old.roots)
            raise

    def _is_stuck(self) -> bool:
        timeout_s = self._standing.config.ingest.timeout.total_seconds()
        watched = {root.tree.root for root in self._watching.roots if root.state.backend is not None}
        return self._intake.is_stuck(watched, for_s=_STUCK_AFTER_TIMEOUTS * timeout_s + _STUCK_AFTER_S)

    async def _take_in(self) -> None:
        await self._intake.run()
        self._drained.set()


def _nothing(_session: Session) -> None:
    pass


def _raise_descriptor_limit() -> None:
    """Take what the system allows: connections, watches and workers share what is often only 1024 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
