"""What ingesting a file comes to: the answer of `IngestFileCommand` and of the commands beneath it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

PATH_ALREADY_IMPORTED = "Path already imported"
DUPLICATE_HASH = "Duplicate hash"
MOVED = "Moved"
LINK_NOT_FOLLOWED = "Symbolic link: not followed"


class IngestStatus(StrEnum):
    """How it ended."""

    SUCCESS = "SUCCESS"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class IngestResult:
    """The outcome for one file; what is not known at its end is None.

    Attributes:
        reason: Why it was skipped or failed, in words for a person; the guide's where it has some.
        retry_at: When a transient failure is tried again.
        is_news: False where an earlier failure is only said again, the file unread.
        catalogue_failed: The fault is the catalogue's, and so will be that of the next file.
        size_bytes: Of what was read, where it was.
    """

    status: IngestStatus
    reason: str | None = None
    asset_id: int | None = None
    sha256: str | None = None
    family: str | None = None
    mime_type: str | None = None
    thumbnail_path: str | None = None
    retry_at: datetime | None = None
    is_news: bool = True
    catalogue_failed: bool = False
    size_bytes: int | None = None
