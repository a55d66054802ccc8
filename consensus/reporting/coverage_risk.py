"""Coverage against risk as a picture: how often a model errs on what it is left, the surest first."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["automatic_share", "draw_coverage_risk"]

_INK, _SOFT = "#1b1f24", "#8a929b"
_LINES: Final = (
    ("#0B3C9C", "-", 2.0),
    ("#B23A00", (0, (6, 2)), 1.4),
    ("#00663A", (0, (2, 2)), 1.4),
)
"""Of the measure that decides and of the plain ones: told apart in greys as well."""


def automatic_share(figures: Mapping[str, Any]) -> float:
    """The share of units that a triage leaves to the model: of calibration, else of what it triaged."""
    fitted = figures["calibration"]
    share = (figures["triaged"] if fitted is None else fitted)["automatic_share"]
    return 1.0 if share is None else float(share)


def draw_coverage_risk(
    document: Mapping[str, Any], automatic_share: float, kind: Literal["svg", "png"] = "svg"
) -> bytes:
    """Draw the curves of all measures; the same document gives the same bytes.

    Parameters
    ----------
    document
        ``coverage_risk`` of a triage.
    automatic_share
        Share that the threshold leaves to the model.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(
        {"svg.hashsalt": "pathquorum", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
    ):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)  # no pyplot: no windows, no global state
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        *measures, random = document["measures"]
        for one, (color, dashes, width) in zip(measures, _LINES, strict=False):
            _draw_curve(axes, one, color=color, linestyle=dashes, linewidth=width)
        axes.axhline(
            random["aurc"]["value"], color=_SOFT, linewidth=1, label=_label(random), zorder=1
        )
        axes.axvline(automatic_share, color=_INK, linewidth=0.8, linestyle=(0, (1, 3)), zorder=1)
        axes.annotate(
            "left to the model",
            (automatic_share, 0),
            xycoords=("data", "axes fraction"),
            xytext=(-4 if automatic_share > 0.5 else 4, 4),
            textcoords="offset points",
            ha="right" if automatic_share > 0.5 else "left",
            va="bottom",
            fontsize=8,
            color=_INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85},
            zorder=4,
        )
        axes.set(
            xlim=(0, 1),
            xlabel=f"Coverage: share of {document['units']:,} units, the surest first",
            ylabel="Risk: share of errors among them",
        )
        axes.set_ylim(bottom=0)
        axes.legend(
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=2,
            fontsize=9,
            title="Measure, and area under its curve",
            alignment="left",
        )
        stream = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(stream, format=kind, dpi=150, metadata=metadata)
    return stream.getvalue()


def _draw_curve(axes: Axes, one: Mapping[str, Any], **style: Any) -> None:
    curve = one["curve"]
    axes.plot(curve["coverage"], curve["risk"], label=_label(one), zorder=3, **style)


def _label(one: Mapping[str, Any]) -> str:
    return f"{one['measure']}: {one['aurc']['value']:.3f}"
