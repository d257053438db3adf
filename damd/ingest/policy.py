"""What the roots say about ingesting: handed over by the composition root, since a slice reads no configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from damd.fingerprint import Signature


@dataclass(frozen=True, kw_only=True)
class RootPolicy:
    """One root's say.

    Attributes:
        catalogue_unsupported: Of a file that no family reads, record hash and properties; else it fails.
        silent_before: A file that has not changed since then is imported without being announced. Decided
            by the file's ctime, not by which scan found it, so that a first scan may be killed and resumed.
        follow_symlinks: A symbolic link to a file is ingested as what it leads to, under its own path.
    """

    catalogue_unsupported: bool = False
    silent_before: datetime | None = None
    follow_symlinks: bool = False

    def announces(self, signature: Signature) -> bool:
        """Whether the import of this file is announced."""
        return self.silent_before is None or signature.ctime_ns >= self.silent_before.timestamp() * 1e9


class RootPolicies:
    """Every root's policy by its name; a resource of the World."""

    def __init__(self, policies: Mapping[str, RootPolicy]) -> None:
        self.renew(policies)

    def renew(self, policies: Mapping[str, RootPolicy]) -> None:
        """Have these from now on."""
        self._policies = dict(policies)

    def of(self, root: str) -> RootPolicy:
        """The root's policy; the default outside every configured root."""
        return self._policies.get(root, RootPolicy())
