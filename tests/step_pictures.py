"""Pictures of a pathologist's steps, drawn from the demo: ``python -m tests.step_pictures DEMO TO``.

They show what stands in the projects that `distribute` and `adjudicate open` make, drawn as QuPath
draws it: outlines in the colours of their classes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from annotation.distribution.masking import SlideMask
from annotation.geojson.export import open_export
from annotation.protocol import Protocol
from annotation.records import PathObject
from annotation.slides import read_slide, thumbnail
from annotation.store import open_store
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Slide
from consensus.queue.adjudication_queue import queue
from consensus.reporting.drawing import DPI, outline_path
from consensus.runs import find_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS: Final = (
    "1-project.png",
    "2-region.png",
    "3-annotate.png",
    "4-check.png",
    "5-adjudicate.png",
)
SLIDE: Final = "DEMO-11"
RATER: Final = "adler"
RUN: Final = 1
WIDTH_PX, HEIGHT_PX = 760, 420
GREY, YELLOW = "#505050", "#ffc800"

CHECKED: Final = (
    "RXR-Q3G: 12 annotations.",
    "- 1 annotation has no class.",
    "- 1 annotation has the class 'Bening', which the protocol doesn't know;",
    "  did you mean 'Benign'?",
    "Please mend these, they are selected in the image, then run this again.",
    "",
    "RXR-Q3G: 12 annotations.",
    "Ready to hand in.",
)


def draw_steps(demo: Path, to: Path) -> list[Path]:
    """Write the pictures; returns their paths."""
    to.mkdir(parents=True, exist_ok=True)
    store = open_store(f"sqlite:///{demo / 'study.db'}")
    with store.reading() as session:
        run = find_run(session, RUN)
        protocol = protocol_of(session.get_one(ProtocolVersion, run.protocol_id))
        slides = [row.id for row in session.query(Slide).order_by(Slide.name)]
        entries = [entry for entry in queue(session, run) if entry.slide == SLIDE]
    store.close()
    tissue = thumbnail(demo / "slides" / f"{SLIDE}.tiff", 1600)
    export = open_export(demo / "exports" / RATER / f"{SLIDE}.geojson")
    drawn = [thing for batch in export.batches() for thing in batch.objects]
    scale = _scale(demo, tissue.size[0])
    pictures = [_panel() for _ in STEPS]
    _project(pictures[0][1], protocol, slides)
    for axes in (pictures[1][1], pictures[2][1], pictures[4][1]):
        axes.imshow(np.asarray(tissue), extent=(0, tissue.size[0], tissue.size[1], 0))
        axes.set_xlim(0, tissue.size[0])
        axes.set_ylim(tissue.size[1], 0)
    _region(pictures[1][1], tissue.size)
    _annotations(pictures[2][1], protocol, drawn, scale)
    _log(pictures[3][1])
    shapes = [entry.geometry for entry in entries if entry.geometry is not None]
    said = [", ".join(f"{r}: {c}" for r, c in e.labels.items()) for e in entries]
    _disputes(pictures[4][1], shapes, said, [e.dispute for e in entries], scale)
    written = []
    for name, (figure, _) in zip(STEPS, pictures, strict=True):
        figure.savefig(to / name, dpi=DPI, metadata={"Software": None})
        written.append(to / name)
    return written


def _panel() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return figure, axes


def _scale(demo: Path, shown_px: int) -> float:
    return shown_px / read_slide(demo / "slides" / f"{SLIDE}.tiff", hash_files=False).width_px


def _project(axes: Axes, protocol: Protocol, slides: list[int]) -> None:
    """The image list under masked names, and the classes in order."""
    axes.set_xlim(0, WIDTH_PX)
    axes.set_ylim(HEIGHT_PX, 0)
    mask = SlideMask("demo", 0, 1, 1, 1)
    taken: set[str] = set()
    for title, x in (("Project", 30), ("Annotations > classes", 400)):
        axes.text(x, 32, title, fontsize=14, weight="bold", color=GREY)
        axes.add_patch(Rectangle((x - 10, 46), 330, 350, fill=False, edgecolor="#bbbbbb"))
    for row, slide in enumerate(mask.shuffled(slides)[:9]):
        name = mask.name(slide, taken)
        taken.add(name)
        axes.text(40, 80 + 36 * row, name, fontsize=13, family="monospace")
    classes = [(one.name, one.color or "#888888") for one in protocol.classes]
    classes += [(name, "#2850c8") for name in protocol.domain.classes]
    for row, (name, color) in enumerate(classes):
        axes.add_patch(Rectangle((410, 66 + 36 * row), 18, 18, color=color))
        axes.text(440, 80 + 36 * row, name, fontsize=13)


def _region(axes: Axes, size: tuple[int, int]) -> None:
    width, height = size
    frame = Rectangle(
        (0.02 * width, 0.02 * height), 0.96 * width, 0.96 * height,
        fill=False, edgecolor="#2850c8", linewidth=3,
    )  # fmt: skip
    axes.add_patch(frame)
    axes.text(0.035 * width, 0.075 * height, "Region*", color="#2850c8", fontsize=15, weight="bold")


def _annotations(axes: Axes, protocol: Protocol, drawn: list[PathObject], scale: float) -> None:
    for one in protocol.classes:
        outlines = [
            shapely.transform(thing.geometry, lambda xy: xy * scale)
            for thing in drawn
            if protocol.map_class(thing.path_class).name == one.name
        ]
        paths = [outline_path(shape) for shape in outlines if shape.area > 0]
        axes.add_collection(
            PathCollection(paths, facecolors="none", edgecolors=one.color, linewidths=2)
        )
    handles = [
        Patch(facecolor="white", edgecolor=one.color, label=one.name) for one in protocol.classes
    ]
    axes.legend(handles=handles, loc="lower right", fontsize=11, framealpha=0.9)


def _log(axes: Axes) -> None:
    """What the script prints in QuPath's script editor."""
    axes.set_xlim(0, WIDTH_PX)
    axes.set_ylim(HEIGHT_PX, 0)
    axes.add_patch(Rectangle((0, 0), WIDTH_PX, HEIGHT_PX, color="#f6f6f6"))
    axes.text(20, 40, "check_my_work.groovy", fontsize=14, weight="bold", color=GREY)
    for row, line in enumerate(CHECKED):
        axes.text(20, 90 + 40 * row, line, fontsize=10.5, family="monospace")


def _disputes(
    axes: Axes, shapes: list[shapely.Geometry], said: list[str], numbers: list[int], scale: float
) -> None:
    placed = [shapely.transform(shape, lambda xy: xy * scale) for shape in shapes]
    paths = [outline_path(part) for shape in placed for part in shapely.get_parts(shape)]
    axes.add_collection(PathCollection(paths, facecolors="none", edgecolors=YELLOW, linewidths=3))
    lines = [
        f"{rank}. dispute {number}: {text}"
        for rank, (number, text) in enumerate(zip(numbers, said, strict=True), start=1)
    ]
    for rank, shape in enumerate(placed, start=1):
        x, y = shape.representative_point().coords[0]
        axes.text(x, y, str(rank), fontsize=15, weight="bold", ha="center", va="center")
    left, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    axes.text(
        left + 15, bottom - 15, "\n".join(lines), fontsize=9, va="bottom",
        bbox={"facecolor": "white", "edgecolor": YELLOW, "pad": 4},
    )  # fmt: skip


if __name__ == "__main__":
    for picture in draw_steps(Path(sys.argv[1]), Path(sys.argv[2])):
        print(f"{picture} ({picture.stat().st_size / 1000:.0f} kB)")
