"""Why a path is where it is: the facts, which `damd explain` puts into words.

They come from the catalogue, the configuration, the disk, and the daemon if one runs; each may be missing. A mount
that is dead hangs whoever looks at it: only the thread that looks waits for it, not the process.
"""

# ruff: noqa: PTH100, PTH110, PTH114, PTH116, PTH118 - pathlib has no paths of bytes

from __future__ import annotations

import base64
import functools
import os
import re
import stat
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlmodel import Session

from damd import control
from damd.catalogue.describe import failure_at, known_below, location_at, root_states, volume_at
from damd.catalogue.queries import find_path
from damd.catalogue.roots import Place, Roots, known_roots
from damd.catalogue.store import Catalogue
from damd.catalogue.tables import Root
from damd.catalogue.volumes import VolumeKey
from damd.config import Config
from damd.errors import DamdError, MissingResourceError
from damd.events import readable, readable_path
from damd.fingerprint import Signature
from damd.mounts import Mounts
from damd.patience import in_time, why_unlistable
from damd.settings import format_duration
from damd.watch.base import RootSettings
from damd.watch.ignore import NOT_INCLUDED, IgnoreRules
from damd.watch.patterns import Rule
from damd.world import World

_GONE = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True, kw_only=True)
class RootFacts:
    """The root that a path lies in.

    Attributes:
        path: Its folder, readable.
        watched: Whether the running daemon watches it; None: none runs.
        scanning: Whether the daemon is comparing the whole of it.
        rescan: How often it does, as the configuration writes it.
        unreachable: What the system says of its folder, if that cannot be listed.
        held_since: Since when nothing in it is taken for deleted, as ISO 8601, and ``held_because``; None: it is not.
    """

    name: str
    path: str
    watched: bool | None
    scanning: bool
    rescan: str | None
    unreachable: str | None = None
    held_since: str | None = None
    held_because: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ignored:
    """What ignores a path: a rule, or the configuration's say.

    Attributes:
        because: ``rule``, ``include``, ``state`` (damd's own folder), ``not recursive`` or ``link``.
        pattern: The rule's.
        source: Where the rule stands.
        folder: The folder above the path that it ignores; for ``link``, the link.
    """

    because: str
    pattern: str | None = None
    source: str | None = None
    folder: str | None = None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What there is to say of a path.

    Attributes:
        path: Absolute and readable, links resolved but for the last part; ``path_base64`` where that lost something.
        there: ``file``, ``folder``, ``link``, ``broken link``, ``other``, ``nothing`` or ``unreachable``.
        error: What the system says, where it is unreachable.
        root: The root it lies in.
        ignored: What keeps it out of that root.
        location: `damd.catalogue.describe.location_at`, and whether the file still ``agrees`` with it.
        failure: `damd.catalogue.describe.failure_at`, and the same.
        volume_gone: Whether the file system that it lay on is another one now.
        intake: Where the daemon has it, `damd.intake.Intake.explain`.
        below: `damd.catalogue.describe.known_below`, unless it is a file.
        roots: Every root's name and folder.
    """

    path: str
    path_base64: str | None = None
    there: str
    error: str | None = None
    root: RootFacts | None = None
    ignored: Ignored | None = None
    location: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    volume_gone: bool = False
    intake: Mapping[str, Any] | None = None
    below: Mapping[str, int] | None = None
    roots: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What the disk and the rules say of a path."""

    place: Place
    there: str
    error: str | None = None
    signature: Signature | None = None
    volume: VolumeKey | None = None
    root_error: str | None = None
    ignored: Ignored | None = None


