"""The demo's protocol file."""

from __future__ import annotations

from typing import Final

__all__ = ["DEMO_PROTOCOL"]

DEMO_PROTOCOL: Final = """\
# The protocol of `pathquorum demo`.

name = "demo"
version = "1"
task = "regions"
weights = "quadratic"

[domain]
rule = "declared"
classes = ["Region*"]

[consensus]
min_raters = 2
quorum = 0.5

[dispute]
min_area_um2 = 2500            # 50 x 50 um; slivers between two hands are smaller
tolerance_um = 4

[adjudication]
roles = ["senior", "lead"]

[[classes]]
name = "Benign"
order = 0
color = "#00A000"

[[classes]]
name = "Low grade"
order = 1
color = "#FFC800"
aliases = ["Low-grade"]

[[classes]]
name = "High grade"
order = 2
color = "#E03C00"
aliases = ["High-grade"]

[[classes]]
name = "Inflammation"
color = "#6464FF"
"""
