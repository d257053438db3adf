"""``damd status``."""

from damd.cli.status.command import status

__all__ = ["status"]
