"""The subscribers that a daemon serves: each lives in a task of its own, so that they can come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Self

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from damd.errors import ConfigurationError, DamdError
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.base import Subscriber

_log = structlog.get_logger(__name__)


class _Hosted:
    """A subscriber that has been entered, and how to leave it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # Each kind takes its own settings; the configuration has found their type by the same word.
        make: Callable[[Settings], Subscriber] = SUBSCRIBERS[getattr(settings, "kind", "")]
        self.subscriber = make(settings)
        self._left = anyio.Event()
        self._ended = anyio.Event()

    async def host(self, *, task_status: TaskStatus[None]) -> None:
        is_entered = False
        try:
            async with AsyncExitStack() as stack:
                if isinstance(self.subscriber, AbstractAsyncContextManager):
                    await stack.enter_async_context(self.subscriber)
                is_entered = True
                task_status.started()
                await self._left.wait()
        except Exception:
            if not is_entered or not self._left.is_set():
                raise
            # It is left, and has no say any more in whether the daemon goes on.
            _log.exception("a subscriber could not be left in order", subscriber=self.subscriber.name)
        finally:
            self._ended.set()

    async def leave(self) -> None:
        self._left.set()
        await self._ended.wait()


class Subscribing:
    """The subscribers; one that is entered stays until `keep` is called without it."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._hosted: list[_Hosted] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, entries: Sequence[Settings]) -> AsyncIterator[tuple[Self, list[Subscriber]]]:
        """With these to begin with; at the end all are left.

        Raises:
            ConfigurationError: One cannot be entered.
        """
        errors: list[Exception] = []
        async with anyio.create_task_group() as tasks:
            subscribing = cls(tasks)
            try:
                yield subscribing, await subscribing.enter(entries)
            except Exception as error:  # noqa: BLE001 - raised again below, without a group around it
                errors.append(error)
            finally:
                with anyio.CancelScope(shield=True):
                    await subscribing.keep([])
        if errors:
            raise errors[0]

    async def enter(self, entries: Sequence[Settings]) -> list[Subscriber]:
        """Those of these entries: the ones that are there already, and new ones; the others stay, too.

        Raises:
            ConfigurationError: One cannot be entered; then none of the new ones is.
        """
        there, wanted, new = list(self._hosted), [], []
        try:
            for settings in entries:
                hosted = next((each for each in there if each.settings == settings), None)
                if hosted is not None:
                    there.remove(hosted)
                else:
                    hosted = await self._host(settings)
                    new.append(hosted)
                wanted.append(hosted)
        except BaseException:
            with anyio.CancelScope(shield=True):
                for hosted in new:
                    await hosted.leave()
            raise
        self._hosted += new
        return [each.subscriber for each in wanted]

    async def keep(self, subscribers: Sequence[Subscriber]) -> None:
        """Leave all others."""
        kept = {id(each) for each in subscribers}
        for hosted in reversed(self._hosted.copy()):
            if id(hosted.subscriber) not in kept:
                await hosted.leave()
                self._hosted.remove(hosted)

    async def renew(self) -> None:
        """Have all read again what lies outside of their entries; who cannot goes on with what he has."""
        for hosted in self._hosted:
            renew = getattr(hosted.subscriber, "renew", None)
            try:
                if renew is not None:
                    await renew()
            except Exception as error:  # noqa: BLE001 - a plugin's may raise anything
                _log.error("a subscriber goes on with what it had", subscriber=hosted.subscriber.name, error=str(error))

    async def _host(self, settings: Settings) -> _Hosted:
        try:
            hosted = _Hosted(settings)
            await self._tasks.start(hosted.host)
        except DamdError:
            raise
        except Exception as error:
            kind = getattr(settings, "kind", "?")
            what = f"one of the kind {kind} cannot be begun ({type(error).__name__}: {error})"
            raise ConfigurationError([f"subscribers: {what}: mend the plugin that brings it"]) from error
        return hosted
