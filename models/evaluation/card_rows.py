"""A row of a table on the model card."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.reporting.numbers import ShownStatistic

__all__ = ["Row"]


@dataclass(frozen=True)
class Row:
    """A name, what it rests on, and figures in the order of a table's columns."""

    name: str
    amounts: tuple[str, ...]
    figures: tuple[ShownStatistic, ...]
