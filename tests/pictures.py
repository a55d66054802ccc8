"""`make pictures`: the two pictures of the README, drawn from the demo.

    python -m tests.pictures DEMO TO

The same demo gives the same bytes, with the same versions of matplotlib and Pillow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
import numpy as np
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import select

from annotation.store import open_store
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Slide
from consensus.queue.adjudication_queue import queue
from consensus.reporting.drawing import (
    DPI,
    LINE_STYLES,
    PT_PER_PX,
    dashes,
    draw_disputed,
    draw_numbers,
    draw_outlines,
    line_style,
    outline_path,
)
from consensus.reporting.figures import rated_outlines
from consensus.reporting.labels import Labelled
from consensus.reporting.window import Window, draw_scale_bar, slide_image
from consensus.runs import AGREED, find_run, last_pull_before
from consensus.study.counted_reads import counted_reads
from consensus.tables import ConsensusItem, ConsensusRun

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from sqlalchemy.orm import Session

FILES: Final = ("overlay.png", "disputes.png")

SOFTWARE: Final = ", ".join(f"{name} {version(name)}" for name in ("matplotlib", "pillow"))
"""What sets lines and text to the pixel; it stands in the files."""

SLIDE: Final = "DEMO-11"
FIELD_PX: Final = (190.0, 190.0, 2070.0, 1410.0)
"""What is shown of the slide: x, y, width and height in level-0 pixels."""

RUN: Final = 1
"""The demo's first run, before anything was decided."""

WIDTH_PX: Final = 900
LEGEND_PX: Final = 44
COLORS: Final = 110
"""Of the palette that keeps the files small, beside those of the lines."""

Draw = Callable[["Session", "Field", "Axes"], tuple[list["Artist"], list[str]]]
"""Puts something on the field, and gives what its legend shows."""


@dataclass(frozen=True)
class Field:
    """The part of the slide that both pictures show, and where it comes from."""

    slide: Slide
    window: Window
    run: ConsensusRun
    protocol: ProtocolVersion

    @classmethod
    def of(cls, session: Session) -> Field:
        """The field as the demo's store has it."""
        run = find_run(session, RUN)
        x, y, width, height = FIELD_PX
        return cls(
            slide=session.scalars(select(Slide).where(Slide.name == SLIDE)).one(),
            window=Window(x, y, width, height, scale=width / WIDTH_PX, whole=False),
            run=run,
            protocol=session.get_one(ProtocolVersion, run.protocol_id),
        )

    def shown(self, geometries: Sequence[shapely.Geometry]) -> np.ndarray:
        """Geometries in picture pixels."""
        return self.window.shown(np.array(geometries, dtype=object))


def draw_pictures(demo: Path, to: Path) -> list[Path]:
    """Write both pictures of the demo in a folder; returns their paths."""
    to.mkdir(parents=True, exist_ok=True)
    store = open_store(f"sqlite:///{demo / 'study.db'}")
    tissue = demo / "slides" / f"{SLIDE}.tiff"
    drawn_with = PngInfo()
    drawn_with.add_text("Software", SOFTWARE)
    written = []
    with store.reading() as session:
        field = Field.of(session)
        for name, draw, veil in zip(FILES, (_overlay, _disputes), (0.35, 0.5), strict=True):
            path = to / name
            picture = _with_palette(_drawn(session, field, tissue, draw, veil))
            picture.save(path, "PNG", optimize=True, pnginfo=drawn_with)
            written.append(path)
    store.close()
    return written


