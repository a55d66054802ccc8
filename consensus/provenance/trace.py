"""The way back: from a pushed object, a model, a release or a run to the reads and decisions behind."""

from __future__ import annotations

import re
from typing import Any

import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import UnknownNameError
from annotation.tables import (
    Annotation,
    PushedObject,
    Read,
    Revision,
    Slide,
)
from consensus.prediction_runs import find_prediction_run, run_of_origin
from consensus.provenance.run_sources import reads_behind, release_entry, run_sources
from consensus.push_regions import origin_of
from consensus.tables import (
    ConsensusItem,
    ConsensusRun,
    Dispute,
    Model,
    PredictedSlide,
    PredictionRun,
    Release,
)

__all__ = ["trace"]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_NUMBERED = {"run": ConsensusRun, "dispute": Dispute, "read": Read}


def trace(session: Session, identifier: str) -> dict[str, Any]:
    """What stands behind something that was made.

    Parameters
    ----------
    identifier
        The UUID of a pushed or a drawn object, a release's name or its manifest's SHA-256, a
        model's name or its weights' SHA-256, ``predictions:NAME`` (or its number), or ``run:N``,
        ``dispute:N``, ``read:N``. Where a release has a model's name, ``model:NAME`` means the model.

    Raises
    ------
    UnknownNameError
        Nothing of the kind is on record.
    """
    kind, _, number = identifier.partition(":")
    if kind in _NUMBERED and number.isdecimal() and len(number) < 16:
        return _numbered(session, kind, int(number))
    if kind == "predictions":
        predicted = find_prediction_run(session, number)
        return {"id": identifier, "kind": "prediction run", **_prediction(session, predicted)}
    if _UUID.match(identifier.lower()):
        return _of_object(session, identifier.lower())
    release = session.scalars(
        select(Release).where(
            (Release.name == identifier) | (Release.manifest_sha256 == identifier.lower())
        )
    ).first()
    if release is None:
        return _of_model(session, identifier)
    return {
        "id": identifier,
        "kind": "release",
        **release_entry(release),
        **run_sources(session, release.run_id),
    }


def _of_model(session: Session, identifier: str) -> dict[str, Any]:
    name = identifier.removeprefix("model:")
    model = session.scalars(
        select(Model).where((Model.name == name) | (Model.weights_sha256 == name.lower()))
    ).first()
    if model is None:
        raise _unknown(identifier)
    return {"id": identifier, "kind": "model", **_model(session, model)}


def _model(session: Session, model: Model) -> dict[str, Any]:
    """A model with the release that it learnt, and what is behind that."""
    release = session.get_one(Release, model.release_id)
    baseline = None if model.baseline_id is None else session.get_one(Model, model.baseline_id)
    return {
        "model": {
            "model": model.name,
            "at": model.at,
            "method": model.method,
            "config": model.config,
            "metrics": model.metrics,
            "baseline": None if baseline is None else baseline.name,
            "folder": model.folder,
            "weights_sha256": model.weights_sha256,
            "software_version": model.software_version,
        },
        **release_entry(release),
        **run_sources(session, release.run_id),
    }


def _prediction(
    session: Session, run: PredictionRun, slide_id: int | None = None
) -> dict[str, Any]:
    """A prediction run, of one slide or all, with its model and what is behind that."""
    wanted = select(PredictedSlide, Slide.name).join(Slide, PredictedSlide.slide_id == Slide.id)
    wanted = wanted.where(PredictedSlide.run_id == run.id).order_by(Slide.name)
    if slide_id is not None:
        wanted = wanted.where(PredictedSlide.slide_id == slide_id)
    return {
        "predictions": {
            "name": run.name,
            "number": run.id,
            "at": run.at,
            "members": run.members,
            "settings_sha256": run.settings_sha256,
            "folder": run.folder,
            "software_version": run.software_version,
            "slides": [
                {
                    "slide": name,
                    "state": row.state,
                    "reason": row.reason,
                    "finished_at": row.finished_at,
                    "predicted": None if row.result is None else row.result.get("predicted"),
                    "output_sha256": row.output_sha256,
                    "regions_sha256": row.regions_sha256,
                }
                for row, name in session.execute(wanted)
            ],
        },
        **_model(session, session.get_one(Model, run.model_id)),
    }


