"""Pictures of drift, as SVG: the patients of both sides, and kappa from month to month."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from annotation.terminal import plain
from models.drift.watch import Indicator
from models.evaluation.pictures import svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_kappas", "draw_numbers"]

_REFERENCE, _CURRENT, _ALARM = "#4d5661", "#1b5fbf", "#b3261e"
_COLUMNS = 3
_LONGEST_TITLE = 34
_MOST_POINTS = 400
_MOST_LINES = 12
_LINES = ("-", "--", "-.", ":")


def draw_numbers(indicators: Sequence[Indicator]) -> bytes | None:
    """A panel for each number: a dot a patient and the quartiles, the reference below; None without any.

    Panels of alarms come first, with a red frame and a mark in the title.
    """
    shown = [one for one in indicators if one.values is not None and _is_on_both_sides(one)]
    if not shown:
        return None
    shown.sort(key=lambda one: not one.alarm)
    rows = math.ceil(len(shown) / _COLUMNS)
    figure, panels = _panels(9.6, 0.3 + 1.25 * rows, rows, _COLUMNS)
    for axes, one in zip(panels, shown, strict=False):
        _draw_panel(axes, one)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    return svg_of(figure)


def draw_kappas(readers: Sequence[Indicator], by_month: Sequence[dict[str, Any]]) -> bytes | None:
    """Kappa of all readers, of each class and of each reader by month; None with fewer than two."""
    if len(by_month) < 2:
        return None
    figure, panels = _panels(9.6, 3.4, 1, 2)
    months = [one["month"] for one in by_month]
    kinds = (("kappa:class:", "Classes"), ("kappa:rater:", "Readers, each with the others"))
    for axes, (prefix, title) in zip(panels, kinds, strict=True):
        keys = ["kappa", *(one.key for one in readers if one.key.startswith(prefix))]
        for number, key in enumerate(keys[:_MOST_LINES]):
            values = [one["kappa"][key] for one in by_month]
            axes.plot(
                range(len(months)),
                [np.nan if value is None else value for value in values],
                color="#1b1f24" if number == 0 else f"C{(number - 1) % 10}",
                linestyle=_LINES[number % len(_LINES)],
                linewidth=2 if number == 0 else 1.2,
                marker="o",
                markersize=3,
                label=_shortened("all" if number == 0 else key.removeprefix(prefix)),
            )
        axes.set_xticks(range(len(months)), months, rotation=45, ha="right", fontsize=8)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_ylabel("Kappa")
        axes.axhline(0, color=_REFERENCE, linewidth=0.6)
        legend = axes.legend(frameon=False, fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)  # a $ is no formula
    return svg_of(figure)


def _is_on_both_sides(one: Indicator) -> bool:
    return bool(one.facts["patients"]["reference"] and one.facts["patients"]["current"])


def _draw_panel(axes: Axes, one: Indicator) -> None:
    values, current = one.values, one.current
    if values is None or current is None:
        return
    rng = np.random.default_rng(0)
    for row, side, color, marker in (
        (0, ~current, _REFERENCE, "o"),
        (1, current, _CURRENT, "^"),
    ):
        own = values[side & ~np.isnan(values)]
        dots = own[:: -(-len(own) // _MOST_POINTS)]
        axes.scatter(
            dots, row + rng.uniform(-0.22, 0.22, len(dots)), s=9, color=color, marker=marker,
            alpha=0.45, linewidths=0,
        )  # fmt: skip
        low, middle, high = np.quantile(own, [0.25, 0.5, 0.75])
        axes.hlines(row, low, high, color=color, linewidth=2.2)
        axes.vlines(middle, row - 0.32, row + 0.32, color=color, linewidth=2.2)
    axes.set_yticks([0, 1], ["reference", "now"], fontsize=8)
    axes.set_ylim(-0.6, 1.6)
    axes.tick_params(axis="x", labelsize=7)
    title = _shortened(one.title)
    axes.set_title(
        f"! {title}" if one.alarm else title, fontsize=9, loc="left", parse_math=False,
        color=_ALARM if one.alarm else "black", fontweight="bold" if one.alarm else "normal",
    )  # fmt: skip


def _panels(
    width_in: float, height_in: float, rows: int, columns: int
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _shortened(name: str) -> str:
    name = plain(name)
    return name if len(name) <= _LONGEST_TITLE else name[: _LONGEST_TITLE - 1] + "…"
