"""What the command says of raters one by one: their matrix, a reference, the others, themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from annotation.terminal import counted, table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["COEFFICIENTS", "interval_text", "show_comparisons", "value_text"]

COEFFICIENTS = {
    "percent": "weighted agreement",
    "cohen_mean": "Cohen's kappa, mean of pairs",
    "conger": "Conger's kappa",
    "fleiss": "Fleiss' kappa",
    "krippendorff": "Krippendorff's alpha",
    "gwet": "Gwet's AC",
    "brennan_prediger": "Brennan-Prediger",
}

WIDEST_MATRIX = 12
"""More raters side by side do not fit a terminal."""


def value_text(statistic: Mapping[str, Any], *, signed: bool = False) -> str:
    """The figure with three decimals, or a dash."""
    if statistic["value"] is None:
        return "-"
    return f"{statistic['value']:{'+' if signed else ''}.3f}"


def interval_text(statistic: Mapping[str, Any], *, signed: bool = False) -> str:
    """Both limits, or a dash."""
    low, high = statistic["ci_low"], statistic["ci_high"]
    if low is None or high is None:
        return "-"
    form = "+.3f" if signed else ".3f"
    return f"{low:{form}} to {high:{form}}"


def show_comparisons(console: Console, document: Mapping[str, Any]) -> None:
    """Print the parts of an agreement document that are about single raters."""
    _show_matrix(console, document["matrix"])
    reference = document.get("reference")
    if reference:
        _show_reference(console, reference)
    others = document.get("others")
    if others and others["raters"]:
        _show_others(console, others)
    intra = document.get("intra_rater")
    if intra:
        _show_intra(console, intra)


def _show_matrix(console: Console, matrix: Mapping[str, Any]) -> None:
    raters = matrix["raters"]
    if not 2 < len(raters) <= WIDEST_MATRIX:
        return
    rows: list[list[object]] = [
        [rater, *("" if a == b else _kappa(cell) for b, cell in enumerate(cells))]
        for a, (rater, cells) in enumerate(zip(raters, matrix["kappa"], strict=True))
    ]
    console.print(table("Kappa, rater by rater", "rater", *raters, rows=rows))


def _kappa(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _show_reference(console: Console, reference: Mapping[str, Any]) -> None:
    name = reference["name"]
    if reference["kind"] == "consensus run":
        name = f"consensus run {reference['run']}"
        told = ", ".join(
            f"{state} {counted(amount['items'], 'item')}"
            for state, amount in reference["states"].items()
        )
        console.print(f"The reference is {name} with its decisions: {told}.", markup=False)
    _show_raters(console, f"Against {name}", reference["raters"], ("without_reference",))
    rows: list[list[object]] = [
        [
            label,
            one["rater"],
            value_text(figures["kappa"]),
            value_text(figures["conditional_kappa"]),
            interval_text(figures["conditional_kappa"]),
            value_text(figures["sensitivity"]),
            value_text(figures["specificity"]),
        ]
        for label in _classes(reference["raters"])
        for one in reference["raters"]
        for figures in [one["per_class"][label]]
    ]
    columns = ("class", "rater", "kappa", "given the class", "95% interval", "sens.", "spec.")
    console.print(table(f"Per class, against {name}", *columns, rows=rows))


def _show_others(console: Console, others: Mapping[str, Any]) -> None:
    beside = ("others_split", "too_few_others")
    title = "Each against the majority of the others; left out where they are split, or under two"
    _show_raters(console, title, others["raters"], beside)


def _show_intra(console: Console, intra: Mapping[str, Any]) -> None:
    if intra["raters"]:
        _show_raters(console, "Each against their own reads", intra["raters"], ("read_once",))
    for read in intra.get("excluded", []):
        console.print(
            f"No second reading: read {read['read']} of {read['slide']} by {read['annotator']}: "
            f"{read['reason']}.",
            markup=False,
        )
    for note in intra.get("notes", []):
        console.print(f"Note: {note}.", markup=False)


def _show_raters(
    console: Console, title: str, raters: Sequence[Mapping[str, Any]], beside: Sequence[str]
) -> None:
    """A row for each rater: items compared and left out, kappa overall and of each class."""
    classes = _classes(raters)
    remarks = [_remark(one["kappa"]) for one in raters]
    rows: list[list[object]] = [
        [
            one["rater"],
            one["items"],
            sum(one[key]["items"] for key in beside),
            value_text(one["kappa"]),
            interval_text(one["kappa"]),
            *(value_text(one["per_class"][label]["kappa"]) for label in classes),
            *([remark] if any(remarks) else []),
        ]
        for one, remark in zip(raters, remarks, strict=True)
    ]
    head = ["rater", "items", "left out", "kappa", "95% interval", *classes]
    console.print(table(title, *head, *(["remark"] if any(remarks) else []), rows=rows))


def _remark(kappa: Mapping[str, Any]) -> str:
    """What stands in the way of the figure or of its interval."""
    said = (kappa["status"], kappa["ci_status"])
    return "; ".join(dict.fromkeys(one for one in said if one != "ok"))


def _classes(raters: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(raters[0]["per_class"]) if raters else []
