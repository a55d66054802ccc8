"""The tables of a model card that only models of masks have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consensus.reporting.numbers import count_text, number_text, shown
from models.evaluation.card_rows import Row

__all__ = ["MaskTables", "mask_tables"]

_OF_OUTLINES = ("dice", "surface_distance_um", "hausdorff_95_um")


@dataclass(frozen=True)
class MaskTables:
    """Dice and distances against the consensus, of each site, and beside each expert.

    Attributes
    ----------
    consensus
        A row a class.
    sites, experts
        The same by name. An expert's rows have Dice against the majority of the others (expert,
        model, difference), and then the model against the expert's own outlines.
    """

    consensus: list[Row]
    sites: list[tuple[str, list[Row]]]
    experts: list[tuple[str, list[Row]]]

    @property
    def rows(self) -> list[Row]:
        """Of all tables."""
        grouped = [row for _, rows in (*self.sites, *self.experts) for row in rows]
        return [*self.consensus, *grouped]


def mask_tables(document: Mapping[str, Any]) -> MaskTables | None:
    """The tables of an evaluation's document; None where it is not of masks."""
    masks = document["masks"]
    if masks is None:
        return None
    return MaskTables(
        consensus=_rows(masks["per_class"]),
        sites=[(name, _rows(of_classes)) for name, of_classes in masks["per_site"].items()],
        experts=[
            (handle, _expert_rows(beside)) for handle, beside in sorted(document["experts"].items())
        ],
    )


def _rows(of_classes: Mapping[str, Any]) -> list[Row]:
    return [
        Row(
            name,
            (f"{number_text(one['area_um2'] / 1e6)} mm²", count_text(one["outlined_slides"])),
            tuple(shown(one[kind]) for kind in _OF_OUTLINES),
        )
        for name, one in of_classes.items()
    ]


def _expert_rows(beside: Mapping[str, Any]) -> list[Row]:
    dice, own = beside["others"]["dice"], beside["outlines"]
    return [
        Row(
            name,
            (),
            (
                *(shown(dice[who][name]) for who in ("expert", "model", "difference")),
                *(shown(own[name][kind]) for kind in _OF_OUTLINES),
            ),
        )
        for name in own
    ]
