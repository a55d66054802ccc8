"""The way back: from a pushed object, a model, a release or a run to the reads and decisions behind."""

from __future__ import annotations

import re
from typing import Any

import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import UnknownNameError
from annotation.pulled_digests import PULLED
from annotation.tables import (
    Annotation,
    Annotator,
    Event,
    ProtocolVersion,
    PullRead,
    PushedObject,
    Read,
    Revision,
    Slide,
)
from consensus.push_regions import origin_of
from consensus.run_kinds import is_triage
from consensus.runs import last_pull_before
from consensus.study.counted_reads import counted_reads
from consensus.tables import ConsensusItem, ConsensusRun, Decision, Dispute, Model, Release

__all__ = ["trace"]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_NUMBERED = {"run": ConsensusRun, "dispute": Dispute, "read": Read}


def trace(session: Session, identifier: str) -> dict[str, Any]:
    """What stands behind something that was made.

    Parameters
    ----------
    identifier
        The UUID of a pushed or a drawn object, a release's name or its manifest's SHA-256, a
        model's name or its weights' SHA-256, or ``run:N``, ``dispute:N``, ``read:N``. Where a
        release has a model's name, ``model:NAME`` means the model.

    Raises
    ------
    UnknownNameError
        Nothing of the kind is on record.
    """
    kind, _, number = identifier.partition(":")
    if kind in _NUMBERED and number.isdecimal() and len(number) < 16:
        return _numbered(session, kind, int(number))
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
        **_release(release),
        **_run(session, release.run_id),
    }


def _of_model(session: Session, identifier: str) -> dict[str, Any]:
    name = identifier.removeprefix("model:")
    model = session.scalars(
        select(Model).where((Model.name == name) | (Model.weights_sha256 == name.lower()))
    ).first()
    if model is None:
        raise _unknown(identifier)
    release = session.get_one(Release, model.release_id)
    baseline = None if model.baseline_id is None else session.get_one(Model, model.baseline_id)
    return {
        "id": identifier,
        "kind": "model",
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
        **_release(release),
        **_run(session, release.run_id),
    }


def _numbered(session: Session, kind: str, number: int) -> dict[str, Any]:
    identifier = f"{kind}:{number}"
    found = session.get(_NUMBERED[kind], number)
    if isinstance(found, ConsensusRun):
        return {"id": identifier, "kind": kind, **_run(session, found.id)}
    if isinstance(found, Dispute):
        return {
            "id": identifier,
            "kind": kind,
            **_run(session, found.run_id, slides={found.slide_id}, items={found.item_id}),
        }
    if isinstance(found, Read):
        return {"id": identifier, "kind": kind, "reads": _reads(session, [found.id], None)}
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
    return {**found, **_run(session, run.id, slides={pushed.slide_id}, items=behind)}


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
        "reads": _reads(session, sorted({annotation.read_id for annotation, _ in rows}), None),
    }


def _run(
    session: Session,
    number: int,
    *,
    slides: set[int] | None = None,
    items: set[int] | None = None,
) -> dict[str, Any]:
    """A run with the reads that it fused and the decisions on it, of some slides and items."""
    run = session.get_one(ConsensusRun, number)
    protocol = session.get_one(ProtocolVersion, run.protocol_id)
    last_pull = last_pull_before(session, run)
    counted, excluded = counted_reads(session, protocol, last_pull)
    wanted = [r.read for r in counted if slides is None or r.slide.id in slides]
    return {
        "run": {
            "run": run.id,
            "at": run.at,
            "method": run.method,
            "input_digest": run.input_digest,
            "software_version": run.software_version,
            **({"triage": run.parameters} if is_triage(run) else {}),
        },
        "protocol": {
            "name": protocol.name,
            "version": protocol.version,
            "sha256": protocol.sha256,
            "signed": protocol.signed_at is not None,
        },
        "reads": _reads(session, wanted, last_pull),
        "excluded_reads": sorted(read.read for read in excluded),
        "decisions": _decisions(session, run, slides, items),
        # Decisions on a triage that the run counts as ratings.
        "ai_assisted": run.summary.get("ai_assisted", []),
        "releases": [
            _release(row)["release"]
            for row in session.scalars(select(Release).where(Release.run_id == run.id))
        ],
    }


def _reads(session: Session, reads: list[int], as_of_pull: int | None) -> list[dict[str, Any]]:
    rows = session.execute(
        select(Read, Annotator, Slide.name, PullRead)
        .join(Annotator, Read.annotator_id == Annotator.id)
        .join(Slide, Read.slide_id == Slide.id)
        .join(PullRead, PullRead.read_id == Read.id)
        .where(Read.id.in_(reads))
        .order_by(Read.id, PullRead.id)
    )
    last: dict[int, dict[str, Any]] = {}
    for read, annotator, slide, pulled in rows:
        if as_of_pull is not None and pulled.pull_id > as_of_pull:
            continue
        held = (pulled.circumstances or {}).get("entitlement") or {}
        last[read.id] = {
            "read": read.id,
            "slide": slide,
            "annotator": annotator.handle,
            "role": held.get("role"),
            "credentials": held.get("credentials"),
            "read_date": pulled.read_date,
            "based_on": read.based_on_id,
            "pull": pulled.pull_id,
            "source_sha256": pulled.source_sha256,
            "event": _pull_event(session, pulled.pull_id),
        }
    return list(last.values())


def _pull_event(session: Session, pull: int) -> int | None:
    return session.scalar(
        select(Event.id)
        .where(Event.subject == f"pull:{pull}", Event.action == PULLED)
        .order_by(Event.id)
        .limit(1)
    )


def _decisions(
    session: Session, run: ConsensusRun, slides: set[int] | None, items: set[int] | None
) -> list[dict[str, Any]]:
    rows = session.execute(
        select(Decision, Dispute, Annotator.handle, Slide.name)
        .join(Dispute, Decision.dispute_id == Dispute.id)
        .join(Slide, Dispute.slide_id == Slide.id)
        .outerjoin(Annotator, Decision.by_id == Annotator.id)
        .where(Dispute.run_id == run.id)
        .order_by(Decision.id)
    )
    return [
        {
            "decision": decision.id,
            "dispute": dispute.id,
            "slide": slide,
            "at": decision.at,
            "by": handle,
            "answer": decision.answer,
            "class": decision.path_class,
            "reason": decision.reason,
            "inherited_from": decision.inherited_from_id,
            "ai_assisted": is_triage(run),
        }
        for decision, dispute, handle, slide in rows
        if (slides is None or dispute.slide_id in slides)
        and (items is None or dispute.item_id in items)
    ]


def _release(row: Release) -> dict[str, Any]:
    return {
        "release": {
            "release": row.name,
            "at": row.at,
            "manifest_sha256": row.manifest_sha256,
            "up_to_event": row.up_to_event_id,
        }
    }


def _unknown(identifier: str) -> UnknownNameError:
    return UnknownNameError(
        f"nothing on record is {identifier!r}; give the UUID of an object, a release's name or "
        "manifest SHA-256, a model's name or weights SHA-256, or run:N, dispute:N or read:N",
        kind="id",
        name=identifier,
    )
