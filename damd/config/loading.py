"""The file, the environment and the command line to one frozen `Config`.

Every error carries file, line, column and key, or the variable or option; all of them are told at once.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BeforeValidator, ValidationError

from damd.config.model import Config, SubscriberEntry, subscriber_type
from damd.config.variables import apply_variables
from damd.documents import Document, Location, read_document
from damd.errors import ConfigurationError
from damd.settings import Settings
from damd.subscribers import SUBSCRIBERS


def load_config(
    path: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    imported: Collection[str] | None = None,
) -> Config:
    """Read a configuration file, if one is named, import its plugins, and validate everything; blocking.

    Args:
        path: The file; without one, everything has its default.
        overrides: Values of top-level keys from the command line, which replace the file's; their problems
            are told as ``--state: …`` instead of a line. A $ in their paths is only that: the shell has had its turn.
        environment: Whose ``DAMD__…`` variables replace the file's values, and are replaced by `overrides`; their
            problems are told as ``$DAMD__STATE: …``. The process's own, unless it is given.
        imported: The plugins of a daemon that runs: others are a problem, and nothing is imported.

    Raises:
        ConfigurationError: With every problem that can be found at once.
    """
    return read_config(path, overrides=overrides, environment=environment, imported=imported)[0]


def read_config(
    path: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    imported: Collection[str] | None = None,
) -> tuple[Config, Document]:
    """As `load_config`, with the document that knows where each value is written."""
    document = read_document(path) if path is not None else Document()
    apply_variables(document, os.environ if environment is None else environment)
    document.override(_literal(overrides or {}))
    for location, text in _prepare_plugins(document.values.get("plugins"), imported):
        document.add_problem(location, text)
    for location, text in _misread(Config, document.values, ()):
        document.add_problem(location, text, unreadable=True)
    config = None
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        document.add_invalid(error, _Keys(document.values))
    if config is None or document.problems():
        raise ConfigurationError(document.problems())
    return config, document


def state_as_written(path: Path | None, *, environment: Mapping[str, str] | None = None) -> Path:
    """The state folder of a configuration of which the rest, or all, may be wrong: then its default; blocking.

    Raises:
        ConfigurationError: There is no default either.
    """
    document = Document()
    with suppress(ConfigurationError):
        document = read_document(path) if path is not None else document
    apply_variables(document, os.environ if environment is None else environment)
    try:
        return Config.model_validate({"state": document.values["state"]}).state
    except (KeyError, ValidationError):
        return Config().state


def _literal(value: Any) -> Any:
    """With each $ written as a path of the file would have it."""
    if isinstance(value, Mapping):
        return {key: _literal(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_literal(each) for each in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _misread(expected: Any, value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    """Where pydantic would make true of ``on`` or 1, and a number of ``true``, ``0644`` or ``1_000``."""
    if expected == SubscriberEntry:
        expected = subscriber_type(value)
    if get_origin(expected) is Annotated:
        inner, *metadata = get_args(expected)
        if not any(isinstance(each, BeforeValidator) for each in metadata):  # it reads for itself
            yield from _misread(inner, value, location)
    elif get_origin(expected) is tuple:
        for index, each in enumerate(value if isinstance(value, list) else ()):
            yield from _misread(get_args(expected)[0], each, (*location, index))
    elif alternatives := get_args(expected):
        for alternative in alternatives:
            yield from _misread(alternative, value, location)
    elif expected is bool and not (value is None or isinstance(value, bool) or _is_like(r"(?i:true|false)", value)):
        yield location, "expected true or false"
    elif expected is int and (isinstance(value, bool) or _is_like(r"[-+]?0[0-9]+|[-+0-9\s]*_[-+0-9_\s]*", value)):
        yield location, "expected a whole number in plain digits, without leading zeros or _"
    elif isinstance(expected, type) and issubclass(expected, Settings) and isinstance(value, Mapping):
        for key in expected.model_fields.keys() & value.keys():
            found = expected.model_fields[key]
            yield from _misread(Annotated[found.annotation, *found.metadata, None], value[key], (*location, key))


def _is_like(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


class _Keys:
    """Which keys the configuration knows, by the kinds of subscribers in its values; a `damd.sentences.KnownKeys`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def at(self, location: Location) -> Sequence[str]:
        """Those that may stand in the mapping at a location."""
        settings_type: type[Settings] | None = Config
        if location[:1] == ("subscribers",) and len(location) > 1:
            settings_type = subscriber_type(self._values["subscribers"][location[1]])
            location = location[2:]
        for part in location:
            if settings_type is not None and isinstance(part, str):
                found = settings_type.model_fields.get(part)
                settings_type = _settings_within(found.annotation) if found else None
        return list(settings_type.model_fields) if settings_type else []

    def homes_of(self, key: str) -> Sequence[str]:
        """The sections that know a key, in words."""
        homes = ["the top level"] if key in Config.model_fields else []
        for name, found in Config.model_fields.items():
            section = _settings_within(found.annotation)
            if section is not None and key in section.model_fields:
                homes.append(name)
        if any(key in subscriber.settings_type.model_fields for subscriber in SUBSCRIBERS.values()):
            homes.append("an entry of subscribers")
        return homes


def _settings_within(annotation: Any) -> type[Settings] | None:
    if arguments := get_args(annotation):
        return next(filter(None, map(_settings_within, arguments)), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None


def _prepare_plugins(names: Any, imported: Collection[str] | None) -> Iterator[tuple[Location, str]]:
    """Import them, or compare them with those that are; whatever is no list of names is left to the validation."""
    known = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if imported is None:
        yield from _import_plugins(names if known else [])
    elif set(known) != set(imported):
        yield ("plugins",), "the plugins cannot be changed while damd runs: restart it"


def _import_plugins(names: Sequence[Any]) -> Iterator[tuple[Location, str]]:
    for index, name in enumerate(names):
        if not isinstance(name, str):
            continue
        try:
            setup = getattr(importlib.import_module(name), "setup", None)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - other people's code may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            where = "install it into damd's environment, or name its folder in PYTHONPATH"
            hint = f": {where}" if isinstance(error, ModuleNotFoundError) else ""
            yield ("plugins", index), f"the plugin {name} cannot be loaded ({reason}){hint}"
        else:
            if not callable(setup) or inspect.iscoroutinefunction(setup):
                yield ("plugins", index), f"the plugin {name} has no plain function setup(world)"
