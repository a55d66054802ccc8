"""A release as GeoJSON: one file a slide, one feature an item, with everything that is known of it.

The class is the consensus; measurements hold the posterior, metadata what each rater said and where
the label came from. What bears no class is there as well, with the reason, so that the features of
a slide cover all that was rated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from annotation.digests import derive_uuid
from annotation.geojson.writer import write_feature_collection
from annotation.paths import file_name, inside
from annotation.records import PathObject
from annotation.tables import Slide
from consensus.consensus_items import Consensus, ResolvedItem
from consensus.object_outlines import object_outlines
from consensus.release import FrozenRelease

__all__ = ["write_geojson"]


def write_geojson(
    session: Session,
    release: FrozenRelease,
    folder: Path,
    slide: Slide,
    items: Sequence[ResolvedItem],
) -> list[Path]:
    """Write the items of one slide; slides that were labelled as a whole have no outlines.

    Returns
    -------
    The file, or none.
    """
    consensus = release.consensus
    if consensus.protocol.task == "slides":
        return []
    outlines = [item.geometry for item in items]
    if consensus.protocol.task == "objects":
        outlines = list(object_outlines(session, consensus, slide, items))
    path = inside(folder, file_name(slide.name, ".geojson"))
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = [
        (item, outline)
        for item, outline in zip(items, outlines, strict=True)
        if outline is not None
    ]
    write_feature_collection(path, _features(release, slide, drawn))
    return [path]


def _features(
    release: FrozenRelease, slide: Slide, drawn: Sequence[tuple[ResolvedItem, object]]
) -> Iterator[PathObject]:
    consensus = release.consensus
    namespace = f"release/{release.row.manifest_sha256}/{slide.name}"
    size = "area um2" if consensus.protocol.task == "regions" else "weight"
    part = release.part_of_slide[slide.name]
    for item, outline in drawn:
        color = None if item.label is None else consensus.color_of(item.label)
        yield PathObject(
            uuid=derive_uuid(namespace, item.name.encode(), 0),
            object_type="annotation",
            path_class=item.label,
            name=item.name,
            locked=True,
            geometry=outline,
            measurements={
                **_posterior(consensus, item),
                f"pathquorum {size}": round(item.weight, 6),
            },
            extra={
                **({} if color is None else {"class_color": color}),
                "metadata": {
                    "pathquorum": f"release {release.row.name}",
                    "pathquorum state": item.state,
                    "pathquorum part": part,
                    **_decision(item),
                    **{f"rater {rater}": said for rater, said in item.pattern.items()},
                },
            },
        )


def _posterior(consensus: Consensus, item: ResolvedItem) -> dict[str, float | None]:
    return {
        f"pathquorum posterior {name}": p
        for name, p in zip(consensus.classes, item.posterior, strict=True)
    }


def _decision(item: ResolvedItem) -> dict[str, str]:
    if item.answer is None:
        return {}
    return {
        "pathquorum decision": str(item.answer.decision),
        "pathquorum decided by": item.answer.by or "",
        "pathquorum reason": item.answer.reason,
    }
