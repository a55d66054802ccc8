"""What a consensus looks like in QuPath: locked annotations with their posterior, marked as ours.

Regions of one class that touch are one annotation each, without slivers; background is not drawn.
A matched object is drawn as the one of its raters' outlines that is nearest to the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.digests import derive_uuid, geometry_digests
from annotation.errors import InputError
from annotation.push import SlideObjects
from annotation.records import PathObject
from annotation.tables import Slide
from consensus.consensus_items import ADJUDICATED, Consensus, ResolvedItem
from consensus.drawn_regions import Cleaning, drawn_regions
from consensus.object_outlines import object_outlines
from consensus.run_kinds import require_raters

__all__ = ["consensus_objects", "origin_of"]

_DECIMALS = 6


def origin_of(run: int) -> str:
    """The name under which a run's objects are recorded as ours."""
    return f"run/{run}"


def consensus_objects(
    session: Session, consensus: Consensus, cleaning: Cleaning
) -> Iterator[SlideObjects]:
    """The objects to write for each slide of a run.

    Parameters
    ----------
    cleaning
        Is told how many slivers went to their neighbours.

    Raises
    ------
    InputError
        The run labels whole slides, which have no outline.
    RefusedError
        It is a triage.
    """
    require_raters(consensus.run, "`pathquorum adjudicate open` shows its disputes in QuPath")
    if consensus.protocol.task == "slides":
        run = consensus.run.id
        raise InputError(
            f"run {run} labels whole slides, so there is nothing to draw in QuPath; a release "
            "exports the labels",
            run=run,
        )
    undrawn = (None, consensus.protocol.negative)
    for slide in consensus.slides:
        items = consensus.items(slide)
        if consensus.protocol.task == "objects":
            shown = [i for i in items if i.label not in undrawn and i.geometry is not None]
            drawn = list(_objects(session, consensus, slide, shown))
        else:
            drawn = [
                _annotation(
                    consensus, region.label, region.outline, region.measurements(consensus.classes)
                )
                for region in drawn_regions(consensus, slide, items, cleaning)
                if region.label is not None and region.label not in undrawn
            ]
        yield SlideObjects(slide.id, slide.name, _identified(consensus, slide, drawn))


def _objects(
    session: Session, consensus: Consensus, slide: Slide, items: Sequence[ResolvedItem]
) -> Iterator[PathObject]:
    outlines = object_outlines(session, consensus, slide, items)
    for item, outline in zip(items, outlines, strict=True):
        measurements = _posterior(consensus, np.array(item.posterior))
        measurements["pathquorum adjudicated"] = float(item.state == ADJUDICATED)
        yield _annotation(consensus, str(item.label), outline, measurements)


def _posterior(consensus: Consensus, posterior: NDArray[np.float64]) -> dict[str, float | None]:
    return {
        f"pathquorum posterior {name}": round(float(p), _DECIMALS)
        for name, p in zip(consensus.classes, posterior, strict=True)
    }


def _annotation(
    consensus: Consensus,
    label: str,
    outline: shapely.Geometry,
    measurements: dict[str, float | None],
) -> PathObject:
    run, row = consensus.run, consensus.protocol_row
    color = consensus.color_of(label)
    return PathObject(
        uuid=None,
        object_type="annotation",
        path_class=label,
        name=f"consensus {run.id}: {label}",
        locked=True,
        geometry=outline,
        measurements=measurements,
        extra={
            **({} if color is None else {"class_color": color}),
            "metadata": {
                "pathquorum": f"run {run.id}",
                "pathquorum method": run.method,
                "pathquorum protocol": f"{row.name}@{row.version}",
            },
        },
    )


def _identified(consensus: Consensus, slide: Slide, objects: list[PathObject]) -> list[PathObject]:
    """The objects with UUIDs that depend on run, slide and outline alone."""
    run = consensus.run
    namespace = f"{origin_of(run.id)}/{run.input_digest}/{slide.name}"
    twins: Counter[bytes] = Counter()
    for thing, digest in zip(
        objects, geometry_digests([thing.geometry for thing in objects]), strict=True
    ):
        thing.uuid = derive_uuid(namespace, digest, twins[digest])
        twins[digest] += 1
    return objects
