"""What became of the files of each root, since the start and lately. Pure: time is an argument."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from damd.results import IngestResult, IngestStatus

OUTCOMES = {IngestStatus.SUCCESS: "imported", IngestStatus.SKIPPED: "skipped", IngestStatus.FAILED: "failed"}
_LATELY_S = 60


@dataclass
class RootTally:
    """One root's, since the start.

    Attributes:
        outcomes: How many files ended in each way; a word of `OUTCOMES` each.
        imported_bytes: Of the files that were imported, together.
        last_imported_at: When the last of them was.
    """

    outcomes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(OUTCOMES.values(), 0)))
    imported_bytes: int = 0
    last_imported_at: datetime | None = None


@dataclass
class _Second:
    number: int
    files: int = 0
    size_bytes: int = 0


class Tally:
    """Every root's."""

    def __init__(self) -> None:
        self._roots: dict[str, RootTally] = {}
        self._lately: deque[_Second] = deque(maxlen=_LATELY_S)

    @property
    def roots(self) -> Mapping[str, RootTally]:
        """By the root's name; of roots that are watched no more, too."""
        return self._roots

    @property
    def outcomes(self) -> Counter[str]:
        """Of all roots together."""
        total = RootTally().outcomes
        for root in self._roots.values():
            total.update(root.outcomes)
        return total

    def of(self, root: str) -> RootTally:
        """One root's; a new one's is empty."""
        return self._roots.setdefault(root, RootTally())

    def note(self, root: str, result: IngestResult, *, now_s: float, at: datetime) -> None:
        """A file has come to its end.

        Args:
            root: Its root.
            result: How.
            now_s: The monotonic clock.
            at: The same moment by the calendar.
        """
        tally = self.of(root)
        tally.outcomes[OUTCOMES[result.status]] += 1
        size_bytes = 0
        if result.status is IngestStatus.SUCCESS:
            size_bytes = result.size_bytes or 0
            tally.imported_bytes += size_bytes
            tally.last_imported_at = at
        second = int(now_s)
        if not self._lately or self._lately[-1].number != second:
            self._lately.append(_Second(second))
        self._lately[-1].files += 1
        self._lately[-1].size_bytes += size_bytes

    def rates(self, *, now_s: float) -> dict[str, float]:
        """Of the last minute: ``files_per_s`` that came to their end, and ``bytes_per_s`` of those imported."""
        lately = [each for each in self._lately if each.number > now_s - _LATELY_S]
        return {
            "files_per_s": round(sum(each.files for each in lately) / _LATELY_S, 2),
            "bytes_per_s": round(sum(each.size_bytes for each in lately) / _LATELY_S),
        }
