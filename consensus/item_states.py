"""What can become of an item in a consensus run."""

from __future__ import annotations

__all__ = ["AGREED", "BELOW_AREA", "DISPUTED", "TOO_FEW"]

AGREED = "agreed"
DISPUTED = "disputed"
TOO_FEW = "too few raters"
BELOW_AREA = "below the dispute's area"
