"""The configuration in force, for people: as YAML, without its secrets."""

from __future__ import annotations

import re
from typing import Any

from damd.config.model import Config
from damd.documents import write_document


def config_as_yaml(config: Config) -> str:
    """The complete configuration as YAML that `load_config` reads; passwords and queries within URLs are masked."""
    return write_document(_masked(config.model_dump(mode="json")))


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
