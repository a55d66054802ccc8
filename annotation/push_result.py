"""What a push did, for the person who asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["PushResult", "listed"]

_IN_ONE_LINE = 5


@dataclass
class PushResult:
    """Objects written, those that were there already, those taken back, and where.

    ``replaced`` counts those among the written that stand in place of an older one of ours, and
    ``removed`` those of an older state that are gone. ``skipped_slides`` are not in the target,
    ``failed`` are slides with the reason why nothing changed for them. ``notes`` are for the person.
    """

    pushed: int = 0
    skipped: int = 0
    reverted: int = 0
    replaced: int = 0
    removed: int = 0
    targets: list[str] = field(default_factory=list)
    skipped_slides: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: PushResult) -> None:
        """Take what was done for another slide."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if not isinstance(value, list):
                setattr(self, name, mine + value)
            else:
                mine += [entry for entry in value if entry not in mine]

    def to_dict(self) -> dict[str, Any]:
        """The document of ``push``."""
        return vars(self).copy()


def listed(names: Sequence[str]) -> str:
    """The first few names of many."""
    shown = ", ".join(names[:_IN_ONE_LINE])
    more = len(names) - _IN_ONE_LINE
    return f"{shown} and {more} more" if more > 0 else shown
