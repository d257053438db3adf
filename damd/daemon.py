"""``damd run``: watchers, intake, World, relay, signals, drain.

The order is what loses nothing. Watches are armed before trees are compared; systemd hears READY when they
are armed, since a first scan may take hours. At the end the watchers stop first, then the commands in work
end, and the rest is found again at the next start.
"""

from __future__ import annotations

import fcntl
import functools
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup, TaskStatus

from damd import control, systemd
from damd.answers import Answers
from damd.assembly import forget_what_is_read_now, open_world, register_systems
from damd.catalogue.engine import STATE_MODE
from damd.catalogue.roots import Roots
from damd.catalogue.store import Catalogue
from damd.checks.environment import check_environment
from damd.config import Config
from damd.errors import CatalogueError, CatalogueInUseError, ConfigurationError
from damd.intake import COMMANDS_PER_WORKER, Intake
from damd.mounts import Mounts
from damd.relay.relay import Relay, listen
from damd.sandbox import Sandbox
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import Subscriber
from damd.watch.base import RootSettings
from damd.watch.ignore import IgnoreRules
from damd.watch.root import WatchedRoot
from damd.watch.scan import Surroundings
from damd.watch.tree import Tree
from damd.world import World

_log = structlog.get_logger(__name__)

_LOCK = "daemon.lock"
_CANARIES = "canaries"
"""Files that are touched to see whether the kernel's events still arrive; one for each root, none in a root."""
_MIND_STATE_S = 5.0
_MOST_DESCRIPTORS = 65_536
_ONE_REQUEST_S = 0.3
"""timeout(1) and its like signal the process and then its group; nobody's second thought is that quick."""


async def run(config: Config) -> None:
    """Run until SIGTERM, SIGINT or SIGHUP; then finish what is in work. A second signal ends the process at once.

    What is still in work after ``ingest.timeout`` is given up, and found again at the next start.

    Raises:
        ConfigurationError: No root is named, the state folder cannot be made, or a secret cannot be read.
        CatalogueError: The catalogue cannot be used, or another daemon runs on it.
    """
    problems = await anyio.to_thread.run_sync(functools.partial(check_environment, config, roots=False))
    if not config.watch:
        problems.append("watch: no folder is named: do so in the configuration, or with damd run --watch DIR")
    if problems:
        raise ConfigurationError(problems)
    async with AsyncExitStack() as stack:
        await anyio.to_thread.run_sync(_make_state_folder, config.state)
        _raise_descriptor_limit()
        stack.enter_context(_sole_daemon(config.state))
        # Entered before the World, and so left after the last of its events.
        subscribers = [await _open_subscriber(stack, settings) for settings in config.subscribers]
        world = await stack.enter_async_context(open_world(config))
        register_systems(world)
        await forget_what_is_read_now(world)
        relay = Relay(world.get_resource(Catalogue), subscribers, keep=config.events.keep)
        relay.listen(world)
        listen(world, subscribers)
        await Daemon(config, world, relay).run()


async def _open_subscriber(stack: AsyncExitStack, settings: Settings) -> Subscriber:
    # Each kind takes its own settings; the configuration has found their type by the same word.
    make: Callable[[Settings], Subscriber] = SUBSCRIBERS[getattr(settings, "kind", "")]
    subscriber = make(settings)
    if isinstance(subscriber, AbstractAsyncContextManager):
        await stack.enter_async_context(subscriber)
    return subscriber