async def explain(world: World, path: Path, *, daemon: Mapping[str, Any] | None) -> Explanation:
    """Why a path is where it is.

    Args:
        world: With its configuration; where it has no catalogue, the rest is still told.
        path: Absolute or relative; nothing needs to be there.
        daemon: What the daemon on this state folder answered to ``status``; None: none runs. It is asked on.

    Raises:
        CatalogueUnavailableError: The catalogue cannot be asked now.
    """
    config, catalogue = world.get_resource(Config), _catalogue_of(world)
    states = {each["name"]: each for each in await catalogue.read(root_states)} if catalogue else {}
    with closing(Mounts()) as mounts:
        settings = _settings(config, daemon)
        following = [name for name, root in settings.items() if root.follow_symlinks]
        roots = Roots(known := await _roots(config, catalogue), mounts, following)
        look = functools.partial(_look, path, roots, {root.path: root.name for root in known}, config, settings)
        try:
            seen = await in_time(look)
        except TimeoutError:
            seen = _Look(place=_spelt(path, roots), there="unreachable", error="it does not answer")
    absolute = roots.path_of(seen.place).rstrip(b"/") or b"/"
    text, path_base64 = readable_path(absolute)
    explanation = Explanation(
        path=text,
        path_base64=path_base64,
        there=seen.there,
        error=seen.error,
        root=_root_facts(seen, roots, states.get(seen.place.root, {}), config, daemon),
        ignored=seen.ignored,
        intake=await _ask_intake(config, absolute) if daemon is not None else None,
        roots={root.name: readable(root.path) for root in known},
    )
    look_up = functools.partial(_with_what_is_known, explanation=explanation, seen=seen, roots=roots)
    return await catalogue.read(look_up) if catalogue is not None else explanation


def _spelt(path: Path, roots: Roots) -> Place:
    return roots.place_of(os.path.abspath(os.fsencode(path)))


def _catalogue_of(world: World) -> Catalogue | None:
    try:
        return world.get_resource(Catalogue)
    except MissingResourceError:
        return None


async def _roots(config: Config, catalogue: Catalogue | None) -> list[Root]:
    """All that the catalogue or the configuration names; the configuration's folder is the one that will count."""
    known = {root.name: root.path for root in (await catalogue.read(known_roots) if catalogue else ())}
    for name, root in config.roots.items():
        known[name] = os.fsencode(root.path)
        with suppress(TimeoutError):
            known[name] = await in_time(functools.partial(os.path.realpath, known[name]))
    return [Root(name=name, path=path) for name, path in known.items()]


def _settings(config: Config, daemon: Mapping[str, Any] | None) -> dict[str, RootSettings]:
    """Each root's settings: the configuration's, or, of one that it does not name, those of the daemon that runs."""
    known = dict(config.roots)
    for root in daemon["roots"] if daemon is not None else ():
        if root["name"] not in known:
            with suppress(KeyError, ValueError):  # a daemon of another version
                known[root["name"]] = RootSettings(path=root["path"], **root["settings"])
    return known


def _look(
    path: Path, roots: Roots, names: Mapping[bytes, str], config: Config, settings: Mapping[str, RootSettings]
) -> _Look:
    """Blocks, perhaps for ever."""
    raw = os.fsencode(path)
    place, link = roots.place(raw), None
    if (own := names.get(os.path.realpath(raw))) is not None:
        place = Place(own, b"")
    elif not place.root:
        place, link = _behind_link(raw, roots) or (place, None)
    absolute = roots.path_of(place)
    there, error, status = _what_lies_at(absolute, follow=roots.follows(place.root))
    ignored = Ignored(because="link", folder=readable(link)) if link is not None else None
    if (absolute + b"/").startswith(os.path.realpath(os.fsencode(config.state)) + b"/"):
        ignored = Ignored(because="state")
    elif place.root and ignored is None:
        folder, rules = roots.folder(place.root), settings.get(place.root)
        ignored = _ignored(place.path, folder, rules, is_directory=there == "folder")
    volume = None
    with suppress(OSError):
        volume = roots.volume_of(place)
    return _Look(
        place=place,
        there=there,
        error=error,
        signature=Signature.of(status) if status is not None else None,
        volume=volume,
        root_error=why_unlistable(roots.folder(place.root)) if place.root else None,
        ignored=ignored,
    )


