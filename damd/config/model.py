"""What the configuration is: one frozen `Config`, assembled from the slices' settings.

The slices declare their settings, and this module assembles them. What concerns several values at once
(two roots of one name) is checked beside the list that it concerns, so that one run finds every error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from damd.catalogue.engine import CatalogueSettings
from damd.documents import Location
from damd.errors import ConfigurationError
from damd.events import Subscription
from damd.patience import real_path
from damd.relay.settings import EventSettings
from damd.sandbox import SandboxSettings
from damd.settings import AbsolutePath, Settings
from damd.similarity import SimilaritySettings
from damd.subscribers import SUBSCRIBERS
from damd.subscribers.log import LogSettings
from damd.thumbnails import ThumbnailSettings
from damd.watch.base import RootSettings
from damd.web.settings import HttpSettings


class LoggingSettings(Settings):
    """The section ``logging:``."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""
    format: Literal["auto", "console", "json"] = "auto"
    """auto: console on a terminal, json elsewhere. Or console, or json."""


def _default_state() -> Path:
    """The service's folder (systemd.exec(5)), else the user's (XDG Base Directory Specification)."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if Path(given).is_absolute():
        return Path(given)
    data = os.environ.get("XDG_DATA_HOME", "")
    if not Path(data).is_absolute():
        data = os.path.expanduser("~/.local/share")  # noqa: PTH111 - Path.expanduser() raises where nobody has a home
    if not Path(data).is_absolute():
        raise ConfigurationError(["state: this user has no home folder: name a folder, here or with --state"])
    return Path(data) / "damd"


def _default_name(path: Path) -> str:
    name = re.sub(r"[^\w.-]+", "-", path.name)[:64]
    return name if name.strip(".-") else "root"


def _refusal(problems: Iterable[tuple[Location, str]]) -> ValidationError:
    """What a validator raises to tell of several problems, each at its location below the validator's own."""
    details = [
        InitErrorDetails(type="value_error", loc=location, input="", ctx={"error": ValueError(text)})
        for location, text in problems
    ]
    return ValidationError.from_exception_data("Config", details)


def _check_roots(roots: tuple[RootSettings, ...]) -> tuple[RootSettings, ...]:
    """Give every root a name, and refuse those that share a name or a folder."""
    named = tuple(root.model_copy(update={"name": root.name or _default_name(root.path)}) for root in roots)
    clashes = [clash for index in range(len(named)) for clash in _clashes(named, index)]
    if clashes:
        raise _refusal(clashes)
    return named


def _clashes(roots: tuple[RootSettings, ...], index: int) -> Iterator[tuple[Location, str]]:
    """Of one root with those before it."""
    root, real = roots[index], _real(roots[index].path)
    for other in roots[:index]:
        other_real = _real(other.path)
        if real == other_real:
            yield (index, "path"), f"{root.path} is the same folder as {other.path}: remove one of them"
        elif real.is_relative_to(other_real):
            yield (index, "path"), f"{root.path} lies in {other.path}, and roots cannot overlap: remove one of them"
        elif other_real.is_relative_to(real):
            yield (index, "path"), f"{root.path} contains {other.path}, and roots cannot overlap: remove one of them"
        elif root.name == other.name:
            yield (
                (index, "name"),
                f"{root.path} and {other.path} are both called {root.name}: name one of them differently",
            )


def _real(path: Path) -> Path:
    return Path(real_path(path))


def subscriber_type(entry: Any) -> type[Settings] | None:
    """The settings of the kind that an entry of ``subscribers:`` names; None where nobody knows it."""
    kind = entry.get("kind") if isinstance(entry, Mapping) else None
    subscriber = SUBSCRIBERS.get(kind) if isinstance(kind, str) else None
    return subscriber.settings_type if subscriber else None


def _subscriber_settings(entry: Any) -> Settings:
    if isinstance(entry, Settings):
        return entry
    known = f"the known kinds are: {', '.join(sorted(SUBSCRIBERS))}"
    if not isinstance(entry, Mapping):
        raise ValueError(f"expected an entry such as {{kind: log}}; {known}")  # noqa: TRY004 - pydantic wants it
    settings_type = subscriber_type(entry)
    if settings_type is None:
        what = "is not a known kind of subscriber" if "kind" in entry else "is missing"
        raise _refusal([(("kind",), f"{what}; {known}")])
    return settings_type.model_validate(entry)


