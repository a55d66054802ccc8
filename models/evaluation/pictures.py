"""Pictures of the card, as SVG: reliability before and after a temperature, and model beside experts."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_experts", "draw_reliability", "svg_of"]

_LONGEST_LABEL = 24
_INK, _SOFT, _AFTER = "#1b1f24", "#8a929b", "#1b5fbf"


def draw_reliability(calibration: Mapping[str, Any]) -> bytes:
    """Share that is right over confidence, in bins of equal mass, with intervals.

    Parameters
    ----------
    calibration
        That part of an evaluation's document.
    """
    figure, axes = _figure(5.2, 4.6)
    axes.plot([0, 1], [0, 1], color=_SOFT, linewidth=1, linestyle=(0, (4, 3)))
    curves = [("as trained", calibration["before"], _INK, "o")]
    if calibration["after"] is not None:
        temperature = calibration["fitted"]["value"]
        curves.append((f"at temperature {temperature:.2f}", calibration["after"], _AFTER, "s"))
    for label, curve, color, marker in curves:
        bins = [one for one in curve["bins"] if one["right"]["value"] is not None]
        x = [one["confidence"] for one in bins]
        axes.plot(
            x,
            [one["right"]["value"] for one in bins],
            color=color,
            marker=marker,
            markersize=5,
            markerfacecolor="white",
            linewidth=1.2,
            label=label,
            clip_on=False,
        )
        _whiskers(axes, x, [one["right"] for one in bins], color)
    axes.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="Confidence of the model", ylabel="Share that is right"
    )
    axes.set_aspect("equal")
    axes.legend(frameon=False, loc="upper left")
    return svg_of(figure)


def draw_experts(experts: Mapping[str, Any], names: Mapping[str, str]) -> bytes:
    """Balanced accuracy of the model and of each expert against the majority of the others.

    Parameters
    ----------
    experts
        That part of an evaluation's document.
    names
        How each is called on the page.
    """
    figure, axes = _figure(6.4, 1.4 + 0.55 * len(experts))
    for row, beside in enumerate(experts.values()):
        for who, color, marker, shift in (
            ("expert", _INK, "o", -0.12),
            ("model", _AFTER, "s", 0.12),
        ):
            one = beside["others"][who]["balanced_accuracy"]
            if one["value"] is None:
                continue
            label = who if row == 0 else None
            axes.plot(
                one["value"],
                row + shift,
                marker,
                color=color,
                markerfacecolor="white",
                label=label,
                clip_on=False,
                zorder=3,
            )
            if one["ci_low"] is not None:
                axes.hlines(row + shift, one["ci_low"], one["ci_high"], color=color, linewidth=1.2)
    axes.set(xlim=(0, 1), xlabel="Balanced accuracy against the majority of the other experts")
    labels = [_shortened(names[handle]) for handle in experts]
    axes.set_yticks(range(len(experts)), labels, parse_math=False)  # a $ is no formula
    axes.set_ylim(len(experts) - 0.4, -0.6)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return svg_of(figure)


def _figure(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _whiskers(
    axes: Axes, x: Sequence[float], statistics: Sequence[Mapping[str, Any]], color: str
) -> None:
    for at, one in zip(x, statistics, strict=True):
        if one["ci_low"] is not None:
            axes.vlines(at, one["ci_low"], one["ci_high"], color=color, linewidth=0.8, alpha=0.7)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"


def svg_of(figure: Figure) -> bytes:
    """The same figure gives the same bytes; letters are drawn, so that no font is needed."""
    import matplotlib

    stream = io.BytesIO()
    with (
        matplotlib.rc_context({"svg.hashsalt": "pathquorum", "svg.fonttype": "path"}),
        warnings.catch_warnings(),
    ):
        # A letter that the font lacks is a box here; the table beside has the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
