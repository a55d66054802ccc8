"""Builds a study with one consensus run, row by row, so that tests choose every outline and label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import shapely
from sqlalchemy.orm import Session

from annotation.people import add_annotator
from annotation.protocol import parse_protocol
from annotation.protocol_versions import add_protocol
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.study import add_slide_without_image
from consensus.tables import ConsensusItem, ConsensusRun, Dispute

MPP = 0.5

PROTOCOL = """
name = "prostate"
version = "1"
task = "{task}"
[domain]
rule = "slide"
[[classes]]
name = "Benign"
order = 0
color = "#00A000"
[[classes]]
name = "=Tumor"
order = 1
color = "#C00000"
"""

NEGATIVE = {"regions": "background", "objects": "absent", "slides": None}


@dataclass
class Item:
    """An item of the run to build; ``places`` are its disputed components."""

    slide: str
    geometry: shapely.Geometry | None
    pattern: dict[str, str]
    label: str | None = None
    state: str = "agreed"
    places: Sequence[shapely.Geometry | None] = ()
    posterior: Mapping[str, float] = field(default_factory=dict)


def build_run(
    store: Store,
    items: Sequence[Item],
    *,
    slides: Mapping[str, Mapping[str, Any]],
    task: str = "regions",
    ai_assisted: Sequence[Mapping[str, Any]] = (),
) -> int:
    """Write a study with this run into a store and return the run's number."""
    with store.writing() as session:
        row = add_protocol(session, parse_protocol(PROTOCOL.format(task=task), "test"))
        for handle in ("P1", "P2", "P3"):
            add_annotator(session, handle, "pathologist")
        add_annotator(session, "L", "lead")
        ids = {
            name: add_slide_without_image(
                session, name, **{"width_px": 1000, "height_px": 800, "mpp": MPP, **about}
            ).id
            for name, about in slides.items()
        }
        return write_run(session, row.id, ids, items, task, ai_assisted)


def write_run(
    session: Session,
    protocol: int,
    slides: Mapping[str, int],
    items: Sequence[Item],
    task: str,
    ai_assisted: Sequence[Mapping[str, Any]] = (),
) -> int:
    """Write a run over slides that are there, and return its number."""
    classes = ["Benign", "=Tumor"] + ([NEGATIVE[task]] if NEGATIVE[task] else [])
    run = ConsensusRun(
        at=now(),
        protocol_id=protocol,
        method="majority",
        parameters={"min_raters": 2, "quorum": 0.5},
        input_digest="0" * 64,
        classes=classes,
        summary={
            "raters": ["P1", "P2", "P3"],
            "weight_unit": "um2" if task == "regions" else "count",
            "excluded": [{"read": 9, "annotator": "P3", "slide": "A", "reason": "no credential"}],
            "notes": [],
            "ai_assisted": list(ai_assisted),
        },
        software_version=SOFTWARE_VERSION,
    )
    session.add(run)
    session.flush()
    numbers: dict[str, int] = {}
    for item in items:
        numbers[item.slide] = numbers.get(item.slide, 0) + 1
        said = list(item.pattern.values())
        shares = {name: said.count(name) / len(said) for name in classes}
        row = ConsensusItem(
            run_id=run.id,
            slide_id=slides[item.slide],
            name=f"{item.slide}/{numbers[item.slide]}",
            weight=_weight(item.geometry, task),
            pattern=item.pattern,
            label=item.label,
            state=item.state,
            posterior=[(item.posterior or shares)[name] for name in classes],
            geometry=None if item.geometry is None else shapely.to_wkb(item.geometry),
        )
        session.add(row)
        session.flush()
        for place in item.places:
            session.add(
                Dispute(
                    run_id=run.id,
                    item_id=row.id,
                    slide_id=row.slide_id,
                    weight=_weight(place, task),
                    severity=1.0,
                    geometry=None if place is None else shapely.to_wkb(place),
                    reopened_because=None,
                )
            )
    return run.id


def _weight(geometry: shapely.Geometry | None, task: str) -> float:
    return 1.0 if geometry is None or task != "regions" else float(geometry.area * MPP * MPP)


ALL_BENIGN = {"P1": "Benign", "P2": "Benign", "P3": "Benign"}
MOST_TUMOR = {"P1": "=Tumor", "P2": "=Tumor", "P3": "Benign"}
SPLIT = {"P1": "Benign", "P2": "=Tumor"}
NOTHING = {"P1": "background", "P2": "background", "P3": "background"}


def region_items(slide: str = "A") -> list[Item]:
    """Items that tile a slide of 1000 x 800 px but for the strip right of x = 900, which nobody rated.

    A disputed item has three components: two disputes and a speck that nobody was asked about.
    """
    benign = shapely.box(0, 0, 300, 400)
    tumor = shapely.Polygon([(300, 0), (620.5, 0), (580.25, 400), (300, 400)])
    first, second = shapely.box(0, 400, 200, 800), shapely.box(700, 500, 800, 600)
    speck = shapely.box(850, 700, 852, 702)
    disputed = shapely.multipolygons([first, second, speck])
    few = shapely.box(400, 600, 500, 800)
    rated = shapely.box(0, 0, 900, 800)
    rest = shapely.difference(rated, shapely.union_all([benign, tumor, disputed, few]))
    return [
        Item(slide, benign, ALL_BENIGN, "Benign"),
        Item(slide, tumor, MOST_TUMOR, "=Tumor"),
        Item(slide, disputed, SPLIT, None, "disputed", places=[first, second]),
        Item(slide, few, {"P1": "Benign"}, None, "too few raters"),
        Item(slide, rest, NOTHING, "background"),
    ]
