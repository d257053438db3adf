"""What one scan did not find, until it is concluded what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from damd.catalogue.absence import Comparison


@dataclass
class Absences:
    """What a scan did not find.

    Attributes:
        most: No more paths than this are kept.
        unseen_count: How many locations were not found, kept or not.
        unseen: Their paths, as far as they are kept.
        unseen_failures: The paths of failures that were not found.
        out_of_reach: How many locations lie on volumes that are not there.
        known: How many locations there are that are not missing, found or not.
        overflowed: Whether some of `unseen` are not kept.
    """

    most: int
    unseen_count: int = 0
    unseen: list[bytes] = field(default_factory=list)
    unseen_failures: list[bytes] = field(default_factory=list)
    out_of_reach: int = 0
    known: int = 0
    overflowed: bool = False

    def add(self, comparison: Comparison) -> None:
        """Note what a piece of the scan says."""
        self.known += comparison.known
        self.out_of_reach += comparison.out_of_reach
        self.unseen_count += len(comparison.unseen)
        room = max(0, self.most - len(self.unseen))
        self.overflowed = self.overflowed or len(comparison.unseen) > room
        self.unseen += comparison.unseen[:room]
        # The next scan finds the others.
        self.unseen_failures += comparison.unseen_failures[: max(0, self.most - len(self.unseen_failures))]
