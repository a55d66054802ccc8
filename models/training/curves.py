"""The curves of a training: a table for other programs, a picture for people."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from annotation.paths import replacing
from models.training.history import History

__all__ = ["write_curves"]

TABLE = "history.csv"
PICTURE = "curves.png"


def write_curves(folder: Path, histories: Mapping[str, History]) -> None:
    """Write ``history.csv``, a row an epoch, and ``curves.png``.

    Parameters
    ----------
    histories
        By stage of the method, in their order.
    """
    names = sorted(
        {
            name
            for history in histories.values()
            for epoch in history.epochs
            for name in epoch.metrics
        }
    )
    with (
        replacing(folder / TABLE) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(["stage", "epoch", "loss", "learning_rate", *names])
        for stage, history in histories.items():
            for epoch in history.epochs:
                figures = [epoch.metrics.get(name, "") for name in names]
                writer.writerow([stage, epoch.epoch, epoch.loss, epoch.learning_rate, *figures])
    with replacing(folder / PICTURE) as temporary:
        _draw(temporary, histories, names)


def _draw(path: Path, histories: Mapping[str, History], names: list[str]) -> None:
    """One panel for the loss and one for each figure; a line a stage."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = ["loss", *names]
    figure = Figure(figsize=(4.0 * len(panels), 3.0), layout="constrained")
    for place, name in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for stage, history in histories.items():
            points = [
                (epoch.epoch + 1, epoch.loss if name == "loss" else epoch.metrics[name])
                for epoch in history.epochs
                if name == "loss" or name in epoch.metrics
            ]
            if points:
                axes.plot(*zip(*points, strict=True), label=stage)
        axes.set_xlabel("epoch")
        axes.set_title(name)
    figure.axes[0].legend()
    FigureCanvasAgg(figure).print_png(path)  # type: ignore[no-untyped-call]
