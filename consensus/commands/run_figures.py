"""What a consensus says of its raters and of its method, as tables for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annotation.terminal import counted, table

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["show_convergence", "show_quality", "show_staple_per_class"]


def show_convergence(console: Console, document: dict[str, Any]) -> None:
    """Say how expectation-maximisation ended, from one start or several."""
    ended = document.get("convergence")
    if not ended:
        return
    starts = ended["starts"]
    how = "converged" if ended["converged"] else "not converged (see --stopping likelihood)"
    console.print(
        f"{counted(ended['iterations'], 'iteration')}, {how}; log-likelihood "
        f"{ended['log_likelihood']:,.2f}.",
        markup=False,
    )
    if len(starts) > 1:
        rows: list[list[object]] = [
            [
                "vote shares" if number == 0 else f"random {number}",
                f"{start['log_likelihood']:,.2f}",
                start["iterations"],
                "yes" if start["converged"] else "no",
                f"{start['labels_changed']:.2%}",
                "kept" if start["kept"] else "",
            ]
            for number, start in enumerate(starts)
        ]
        columns = ("start", "log-likelihood", "iterations", "converged", "labels that differ", "")
        console.print(table(None, *columns, rows=rows))


def show_quality(console: Console, document: dict[str, Any], scale: float, unit: str) -> None:
    """Sensitivity and specificity of each rater, each with the weight it was taken over."""
    basis = document.get("quality_basis")
    if not basis:  # runs of earlier versions
        return
    rows: list[list[object]] = []
    for rater, of_rater in document["raters_quality"].items():
        for name in of_rater["sensitivity"]:
            cells: list[object] = []
            for kind in ("sensitivity", "specificity"):
                cells += [
                    _figure(of_rater[kind][name], of_rater[f"{kind}_ci"][name]),
                    of_rater[f"{kind}_over"][name] / scale,
                ]
            if of_rater["sensitivity"][name] is not None:
                rows.append([rater, name, *cells])
    over = f"over {unit}"
    console.print(
        table("Raters", "rater", "class", "sensitivity", over, "specificity", over, rows=rows)
    )
    drawn = f"; intervals: {basis['intervals']} ({basis['cluster_unit']})"
    console.print(
        f"Against the consensus to which they contributed ({basis['against']}), over "
        f"{basis['domain']}{drawn if basis['bootstrap'] else ''}.",
        markup=False,
    )


def show_staple_per_class(
    console: Console, document: dict[str, Any], scale: float, unit: str
) -> None:
    """STAPLE of each class against the rest, where it was asked for."""
    rows: list[list[object]] = [
        [
            name,
            found["weight"] / scale,
            rater,
            _figure(one["sensitivity"]),
            one["sensitivity_over"] / scale,
            _figure(one["specificity"]),
            one["specificity_over"] / scale,
        ]
        for name, found in document.get("staple_per_class", {}).items()
        for rater, one in found["raters"].items()
    ]
    if rows:
        over = f"over {unit}"
        columns = ("class", unit, "rater", "sensitivity", over, "specificity", over)
        console.print(table("STAPLE, each class against the rest", *columns, rows=rows))
        for name, found in document["staple_per_class"].items():
            if not found["converged"]:
                console.print(
                    f"Note: {name}: stopped after {counted(found['iterations'], 'iteration')} "
                    "while the likelihood still rose.",
                    markup=False,
                )


def _figure(value: float | None, interval: dict[str, Any] | None = None) -> str:
    if value is None:
        return "-"
    if interval is None or interval["ci_low"] is None:
        return f"{value:.3f}"
    few = " (few clusters)" if interval["ci_status"] == "few clusters" else ""
    return f"{value:.3f} [{interval['ci_low']:.3f}, {interval['ci_high']:.3f}]{few}"
