"""YAML to one frozen `Config`; every error carries file, line, column and key."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from damd.config.model import Config, subscriber_type
from damd.documents import Document, Location, read_document
from damd.errors import ConfigurationError
from damd.settings import Settings


def load_config(path: Path | None = None, *, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a configuration file, if one is named, import its plugins, and validate everything.

    Args:
        path: The file; without one, everything has its default.
        overrides: Values of top-level keys from the command line, which replace the file's; their problems
            are told as ``--state: …`` instead of a line.

    Raises:
        ConfigurationError: With every problem that can be found at once.
    """
    document = read_document(path) if path is not None else Document()
    document.override(overrides or {})
    for location, text in _load_plugins(document.values.get("plugins")):
        document.add_problem(location, text)
    config = None
    try:
        config = Config.model_validate(document.values)
    except ValidationError as error:
        document.add_invalid(error, lambda location: _known_keys(location, document.values))
    if config is None or document.problems():
        raise ConfigurationError(document.problems())
    return config


def _known_keys(location: Location, values: Mapping[str, Any]) -> Sequence[str]:
    """The keys that may stand in the mapping at this location."""
    settings_type: type[Settings] | None = Config
    if location[:1] == ("subscribers",) and len(location) > 1:
        settings_type = subscriber_type(values["subscribers"][location[1]])
        location = location[2:]
    for part in location:
        if settings_type is not None and isinstance(part, str):
            found = settings_type.model_fields.get(part)
            settings_type = _settings_within(found.annotation) if found else None
    return list(settings_type.model_fields) if settings_type else []


def _settings_within(annotation: Any) -> type[Settings] | None:
    if arguments := get_args(annotation):
        return next(filter(None, map(_settings_within, arguments)), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Settings) else None


def _load_plugins(names: Any) -> Iterator[tuple[Location, str]]:
    """Import them; whatever is no list of names is left to the validation."""
    for index, name in enumerate(names if isinstance(names, list) else ()):
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