def _behind_link(raw: bytes, roots: Roots) -> tuple[Place, bytes] | None:
    """The key of a path as it is spelt, and the link in its root that leads out of it."""
    parts = [part for part in os.path.join(os.fsencode(Path.cwd()), raw).split(b"/") if part not in {b"", b"."}]
    real = b"/"
    for number, part in enumerate(parts[:-1], start=1):
        candidate, rest = os.path.join(real, part), parts[number:]
        if b".." not in rest and roots.place_of(candidate).root and os.path.islink(candidate):
            return roots.place_of(os.path.join(candidate, *rest)), candidate
        real = os.path.realpath(candidate)
    return None


def _what_lies_at(path: bytes, *, follow: bool) -> tuple[str, str | None, os.stat_result | None]:
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            if not os.path.exists(path):
                return "broken link", None, status
            if not follow:
                return "link", None, status
            status = os.stat(path)
    except _GONE:
        return "nothing", None, None
    except OSError as error:
        return "unreachable", error.strerror, None
    if stat.S_ISDIR(status.st_mode):
        return "folder", None, status
    return "file" if stat.S_ISREG(status.st_mode) else "other", None, status


def _ignored(below: bytes, folder: bytes, settings: RootSettings | None, *, is_directory: bool) -> Ignored | None:
    """What keeps a path out of its root; a root that the configuration does not name has the defaults."""
    if settings is not None and not settings.recursive and (b"/" in below or (is_directory and below)):
        return Ignored(because="not recursive")
    patterns, include = (settings.ignore, settings.include) if settings is not None else ((), ())
    rules = IgnoreRules(patterns, include=include, folder=folder)
    for above in (below[: slash.start()] for slash in re.finditer(b"/", below)):
        if (rule := rules.verdict(above, is_directory=True)) is not None:
            return _by_rule(rule, readable(os.path.join(folder, above)))
    return _by_rule(rules.verdict(below, is_directory=is_directory), None)


def _by_rule(rule: Rule | None, folder: str | None) -> Ignored | None:
    if rule is None:
        return None
    because = "include" if rule == NOT_INCLUDED else "rule"
    return Ignored(because=because, pattern=rule.pattern, source=rule.source, folder=folder)


async def _ask_intake(config: Config, path: bytes) -> Mapping[str, Any] | None:
    answer: Mapping[str, Any] = {}
    with suppress(DamdError):  # it has ended meanwhile, or is an older one
        answer = await control.ask(config.state, "explain", path_base64=base64.b64encode(path).decode("ascii"))
    return answer.get("intake")


def _root_facts(
    seen: _Look, roots: Roots, state: Mapping[str, Any], config: Config, daemon: Mapping[str, Any] | None
) -> RootFacts | None:
    if not (name := seen.place.root):
        return None
    settings = config.roots.get(name)
    at_work = next((root for root in (daemon or {}).get("roots", ()) if root["name"] == name), None)
    return RootFacts(
        name=name,
        path=readable(roots.folder(name)),
        watched=None if daemon is None else at_work is not None,
        scanning=at_work is not None and bool(at_work.get("scanning")),
        rescan=format_duration(settings.rescan) if settings is not None else None,
        unreachable=seen.root_error,
        held_since=state.get("held_since"),
        held_because=state.get("held_because"),
    )


def _with_what_is_known(session: Session, explanation: Explanation, seen: _Look, roots: Roots) -> Explanation:
    known = find_path(session, seen.place)
    location, failure = location_at(session, seen.place, roots), failure_at(session, seen.place, roots)
    volume = volume_at(session, seen.place)
    if location is not None and known.location is not None:
        location["agrees"] = known.location.signature == seen.signature
    if failure is not None and known.failure is not None:
        failure["agrees"] = known.failure.signature == seen.signature
    return replace(
        explanation,
        location=location,
        failure=failure,
        volume_gone=volume is not None and seen.volume not in {None, volume},
        below=None if seen.there == "file" else known_below(session, seen.place),
    )
