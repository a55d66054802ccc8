"""Pictures of drift, as SVG: the patients of both sides, and kappa from month to month."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from annotation.terminal import plain
from models.drift.watch import Indicator
from models.evaluation.pictures import svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_kappas", "draw_numbers"]

_REFERENCE, _CURRENT, _ALARM = "#4d5661", "#1b5fbf", "#b3261e"
_FURTHEST = 6.0
_LONGEST_TITLE = 44
_MOST_POINTS = 400
_MOST_LINES = 12
_LINES = ("-", "--", "-.", ":")


def draw_numbers(indicators: Sequence[Indicator]) -> bytes | None:
    """A row for each number, a dot a patient, with quartiles of both sides; None without any.

    All are scaled to the reference: 0 is its median, 1 the distance of its quartiles. What lies further
    out than the axis stands at its end. Alarms come first, red and with a mark.
    """
    shown = [one for one in indicators if one.kind == "number" and _is_on_both_sides(one)]
    if not shown:
        return None
    shown.sort(key=lambda one: not one.alarm)
    figure, (axes,) = _panels(9.6, 1.0 + 0.42 * len(shown), 1)
    for side, shift, color, marker, label in (
        ("reference", 0.16, _REFERENCE, "o", "reference"),
        ("current", -0.16, _CURRENT, "^", "now"),
    ):
        x, y, quartiles = [], [], []
        for row, one in enumerate(shown):
            own = _scaled(one, side)
            dots = own[:: -(-len(own) // _MOST_POINTS)]
            rng = np.random.default_rng(row)
            x.append(dots)
            y.append(row - shift + rng.uniform(-0.11, 0.11, len(dots)))
            quartiles.append(np.quantile(own, [0.25, 0.5, 0.75]))
        axes.scatter(
            np.concatenate(x), np.concatenate(y), s=10, color=color, marker=marker, alpha=0.4,
            linewidths=0, clip_on=False,
        )  # fmt: skip
        low, middle, high = np.transpose(quartiles)
        at = np.arange(len(shown)) - shift
        axes.hlines(at, low, high, color=color, linewidth=2)
        axes.plot(middle, at, marker, color=color, markerfacecolor="white", label=label, zorder=3)
    axes.axvline(0, color=_REFERENCE, linewidth=0.6)
    axes.set_yticks(
        range(len(shown)),
        [f"! {_shortened(one.title)}" if one.alarm else _shortened(one.title) for one in shown],
    )
    for tick, one in zip(axes.get_yticklabels(), shown, strict=True):
        tick.set_parse_math(False)  # a $ is no formula
        tick.set_color(_ALARM if one.alarm else "black")
        tick.set_fontweight("bold" if one.alarm else "normal")
    axes.set(
        xlim=(-_FURTHEST, _FURTHEST), ylim=(len(shown) - 0.5, -0.5),
        xlabel="Distance from the reference's median, in distances of its quartiles",
    )  # fmt: skip
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return svg_of(figure)


def draw_kappas(readers: Sequence[Indicator], by_month: Sequence[dict[str, Any]]) -> bytes | None:
    """Kappa of all readers, of each class and of each reader by month; None with fewer than two."""
    if len(by_month) < 2:
        return None
    figure, panels = _panels(9.6, 3.4, 2)
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


def _scaled(one: Indicator, side: str) -> NDArray[np.float64]:
    """The patients' values of a side, scaled to the reference and within the axis."""
    values, current = one.values, one.current
    assert values is not None  # noqa: S101 - draw_numbers has looked
    assert current is not None  # noqa: S101
    low, middle, high = np.nanquantile(values[~current], [0.25, 0.5, 0.75])
    apart = values - middle
    # A reference that is all but constant is scaled to whatever differs from it.
    unit = high - low if high > low else np.nanmax(np.abs(apart)) or 1.0
    own = apart[current if side == "current" else ~current] / unit
    within: NDArray[np.float64] = np.clip(own[~np.isnan(own)], -_FURTHEST, _FURTHEST)
    return within


def _panels(width_in: float, height_in: float, columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
    panels = figure.subplots(1, columns, squeeze=False).ravel().tolist()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _shortened(name: str) -> str:
    name = plain(name)
    return name if len(name) <= _LONGEST_TITLE else name[: _LONGEST_TITLE - 1] + "…"
