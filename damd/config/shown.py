"""The configuration in force, for people and programs: without its secrets, and as it could be written in the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from damd.config.model import Config
from damd.documents import write_document


def config_as_yaml(config: Config) -> str:
    """The complete configuration as YAML that `load_config` reads.

    Masked is what may be secret: passwords within URLs, queries of webhooks' URLs, arguments of commands.
    """
    return write_document(written_values(config))


def plain_values(config: Config) -> dict[str, Any]:
    """The values in force, durations and sizes in their units; masked."""
    values = {key: _masked(value) for key, value in config.model_dump(mode="json").items()}
    for settings, entry in zip(config.subscribers, values["subscribers"], strict=True):
        for key, field in type(settings).model_fields.items():
            if not field.repr and isinstance(entry.get(key), list):
                entry[key] = entry[key][:1] + ["***"] * len(entry[key][1:])
    return values


def written_values(config: Config) -> dict[str, Any]:
    """As they could stand in the file; masked."""
    return {key: _as_written(getattr(config, key), value) for key, value in plain_values(config).items()}


def _as_written(settings: Any, dumped: Any) -> Any:
    """With the sign $ of paths doubled, since a single one begins a variable."""
    if isinstance(settings, Path):
        return str(dumped).replace("$", "$$")
    if isinstance(settings, BaseModel):
        return {key: _as_written(getattr(settings, key), value) for key, value in dumped.items()}
    if isinstance(settings, tuple):
        return [_as_written(each, value) for each, value in zip(settings, dumped, strict=True)]
    return dumped


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each) for each in value]
    if not isinstance(value, str) or "://" not in value:
        return value
    # A database's password may hold slashes; in the path of a hook an @ is no password's end.
    within = "[^/?#]*" if value.lower().startswith("http") else ".*"
    value = re.sub(rf"(://[^/?#:@]*:){within}@", r"\1***@", value)
    if value.lower().startswith("http"):
        return re.sub(r"(?<=[?#]).+", "***", value)  # of a hook: a token as often as not
    return re.sub(r"([?&]\w*password=)[^&#]*", r"\1***", value)
