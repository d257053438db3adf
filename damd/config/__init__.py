"""The configuration: YAML to one frozen `Config`, and back."""

from damd.config.loading import load_config, state_as_written
from damd.config.model import Config, LoggingSettings
from damd.config.shown import config_as_yaml

__all__ = ["Config", "LoggingSettings", "config_as_yaml", "load_config", "state_as_written"]