def _drawn(session: Session, field: Field, tissue: Path, draw: Draw, veil: float) -> Image.Image:
    """The field with what `draw` puts on it, a legend below."""
    image, problem = slide_image(tissue, field.window)
    if image is None:
        raise SystemExit(f"no picture of {tissue}: {problem}; make the demo with `make demo`")
    width, height = field.window.size_px
    with mpl.rc_context({"hatch.linewidth": 1.1, "font.family": "DejaVu Sans"}):
        size = (width / DPI, (height + LEGEND_PX) / DPI)
        figure = Figure(figsize=size, dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes(
            (0.0, LEGEND_PX / (height + LEGEND_PX), 1.0, height / (height + LEGEND_PX))
        )
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        paled = Image.blend(image.convert("RGB"), Image.new("RGB", image.size, "white"), veil)
        axes.imshow(np.asarray(paled), extent=(0, width, height, 0), aspect="auto", zorder=0)
        handles, names = draw(session, field, axes)
        draw_scale_bar(axes, field.window, field.slide.mpp)
        figure.legend(
            handles, names, loc="lower center", ncol=len(names), frameon=False, fontsize=11,
            handlelength=2.6, columnspacing=1.8, borderaxespad=0.5,
        )  # fmt: skip
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[:, :, :3]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _with_palette(picture: Image.Image) -> Image.Image:
    """The picture in few colours, those of lines and text among them whatever their share."""
    common = picture.quantize(COLORS, dither=Image.Dither.NONE).getpalette() or []
    lines = np.array([to_rgb(style.color) for style in LINE_STYLES[:6]] + [(0.0, 0.0, 0.0)])
    shades = np.concatenate([1 - part * (1 - lines) for part in (1.0, 0.75, 0.5, 0.0)])
    own = (255 * shades).round().astype(int).ravel().tolist()
    palette = Image.new("P", (1, 1))
    palette.putpalette(common[: 3 * COLORS] + own)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def _overlay(session: Session, field: Field, axes: Axes) -> tuple[list[Artist], list[str]]:
    """What each rater drew, one colour and pattern of line per rater."""
    raters: list[str] = field.run.summary["raters"]
    as_of_pull = last_pull_before(session, field.run)
    reads = {
        read.read: raters.index(read.annotator)
        for read in counted_reads(session, field.protocol, as_of_pull)[0]
        if read.slide.name == SLIDE
    }
    task = protocol_of(field.protocol).task
    drawn = rated_outlines(session, task, reads, as_of_pull)
    draw_outlines(axes, {rater: field.shown(outlines) for rater, outlines in drawn.items()})
    styles = [line_style(rater) for rater in sorted(drawn)]
    handles: list[Artist] = [
        Line2D(
            [], [], color=style.color, linewidth=style.width_px * PT_PER_PX, linestyle=dashes(style)
        )
        for style in styles
    ]
    return handles, [raters[rater] for rater in sorted(drawn)]


def _disputes(session: Session, field: Field, axes: Axes) -> tuple[list[Artist], list[str]]:
    """What is agreed, filled in its class's colour, and what is disputed, hatched and numbered."""
    handles: list[Artist] = []
    names: list[str] = []
    for one in protocol_of(field.protocol).classes:
        agreed = session.scalars(
            select(ConsensusItem.geometry).where(
                ConsensusItem.run_id == field.run.id,
                ConsensusItem.slide_id == field.slide.id,
                ConsensusItem.state == AGREED,
                ConsensusItem.label == one.name,
            )
        ).all()
        if not agreed:
            continue
        region = shapely.union_all(shapely.from_wkb(np.array(agreed, dtype=object)))
        parts = shapely.get_parts(field.shown([region]))
        fill = PathCollection(
            [outline_path(part) for part in parts], facecolors=one.color, alpha=0.55, zorder=1
        )
        edge = PathCollection(
            [outline_path(part) for part in parts],
            facecolors="none", edgecolors=one.color, linewidths=1.6, zorder=2,
        )  # fmt: skip
        axes.add_collection(fill)
        axes.add_collection(edge)
        handles.append(Patch(facecolor=(one.color, 0.55), edgecolor=one.color, linewidth=1.6))
        names.append(one.name)
    entries = [entry for entry in queue(session, field.run) if entry.slide == SLIDE]
    regions = field.shown([entry.geometry for entry in entries if entry.geometry is not None])
    draw_disputed(axes, regions)
    labelled = [
        Labelled(str(e.dispute), region) for e, region in zip(entries, regions, strict=True)
    ]
    draw_numbers(axes, labelled, field.window.size_px)
    handles.append(Patch(facecolor="white", edgecolor="black", hatch="///", linewidth=0.6))
    return handles, [*names, "in dispute, with its number"]


if __name__ == "__main__":
    for picture in draw_pictures(Path(sys.argv[1]), Path(sys.argv[2])):
        print(f"{picture} ({picture.stat().st_size / 1000:.0f} kB)")
