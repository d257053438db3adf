"""What the system lacks for a configuration to work, as far as that is told at once: what a start asks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from damd.config import Config
from damd.settings import Settings
from damd.subscribers.base import SubscriberSettings


class Fault(NamedTuple):
    """What is wrong, as the rest of a sentence, and what to do about it."""

    what: str
    advice: str


def check_environment(config: Config, *, roots: bool = True) -> list[str]:
    """What the system lacks for this configuration to work: a sentence for each, with what to do about it.

    It blocks, but for no longer than the disks take: it asks no other host, and counts nothing.

    Args:
        config: The configuration.
        roots: Whether to look for the roots, too, without which damd waits for them.
    """
    watched = config.watch if roots else ()
    found = [(f"The root {root.name} ({root.path})", folder_fault(root.path)) for root in watched]
    found.append((f"The state folder {config.state}", state_fault(config.state)))
    sentences = [f"{what} {fault.what}: {fault.advice}." for what, fault in found if fault]
    sentences += [f"{sentence}." for settings in config.subscribers for _, sentence in lacking(settings)]
    return sentences


def lacking(settings: Settings) -> Iterator[tuple[str, str]]:
    """What a subscriber lacks: the key that it is about, and a sentence with what to do; blocking."""
    if isinstance(settings, SubscriberSettings):
        for what, problem in settings.lacking():
            yield what, f"The {what} of the subscriber {name_of(settings)} {problem}"


def name_of(settings: Settings) -> str:
    """What people call a subscriber."""
    return str(getattr(settings, "name", getattr(settings, "kind", "?")))


def folder_fault(path: Path, *, write: bool = False) -> Fault | None:
    """What keeps this user from reading a folder, or from writing to it; None: nothing. Blocking."""
    effective = os.access in os.supports_effective_ids
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return Fault("does not exist", "create the folder, mount its disk, or correct its path")
    except OSError as error:
        return Fault(
            f"cannot be reached ({error.strerror})", "let the user that damd runs as enter the folders above it"
        )
    if not is_folder:
        return Fault("is not a folder", "name a folder, or move away what is in its place")
    for mode, what in ((os.R_OK, "read"), (os.X_OK, "enter"), *([(os.W_OK, "write to")] if write else [])):
        if not os.access(path, mode, effective_ids=effective):
            return Fault("is closed to damd", f"let the user that it runs as {what} this folder")
    return None


def state_fault(state: Path) -> Fault | None:
    """What keeps this user from having its state there; None: nothing. Blocking.

    It is created where it is missing, so the nearest folder above it matters then.
    """
    nearest = next(place for place in (state, *state.parents) if os.path.lexists(place))
    fault = folder_fault(nearest, write=True)
    if fault is None or nearest == state:
        return fault
    return Fault(f"cannot be created: {nearest} {fault.what}", fault.advice)
