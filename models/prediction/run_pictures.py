"""Pictures of a run's page, as SVG: throughput, confidence, queues and memory over time."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from models.prediction.run_history import (
    QueueSample,
    RunHistory,
    binned_confidence,
    slides_per_hour,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_confidence", "draw_memory", "draw_queues", "draw_throughput"]

_INK, _SOFT, _BLUE, _BAND = "#1b1f24", "#8a929b", "#1b5fbf", "#c9dcf5"


def draw_throughput(history: RunHistory) -> bytes:
    """Slides that ended in an hour."""
    figure, axes = _figure()
    at, rate = slides_per_hour(history.ended_s())
    axes.plot(_days(at), rate, color=_BLUE, linewidth=1.4, drawstyle="steps-mid")
    axes.set(ylabel="Slides an hour")
    axes.set_ylim(bottom=0)
    return _svg(figure, axes, at)


def draw_confidence(history: RunHistory) -> bytes:
    """The largest probability of the slides, with the range that holds 80 % of them."""
    figure, axes = _figure()
    found = binned_confidence(*history.confidences())
    axes.fill_between(_days(found.at), found.low, found.high, color=_BAND, linewidth=0)
    axes.plot(_days(found.at), found.middle, color=_BLUE, linewidth=1.4, marker="o", markersize=3)
    axes.set(ylim=(0, 1.02), ylabel="Largest probability")
    return _svg(figure, axes, found.at)


def draw_queues(samples: Sequence[QueueSample]) -> bytes:
    """Slides that wait and are in hand; tiles read and not yet predicted."""
    figure, axes = _figure()
    at = [sample.at for sample in samples]
    for values, label, color, dash in (
        ([sample.waiting for sample in samples], "slides waiting", _INK, "-"),
        ([sample.in_hand for sample in samples], "slides in hand", _BLUE, "--"),
        ([sample.to_write for sample in samples], "slides to be written", _SOFT, "-."),
        ([sample.ahead for sample in samples], "tiles read ahead", _BLUE, ":"),
    ):
        axes.plot(_days(at), values, color=color, linestyle=dash, linewidth=1.4, label=label)
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.22), ncols=4, fontsize=8)
    return _svg(figure, axes, at)


def draw_memory(samples: Sequence[QueueSample]) -> bytes:
    """Memory of the largest worker."""
    figure, axes = _figure()
    at = [sample.at for sample in samples]
    axes.plot(_days(at), [s.memory_bytes / 1e9 for s in samples], color=_BLUE, linewidth=1.4)
    axes.set(ylabel="GB, largest worker")
    axes.set_ylim(bottom=0)
    return _svg(figure, axes, at)


def _figure() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 2.5), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _days(at: Sequence[datetime]) -> list[float]:
    """Moments as matplotlib counts them."""
    return [float(_dates().date2num(moment)) for moment in at]


def _dates() -> Any:
    """Matplotlib's dates, which bear no types."""
    import matplotlib.dates

    return matplotlib.dates


def _svg(figure: Figure, axes: Axes, at: Sequence[datetime]) -> bytes:
    import matplotlib

    if len(at) > 1:
        locator = _dates().AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(_dates().ConciseDateFormatter(locator))
    else:
        axes.set_xticks([])
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "pathquorum", "svg.fonttype": "path"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