def _numbered(session: Session, kind: str, number: int) -> dict[str, Any]:
    identifier = f"{kind}:{number}"
    found = session.get(_NUMBERED[kind], number)
    if isinstance(found, ConsensusRun):
        return {"id": identifier, "kind": kind, **run_sources(session, found.id)}
    if isinstance(found, Dispute):
        return {
            "id": identifier,
            "kind": kind,
            **run_sources(session, found.run_id, slides={found.slide_id}, items={found.item_id}),
        }
    if isinstance(found, Read):
        return {"id": identifier, "kind": kind, "reads": reads_behind(session, [found.id], None)}
    raise _unknown(identifier)


def _of_object(session: Session, uuid: str) -> dict[str, Any]:
    pushed = session.scalars(
        select(PushedObject).where(PushedObject.uuid == uuid).order_by(PushedObject.id.desc())
    ).first()
    if pushed is None:
        return _drawn(session, uuid)
    found = {
        "id": uuid,
        "kind": "pushed object",
        "object": {
            "origin": pushed.origin,
            "slide": session.get_one(Slide, pushed.slide_id).name,
            "class": pushed.path_class,
            "target": pushed.target,
            "file_sha256": pushed.file_sha256,
            "taken_back_at": pushed.reverted_at,
        },
    }
    predicted = run_of_origin(session, pushed.origin)
    if predicted is not None:
        return {**found, **_prediction(session, predicted, pushed.slide_id)}
    run = next(
        (
            row
            for row in session.scalars(select(ConsensusRun))
            if origin_of(row.id) == pushed.origin
        ),
        None,
    )
    if run is None:
        return found
    behind = _items_under(session, run, pushed)
    return {**found, **run_sources(session, run.id, slides={pushed.slide_id}, items=behind)}


def _items_under(session: Session, run: ConsensusRun, pushed: PushedObject) -> set[int]:
    """The items whose place the object covers, or touches where it has no area."""
    outline = shapely.make_valid(shapely.from_wkb(pushed.geometry))
    rows = session.execute(
        select(ConsensusItem.id, ConsensusItem.geometry).where(
            ConsensusItem.run_id == run.id, ConsensusItem.slide_id == pushed.slide_id
        )
    )
    behind = set()
    for item, wkb in rows:
        place = None if wkb is None else shapely.make_valid(shapely.from_wkb(wkb))
        if place is None:
            continue
        if outline.area and place.area:
            covers = shapely.intersection(outline, place).area > 0
        else:
            covers = bool(shapely.intersects(outline, place))
        behind |= {item} if covers else set()
    return behind


def _drawn(session: Session, uuid: str) -> dict[str, Any]:
    """An object that a person drew: every read that holds it, and its revisions."""
    # The index of annotations begins with the read: it is looked up once for each read there is.
    drawn = session.scalars(
        select(Annotation.id).where(
            Annotation.read_id.in_(select(Read.id)), Annotation.uuid == uuid
        )
    ).all()
    rows = session.execute(
        select(Annotation, Revision)
        .join(Revision, Revision.annotation_id == Annotation.id)
        .where(Annotation.id.in_(drawn))
        .order_by(Revision.id)
    ).all()
    if not rows:
        raise _unknown(uuid)
    return {
        "id": uuid,
        "kind": "drawn object",
        "revisions": [
            {
                "read": annotation.read_id,
                "revision": revision.revision,
                "class": revision.path_class,
                "state": revision.state,
                "pull": revision.pull_id,
                "derived_from": revision.derived_from,
            }
            for annotation, revision in rows
        ],
        "reads": reads_behind(
            session, sorted({annotation.read_id for annotation, _ in rows}), None
        ),
    }


def _unknown(identifier: str) -> UnknownNameError:
    return UnknownNameError(
        f"nothing on record is {identifier!r}; give the UUID of an object, a release's name or "
        "manifest SHA-256, a model's name or weights SHA-256, predictions:NAME, or run:N, dispute:N or "
        "read:N",
        kind="id",
        name=identifier,
    )