class Daemon:
    """What runs beside the World: the watched roots, the intake, the relay and the control socket."""

    def __init__(self, config: Config, world: World, relay: Relay) -> None:
        self._config = config
        self._world = world
        self._relay = relay
        workers = world.get_resource(Sandbox).worker_count
        self._intake = Intake(world, concurrency=COMMANDS_PER_WORKER * workers)
        self._roots = [
            _watched_root(name, settings, config.state, world, functools.partial(self._are_others_busy, name))
            for name, settings in config.roots.items()
        ]
        self._unscanned = {root.tree.root for root in self._roots}
        self._armed = anyio.Event()
        self._drained = anyio.Event()
        self._systemd_thread = anyio.CapacityLimiter(1)
        self._state_thread = anyio.CapacityLimiter(1)

    async def run(self) -> None:
        """Run until a signal asks to stop."""
        async with anyio.create_task_group() as listening:
            # Until the very end: what is in work may take its time to end, and a second signal must find a handler.
            stop = await listening.start(_receive_signals)
            await self._run_until(stop)
            listening.cancel_scope.cancel()
        _log.info("stopped", **self._intake.outcomes)

    async def _run_until(self, stop: anyio.Event) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._relay.run)
            tasks.start_soon(self._take_in)
            tasks.start_soon(self._feed_watchdog)
            tasks.start_soon(self._mind_state)
            answers = Answers(self._config, self._world, self._intake, self._roots).by_command
            await tasks.start(lambda task_status: control.serve(self._config.state, answers, task_status=task_status))
            async with anyio.create_task_group() as watching:
                watching.start_soon(self._watch, watching)
                await stop.wait()
                await self._tell_systemd(systemd.stopping)
                _log.info("stopping", in_work=self._intake.in_work)
                watching.cancel_scope.cancel()
            self._intake.stop()
            with anyio.move_on_after(self._config.ingest.timeout.total_seconds()) as drain:
                await self._drained.wait()
            if drain.cancelled_caught:
                _log.warning("left for the next start", in_work=self._intake.in_work)
            tasks.cancel_scope.cancel()

    async def _watch(self, watching: TaskGroup) -> None:
        # Together, since one that does not answer takes its time.
        async with anyio.create_task_group() as starting:
            for root in self._roots:
                starting.start_soon(watching.start, self._watch_root, root)
        await self._tell_systemd(systemd.ready)
        self._armed.set()

    def _are_others_busy(self, name: str) -> bool:
        return any(root.is_busy for root in self._roots if root.tree.root != name)

    async def _watch_root(self, root: WatchedRoot, *, task_status: TaskStatus[None]) -> None:
        await root.run(self._intake, functools.partial(self._scanned, root.tree.root), task_status=task_status)

    async def _scanned(self, root: str) -> None:
        """Each root has been compared for the first time, or is not there."""
        if root not in self._unscanned:
            return
        self._unscanned.discard(root)
        if not self._unscanned:
            await self._armed.wait()
            _log.info("ready", roots=len(self._roots))
            await self._tell_systemd(systemd.status, f"Watching {len(self._roots)} folders")

    async def _feed_watchdog(self) -> None:
        interval_s = systemd.watchdog_interval_s()
        while interval_s is not None:
            await self._tell_systemd(systemd.notify, "WATCHDOG=1")
            await anyio.sleep(interval_s)

    async def _tell_systemd(self, tell: Callable[..., bool], *text: str) -> None:
        # A thread of its own: whatever else waits, systemd must not take this process for dead.
        await anyio.to_thread.run_sync(tell, *text, limiter=self._systemd_thread)

    async def _mind_state(self) -> None:
        """End where the lock or the catalogue was removed: what is written to them now, nobody will ever read."""
        files = [self._config.state / _LOCK, self._config.catalogue.file_in(self._config.state)]
        look = functools.partial(anyio.to_thread.run_sync, limiter=self._state_thread, abandon_on_cancel=True)
        kept = {file: await look(_identity, file) for file in files if file is not None}
        while True:
            await anyio.sleep(_MIND_STATE_S)
            for file, identity in kept.items():
                if await look(_identity, file) != identity:
                    raise CatalogueError(f"{file} was removed or replaced while damd ran: start damd again")

    async def _take_in(self) -> None:
        await self._intake.run()
        self._drained.set()


def _watched_root(
    name: str, settings: RootSettings, state: Path, world: World, are_others_busy: Callable[[], bool]
) -> WatchedRoot:
    # One spelling for the folder in the watcher, the tree and the catalogue.
    folder = world.get_resource(Roots).folder(name)
    tree = Tree(
        root=name,
        folder=folder,
        recursive=settings.recursive,
        rules=IgnoreRules(settings.ignore, include=settings.include, folder=folder),
        excluded=os.path.realpath(os.fsencode(state)),
        follow_symlinks=settings.follow_symlinks,
    )
    around = Surroundings(
        catalogue=world.get_resource(Catalogue),
        roots=world.get_resource(Roots),
        mounts=world.get_resource(Mounts),
        announce=world.dispatch_event,
        canary=state / _CANARIES / name,
        are_others_busy=are_others_busy,
    )
    real = settings.model_copy(update={"path": Path(os.fsdecode(folder))})
    return WatchedRoot(real, tree, around)


async def _receive_signals(*, task_status: TaskStatus[anyio.Event]) -> None:
    asked_to_stop = anyio.Event()
    asked_at = 0.0
    stopping = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup(1) leaves it
        stopping.append(signal.SIGHUP)
    with anyio.open_signal_receiver(*stopping) as signals:
        task_status.started(asked_to_stop)
        async for number in signals:
            if asked_to_stop.is_set():
                if anyio.current_time() - asked_at < _ONE_REQUEST_S:
                    continue
                _log.warning("stopped at once", signal=number.name)
                os._exit(128 + number)  # the workers die with their parent
            asked_to_stop.set()
            asked_at = anyio.current_time()


def _make_state_folder(state: Path) -> None:
    try:
        state.mkdir(STATE_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError([f"The state folder {state} cannot be made: {error.strerror}"]) from error


def _raise_descriptor_limit() -> None:
    """Take what the system allows: connections, watches and workers share what is often only 1024 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _sole_daemon(state: Path) -> Iterator[None]:
    """Hold the state folder's lock, which the system takes back however the process ends."""
    with (state / _LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise CatalogueInUseError(str(state), lock.read().strip() or "of unknown number") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}\n")
        lock.flush()
        yield
