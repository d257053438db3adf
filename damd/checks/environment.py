"""What the system lacks for a configuration to work: a sentence for each, with what to do about it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from damd.config import Config
from damd.subscribers.base import SubscriberSettings


def check_environment(config: Config, *, roots: bool = True) -> list[str]:
    """What the system lacks for this configuration to work: a sentence for each, with what to do about it.

    Args:
        config: The configuration.
        roots: Whether to look for the roots, too, without which damd waits for them.
    """
    watched = config.watch if roots else ()
    found = [(f"The root {root.name} ({root.path})", _folder_problem(root.path)) for root in watched]
    found.append((f"The state folder {config.state}", _state_problem(config.state)))
    for settings in config.subscribers:
        if isinstance(settings, SubscriberSettings):
            whose = f"of the subscriber {getattr(settings, 'name', getattr(settings, 'kind', '?'))}"
            found.extend((f"The {what} {whose}", problem) for what, problem in settings.lacking())
    return [f"{what} {problem}." for what, problem in found if problem]


def _folder_problem(path: Path, *, write: bool = False) -> str | None:
    effective = os.access in os.supports_effective_ids
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return "does not exist: create the folder, mount its disk, or correct its path"
    except OSError as error:
        return f"cannot be reached ({error.strerror}): let the user that damd runs as enter the folders above it"
    if not is_folder:
        return "is not a folder: name a folder, or move away what is in its place"
    for mode, what in ((os.R_OK, "read"), (os.X_OK, "enter"), *([(os.W_OK, "write to")] if write else [])):
        if not os.access(path, mode, effective_ids=effective):
            return f"is closed to damd: let the user that it runs as {what} this folder"
    return None


def _state_problem(state: Path) -> str | None:
    """It is created where it is missing, so the nearest folder above it matters then."""
    nearest = next(place for place in (state, *state.parents) if os.path.lexists(place))
    problem = _folder_problem(nearest, write=True)
    return f"cannot be created: {nearest} {problem}" if problem and nearest != state else problem
