"""What the report says of single raters: against the consensus, the others and themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consensus.reporting.numbers import ShownStatistic, count_text, percent_text, shown

__all__ = ["RaterComparison", "comparison_tables"]

FIGURES: Final = {
    "kappa": "Kappa",
    "conditional_kappa": "Given the class",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "dice": "Dice",
}
"""Figures of a class and their heads; those that a comparison has stand in its table."""

WITH_INTERVAL: Final = ("kappa", "conditional_kappa", "dice")
SHARES: Final = ("sensitivity", "specificity")


@dataclass(frozen=True)
class RaterRow:
    """One rater; ``left_out`` is the part of what they rated that could not be compared."""

    rater: str
    items: str
    left_out: str
    kappa: ShownStatistic


@dataclass(frozen=True)
class ClassGroup:
    """One class: a row of figures for each rater."""

    name: str
    rows: list[tuple[str, list[ShownStatistic]]]


@dataclass(frozen=True)
class RaterComparison:
    """One comparison: a table of raters, and one of classes by rater.

    ``heads`` names the figures of a class, and says of each whether its interval stands beside.
    """

    id: str
    title: str
    about: str
    left_out: str
    raters: list[RaterRow]
    heads: list[tuple[str, bool]]
    classes: list[ClassGroup]
    notes: list[str]

    @property
    def figures(self) -> list[ShownStatistic]:
        """All that may have an interval."""
        of_classes = [one for group in self.classes for _, row in group.rows for one in row]
        return [row.kappa for row in self.raters] + of_classes


def comparison_tables(document: Mapping[str, Any]) -> list[RaterComparison]:
    """The comparisons that an agreement document holds, in the order of the page."""
    found = []
    reference, others, intra = (
        document.get(key, {}) for key in ("reference", "others", "intra_rater")
    )
    if reference.get("raters"):
        found.append(_reference(reference))
    if others.get("raters"):
        found.append(
            _comparison(
                "others",
                "Against the others",
                "Each rater against what more than half of the other raters of an item say, at "
                "least two of them; the rater has no vote in it. Items on which the others are "
                "split are the hard ones and drop out.",
                "others split, or fewer than two",
                others["raters"],
                ("others_split", "too_few_others"),
            )
        )
    if intra.get("raters"):
        excluded = [
            f"read {read['read']} of {read['slide']} by {read['annotator']} is no second reading: "
            f"{read['reason']}"
            for read in intra.get("excluded", [])
        ]
        found.append(
            _comparison(
                "own",
                "Against themselves",
                "Each rater’s readings of the same slides, which limit how far two people can "
                "agree.",
                "read once",
                intra["raters"],
                ("read_once",),
                [*excluded, *intra.get("notes", [])],
            )
        )
    return found


def _reference(reference: Mapping[str, Any]) -> RaterComparison:
    title, about = f"Against {reference['name']}", "Each rater against this one."
    if reference["kind"] == "consensus run":
        states = reference["states"]
        whole = sum(amount["weight"] for amount in states.values())
        told = ", ".join(
            f"{state} {percent_text(amount['weight'] / whole if whole else 0.0)}"
            for state, amount in states.items()
        )
        title = f"Against the consensus of run {reference['run']}"
        about = (
            f"Each rater against the class that holds, decisions included: {told}. Where the rule "
            "agreed on a class, the rater’s own vote is part of it, which flatters."
        )
    return _comparison(
        "reference", title, about, "no class holds", reference["raters"], ("without_reference",)
    )


def _comparison(
    identifier: str,
    title: str,
    about: str,
    left_out: str,
    raters: Sequence[Mapping[str, Any]],
    beside: Sequence[str],
    notes: Sequence[str] = (),
) -> RaterComparison:
    kinds = [kind for kind in FIGURES if kind in next(iter(raters[0]["per_class"].values()))]
    return RaterComparison(
        id=identifier,
        title=title,
        about=about,
        left_out=left_out,
        raters=[_rater(one, beside) for one in raters],
        heads=[(FIGURES[kind], kind in WITH_INTERVAL) for kind in kinds],
        classes=[
            ClassGroup(
                name,
                [
                    (
                        one["rater"],
                        [
                            shown(one["per_class"][name][kind], as_percent=kind in SHARES)
                            for kind in kinds
                        ],
                    )
                    for one in raters
                ],
            )
            for name in raters[0]["per_class"]
        ],
        notes=list(notes),
    )


def _rater(one: Mapping[str, Any], beside: Sequence[str]) -> RaterRow:
    left = sum(one[key]["weight"] for key in beside)
    whole = one["weight"] + left
    return RaterRow(
        rater=one["rater"],
        items=count_text(one["items"]),
        left_out=percent_text(left / whole if whole else 0.0),
        kappa=shown(one["kappa"]),
    )