def _check_subscribers(subscribers: tuple[Settings, ...]) -> tuple[Settings, ...]:
    names = [getattr(settings, "name", None) for settings in subscribers]
    repeated = [index for index, name in enumerate(names) if name is not None and name in names[:index]]
    if repeated:
        raise _refusal(
            ((index, "name"), f"another subscriber is called {names[index]} too: give each its own name")
            for index in repeated
        )
    files = [getattr(settings, "file", None) for settings in subscribers]
    shared = [index for index, file in enumerate(files) if file is not None and file in files[:index]]
    if shared:
        raise _refusal(
            ((index, "file"), f"another subscriber writes to {files[index]} too: give each its own file")
            for index in shared
        )
    return subscribers


def _check_plugins(plugins: tuple[str, ...]) -> tuple[str, ...]:
    repeated = [index for index, name in enumerate(plugins) if name in plugins[:index]]
    if repeated:
        raise _refusal(((index,), f"{plugins[index]} is named twice: remove one of them") for index in repeated)
    return plugins


SubscriberEntry = Annotated[SerializeAsAny[Settings], BeforeValidator(_subscriber_settings)]
"""The settings type of the subscriber that the entry's ``kind`` names in `damd.subscribers.SUBSCRIBERS`."""


class Config(Settings, json_schema_extra={"examples": [{"state": "~/.local/share/damd"}]}):
    """Everything that the configuration says, with a default for whatever it does not say."""

    state: AbsolutePath = Field(default_factory=_default_state)
    """The folder of the catalogue and the previews. By default $STATE_DIRECTORY, which systemd sets, else damd below
    $XDG_DATA_HOME, else ~/.local/share/damd. Keep it on a local disk."""
    watch: Annotated[tuple[RootSettings, ...], AfterValidator(_check_roots)] = ()
    """The folders that are watched: the roots. None may lie within another."""
    catalogue: CatalogueSettings = CatalogueSettings()
    """The database."""
    ingest: SandboxSettings = SandboxSettings()
    """Files are decoded in worker processes, within these limits; a file that needs more becomes one failure."""
    thumbnails: ThumbnailSettings = ThumbnailSettings()
    """Previews."""
    similarity: SimilaritySettings = SimilaritySettings()
    """Which pictures look alike."""
    events: EventSettings = EventSettings()
    """What is remembered of what happened."""
    subscribers: Annotated[tuple[SubscriberEntry, ...], AfterValidator(_check_subscribers)] = (LogSettings(),)
    """Who is told of what damd has done. Whoever names any names them all: without `kind: log` the log has of
    events only failures and held roots."""
    plugins: Annotated[tuple[str, ...], AfterValidator(_check_plugins)] = ()
    """Modules of your own with a function setup(world), by their dotted names. They are imported first, so that they
    can bring kinds of subscribers and media."""
    logging: LoggingSettings = LoggingSettings()
    """damd's own log, on standard error."""
    http: HttpSettings | None = None
    """Metrics (/metrics, for Prometheus), health (/healthz, /readyz) and status (/status) over HTTP. Off unless it is
    here."""

    @property
    def roots(self) -> dict[str, RootSettings]:
        """The roots by their names."""
        return {root.name: root for root in self.watch if root.name is not None}

    @property
    def endpoints(self) -> dict[str, Subscription]:
        """What each durable subscriber asks for, by its name."""
        durable = [each for each in self.subscribers if SUBSCRIBERS[getattr(each, "kind", "")].durable]
        return {
            getattr(each, "name", ""): Subscription(getattr(each, "kind", ""), getattr(each, "events", ()) or None)
            for each in durable
        }

    @model_validator(mode="after")
    def _state_is_no_root(self) -> Self:
        for root in self.watch:
            if _real(root.path).is_relative_to(_real(self.state)):
                text = f"the watched root {root.path} lies in {self.state}: keep damd's own files apart from it"
                raise _refusal([(("state",), text)])
            if self.catalogue.file is not None and _real(self.catalogue.file).is_relative_to(_real(root.path)):
                text = f"the database lies in the watched root {root.path}: put it elsewhere"
                raise _refusal([(("catalogue", "url"), text)])
            for index, settings in enumerate(self.subscribers):
                file = getattr(settings, "file", None)
                if isinstance(file, Path) and _real(file).is_relative_to(_real(root.path)):
                    text = f"{file} lies in the watched root {root.path}: put it elsewhere, or it feeds itself"
                    raise _refusal([(("subscribers", index, "file"), text)])
        return self
