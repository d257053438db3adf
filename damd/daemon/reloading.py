"""Another configuration while the daemon runs: read, checked, compared and taken; or refused, and the old one stays."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from damd.checks.environment import check_environment
from damd.config import Config, load_config
from damd.daemon.standing import Reload, Standing
from damd.errors import ConfigurationError, DamdError

_log = structlog.get_logger(__name__)

_ANSWER_S = 30.0

NEEDS_RESTART = ("state", "catalogue", "ingest", "thumbnails", "similarity", "plugins", "http")
"""The keys that count from the next start on: processes, files and tables are made of them."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a daemon's configuration comes from.

    Attributes:
        path: The file; None: there is none.
        overrides: What the command line said.
    """

    path: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def read(self, imported: tuple[str, ...]) -> Config:
        """Read it again; blocking.

        Raises:
            ConfigurationError: It is wrong, or asks for other plugins than those imported.
        """
        return load_config(self.path, overrides=self.overrides, imported=imported)


class Reloader:
    """Reloads, one at a time; what is asked for meanwhile becomes one more.

    Args:
        source: Where to read.
        standing: Whose configuration; it is told what came of each reload.
        apply: Takes the new configuration instead of the old; where it raises a `DamdError`, it has changed nothing.
    """

    def __init__(self, source: Source, standing: Standing, apply: Callable[[Config, Config], Awaitable[None]]) -> None:
        self._source = source
        self._standing = standing
        self._apply = apply
        self._asked = self._done = 0
        self._changed = anyio.Event()
        self._threads = anyio.CapacityLimiter(2)

    def ask(self) -> int:
        """Have the configuration read again soon; returns the number of what was asked."""
        self._asked += 1
        self._tell()
        return self._asked

    async def reload(self) -> Reload:
        """Have it read again, and wait for what comes of it."""
        number = self.ask()
        while self._done < number or self._standing.reload is None:
            await self._changed.wait()
        return self._standing.reload

    async def run(self, began: Callable[[], Awaitable[None]], ended: Callable[[], Awaitable[None]]) -> None:
        """Reload whenever it is asked for, until cancelled.

        Args:
            began: Awaited before each reload.
            ended: Awaited after it, whatever came of it.
        """
        while True:
            while self._asked == self._done:
                await self._changed.wait()
            number = self._asked
            self._standing.is_reloading = True
            await began()
            self._standing.reload = reload = await self._reload()
            self._standing.is_reloading = False
            if reload.ok:
                self._standing.reloaded_at = reload.at
            self._done = number
            await ended()
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _reload(self) -> Reload:
        old = self._standing.config
        try:
            new, restart = _without_restart(old, await self._read(old))
            changed = tuple(key for key in type(new).model_fields if getattr(new, key) != getattr(old, key))
            await self._apply(old, new)
        except DamdError as error:
            problems = error.problems if isinstance(error, ConfigurationError) else (str(error),)
            _log.error("the new configuration is refused, the old one stays", problems=list(problems))
            return Reload(at=datetime.now(UTC), ok=False, problems=problems)
        self._standing.config = new
        _log.info("configuration reloaded", changed=list(changed))
        if restart:
            _log.warning("some of the new configuration counts only after a restart", keys=list(restart))
        return Reload(at=datetime.now(UTC), ok=True, changed=changed, restart=restart)

    async def _read(self, old: Config) -> Config:
        look = functools.partial(anyio.to_thread.run_sync, limiter=self._threads, abandon_on_cancel=True)
        try:
            with anyio.fail_after(_ANSWER_S):
                config: Config = await look(self._source.read, old.plugins)
                problems: list[str] = await look(functools.partial(check_environment, config, roots=False))
        except DamdError:
            raise
        except TimeoutError:
            text = f"it cannot be checked: a file or a folder that it names has not answered for {_ANSWER_S:g} s"
            raise ConfigurationError([text]) from None
        except Exception as error:
            # A plugin's settings may raise anything; the daemon that runs must not end of it.
            _log.exception("the new configuration cannot be checked")
            raise ConfigurationError([f"it cannot be checked: {type(error).__name__}: {error}"]) from error
        if not config.watch:
            problems.append("watch: no folder is named")
        if problems:
            raise ConfigurationError(problems)
        return config


def _without_restart(old: Config, wanted: Config) -> tuple[Config, tuple[str, ...]]:
    """What of another configuration can be in force at once, and the keys that cannot.

    Raises:
        ConfigurationError: What can be does not go with what is there.
    """
    restart = tuple(key for key in NEEDS_RESTART if getattr(old, key) != getattr(wanted, key))
    if not restart:
        return wanted, ()
    values = {key: getattr(old if key in restart else wanted, key) for key in type(wanted).model_fields}
    try:
        return Config.model_validate(values), restart
    except ValueError as error:
        text = f"what is new does not go with {', '.join(restart)} as they are in force: restart damd ({error})"
        raise ConfigurationError([text]) from error
