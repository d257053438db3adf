"""``damd run``: watchers, intake, World, relay, signals, reload, drain."""

from damd.daemon.reloading import Source
from damd.daemon.running import run

__all__ = ["Source", "run"]
