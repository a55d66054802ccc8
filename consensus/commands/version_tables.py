"""What `agreement --versions` prints: what each version changed, and both figures side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from annotation.terminal import counted, table
from consensus.commands.comparison_tables import COEFFICIENTS, interval_text, value_text

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["show_versions"]


def show_versions(console: Console, document: Mapping[str, Any]) -> None:
    """Print the document of all versions of a protocol."""
    for version in document["versions"]:
        told = "no read counts"
        if version["status"] == "ok":
            told = (
                f"{counted(len(version['raters']), 'rater')}, {counted(version['slides'], 'slide')}"
            )
        against = "" if version["against"] is None else f"; against version {version['against']}:"
        console.print(
            f"{document['protocol']} version {version['version']}: {told}{against}", markup=False
        )
        for change in version["changes"]:
            console.print(f"  {change['text']}", markup=False, soft_wrap=True)
    if not document["pairs"]:
        console.print("There are no two versions with reads that count.", markup=False)
    for pair in document["pairs"]:
        _show_pair(console, pair)


def _show_pair(console: Console, pair: Mapping[str, Any]) -> None:
    first, second = (f"version {pair[side]}" for side in ("first", "second"))
    console.print(f"\n{second} and {first}", markup=False, end="")
    if pair["status"] != "ok":
        console.print(f": {pair['status']}.", markup=False)
        return
    shared = counted(pair["shared_clusters"], pair["cluster_unit"])
    console.print(
        f": {pair['weights']} weights; the difference is on {shared} that both hold.", markup=False
    )
    head = (first, second, "difference", "95% interval", "remark")
    alike = [row for row in pair["classes"] if row["status"] == "ok"]
    rows = [[_name(row), *_cells(row["figures"]["kappa"])] for row in alike]
    console.print(table("Kappa per class", "class", *head, rows=rows))
    if pair["coefficients"]:
        rows = [[title, *_cells(pair["coefficients"][key])] for key, title in COEFFICIENTS.items()]
        console.print(table(None, "coefficient", *head, rows=rows))
    for row in pair["classes"]:
        if row["status"] != "ok":
            console.print(f"{_name(row)}: {row['status']}.", markup=False, soft_wrap=True)
    for note in pair["notes"]:
        console.print(f"Note: {note}.", markup=False)


def _name(row: Mapping[str, Any]) -> str:
    """The class as the later version calls it; what changed stands above."""
    return str(row["first"] if row["second"] is None else row["second"])


def _cells(figures: Mapping[str, Any]) -> list[object]:
    first, second, difference = (figures[key] for key in ("first", "second", "difference"))
    statuses = [one["status"] for one in (first, second, difference)] + [difference["ci_status"]]
    return [
        value_text(first),
        value_text(second),
        value_text(difference, signed=True),
        interval_text(difference, signed=True),
        "; ".join(dict.fromkeys(status for status in statuses if status != "ok")),
    ]
