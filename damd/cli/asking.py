"""Questions to the running daemon, and what is said where none runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from damd.cli.application import load, note_missing_state
from damd.errors import ConfigurationError, DaemonUnreachableError

if TYPE_CHECKING:
    from damd.config import Config


def load_to_ask(config: Path | None, state: Path | None) -> Config:
    """The configuration of a command that the daemon answers.

    A file that is wrong must not keep anybody from the daemon that runs, least of all from asking why it was refused:
    what --state, or the file, says of the state folder is enough, if a daemon is there.

    Raises:
        ConfigurationError: It is wrong, and no daemon is where it says.
    """
    try:
        return load(config, state)
    except ConfigurationError:
        from damd import control
        from damd.config import Config, state_as_written

        folder = state or state_as_written(config)
        if not control.is_served(folder):
            raise
        return Config(state=folder)


async def ask_status(config: Config) -> dict[str, Any] | None:
    """What the running daemon says of itself; None where none runs."""
    from damd import control

    try:
        return await control.ask(config.state, "status")
    except DaemonUnreachableError:
        return None


async def ask_daemon(config: Config, command: str, *, is_long: bool = False, **details: Any) -> dict[str, Any]:
    """What the running daemon answers to a command.

    Args:
        config: Whose daemon.
        command: The command.
        is_long: Whether the answer comes when something is done, however long that takes.
        details: What else is said, as plain JSON values.

    Raises:
        DaemonUnreachableError: None runs; where there is not even a state folder, that has been said.
        DamdError: It runs, and says why it cannot.
    """
    from damd import control

    try:
        if is_long:
            return await control.ask(config.state, command, waits=True, **details)
        return await control.ask(config.state, command, **details)
    except DaemonUnreachableError:
        note_missing_state(config)
        raise
