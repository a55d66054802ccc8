"""All that is on record of one slide: what it is, who read it, what was disputed, where it went."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.lookup import find_slide
from annotation.pulled_digests import check_pulled
from annotation.pushed import is_prediction
from annotation.study_statements import KINDS, statements
from annotation.tables import (
    Annotator,
    Assignment,
    Patient,
    ProtocolVersion,
    PullRead,
    PushedObject,
    Read,
    Site,
    Slide,
)
from consensus.provenance.lineage import lineage
from consensus.run_kinds import is_triage
from consensus.tables import (
    ConsensusItem,
    ConsensusRun,
    Decision,
    Dispute,
    Model,
    PredictedSlide,
    PredictionRun,
    Release,
)

__all__ = ["slide_page"]


def slide_page(session: Session, name: str) -> dict[str, Any]:
    """The document of ``slide show``; what was never recorded is None.

    Raises
    ------
    UnknownNameError
        There is no such slide.
    """
    slide = find_slide(session, name)
    handles = {a.id: a.handle for a in session.scalars(select(Annotator))}
    said = statements(session)
    pushed = _pushes(session, slide)
    reads = _reads(session, slide, handles)
    return {
        "slide": _slide(session, slide),
        "study": {kind.replace("-", "_"): said.get(kind) for kind in KINDS},
        "assignments": _assignments(session, slide, handles),
        "reads": reads,
        "not_as_recorded": [
            asdict(fault)
            for fault in check_pulled(session, {read["read"] for read in reads}).faults
        ],
        "runs": _runs(session, slide),
        "disputes": _disputes(session, slide, handles),
        "releases": _releases(session, slide),
        "pushes": [one for one in pushed if not is_prediction(one["origin"])],
        "predictions": [one for one in pushed if is_prediction(one["origin"])],
        "prediction_runs": _prediction_runs(session, slide),
    }


def _slide(session: Session, slide: Slide) -> dict[str, Any]:
    patient = session.get(Patient, slide.patient_id) if slide.patient_id is not None else None
    site_id = slide.site_id or (patient.site_id if patient is not None else None)
    site = session.get(Site, site_id) if site_id is not None else None
    return {
        "name": slide.name,
        "path": slide.path,
        "files": slide.files,
        "fingerprint": slide.fingerprint,
        "width_px": slide.width_px,
        "height_px": slide.height_px,
        "mpp": slide.mpp,
        "mpp_source": slide.mpp_source,
        "objective": slide.objective,
        "vendor": slide.vendor,
        "scanner": slide.scanner,
        "stain": slide.stain,
        "patient": patient.name if patient is not None else None,
        "site": site.name if site is not None else None,
        "added_at": slide.added_at,
    }


def _assignments(session: Session, slide: Slide, handles: dict[int, str]) -> list[dict[str, Any]]:
    """Who was handed the slide; masked names never leave the store."""
    rows = session.scalars(
        select(Assignment)
        .where(Assignment.slide_id == slide.id)
        .order_by(Assignment.assigned_at, Assignment.id)
    )
    return [
        {
            "annotator": handles[row.annotator_id],
            "protocol": row.protocol_id,
            "replicate": row.replicate,
            "masked": row.masked,
            "assigned_at": row.assigned_at,
            "withdrawn_at": row.withdrawn_at,
            "read": row.read_id,
        }
        for row in rows
    ]


def _reads(session: Session, slide: Slide, handles: dict[int, str]) -> list[dict[str, Any]]:
    protocols = {p.id: f"{p.name}@{p.version}" for p in session.scalars(select(ProtocolVersion))}
    pulls: dict[int, list[PullRead]] = defaultdict(list)
    for row in session.scalars(
        select(PullRead)
        .join(Read, PullRead.read_id == Read.id)
        .where(Read.slide_id == slide.id)
        .order_by(PullRead.id)
    ):
        pulls[row.read_id].append(row)
    reads = session.scalars(select(Read).where(Read.slide_id == slide.id).order_by(Read.id)).all()
    return [
        {
            "read": read.id,
            "annotator": handles[read.annotator_id],
            "protocol": protocols[read.protocol_id],
            "replicate": read.replicate,
            **_last_pull(pulls[read.id]),
            "based_on": None
            if (corrects := lineage(session, read)) is None
            else corrects.to_dict(),
            "pulls": [
                {"pull": row.pull_id, "source_sha256": row.source_sha256} for row in pulls[read.id]
            ],
        }
        for read in reads
    ]


def _last_pull(pulls: list[PullRead]) -> dict[str, Any]:
    """How a read stands after its last pull; what older stores did not record is None."""
    if not pulls:
        return {}
    last = pulls[-1]
    held = last.circumstances or {}
    return {
        "read_date": last.read_date,
        "read_date_source": last.read_date_source,
        "objects": last.counts["objects"],
        "excluded": last.excluded,
        "blinded": held.get("blinded"),
        "ai_assisted": held.get("ai_assisted"),
        "saw": held.get("saw"),
        "entitlement": held.get("entitlement"),
    }


def _runs(session: Session, slide: Slide) -> list[dict[str, Any]]:
    states: dict[int, Counter[str]] = defaultdict(Counter)
    for run, state, items in session.execute(
        select(ConsensusItem.run_id, ConsensusItem.state, func.count())
        .where(ConsensusItem.slide_id == slide.id)
        .group_by(ConsensusItem.run_id, ConsensusItem.state)
    ):
        states[run][state] += items
    rows = session.scalars(
        select(ConsensusRun).where(ConsensusRun.id.in_(states)).order_by(ConsensusRun.id)
    )
    return [
        {
            "run": row.id,
            "at": row.at,
            "method": row.method,
            "input_digest": row.input_digest,
            "items": dict(sorted(states[row.id].items())),
        }
        for row in rows
    ]


def _disputes(session: Session, slide: Slide, handles: dict[int, str]) -> list[dict[str, Any]]:
    decisions: dict[int, list[Decision]] = defaultdict(list)
    for row in session.scalars(
        select(Decision)
        .join(Dispute, Decision.dispute_id == Dispute.id)
        .where(Dispute.slide_id == slide.id)
        .order_by(Decision.id)
    ):
        decisions[row.dispute_id].append(row)
    disputes = session.execute(
        select(Dispute, ConsensusRun)
        .join(ConsensusRun, Dispute.run_id == ConsensusRun.id)
        .where(Dispute.slide_id == slide.id)
        .order_by(Dispute.id)
    )
    return [
        {
            "dispute": dispute.id,
            "run": dispute.run_id,
            "ai_assisted": is_triage(run),
            "severity": dispute.severity,
            "reopened_because": dispute.reopened_because,
            "decisions": [
                {
                    "decision": row.id,
                    "at": row.at,
                    "by": handles.get(row.by_id) if row.by_id is not None else None,
                    "answer": row.answer,
                    "class": row.path_class,
                    "reason": row.reason,
                    "inherited_from": row.inherited_from_id,
                }
                for row in decisions[dispute.id]
            ],
        }
        for dispute, run in disputes
    ]


def _releases(session: Session, slide: Slide) -> list[dict[str, Any]]:
    """The releases whose manifest names the slide."""
    found = []
    for row in session.scalars(select(Release).order_by(Release.id)):
        parts = {one["name"]: one["part"] for one in msgspec.json.decode(row.manifest)["slides"]}
        if slide.name in parts:
            found.append(
                {
                    "release": row.name,
                    "run": row.run_id,
                    "part": parts[slide.name],
                    "manifest_sha256": row.manifest_sha256,
                }
            )
    return found


def _prediction_runs(session: Session, slide: Slide) -> list[dict[str, Any]]:
    """The prediction runs that the slide went into, and what they said of it."""
    rows = session.execute(
        select(PredictionRun, PredictedSlide, Model.name)
        .join(PredictedSlide, PredictedSlide.run_id == PredictionRun.id)
        .join(Model, PredictionRun.model_id == Model.id)
        .where(PredictedSlide.slide_id == slide.id)
        .order_by(PredictionRun.id)
    )
    return [
        {
            "predictions": run.name,
            "model": model,
            "members": len(run.members),
            "at": run.at,
            "state": row.state,
            "reason": row.reason,
            "predicted": None if row.result is None else row.result.get("predicted"),
            "probability": None if row.result is None else row.result.get("probability"),
            "output_sha256": row.output_sha256,
        }
        for run, row, model in rows
    ]


def _pushes(session: Session, slide: Slide) -> list[dict[str, Any]]:
    rows = session.execute(
        select(
            PushedObject.origin,
            PushedObject.target,
            func.count(),
            func.count(PushedObject.reverted_at),
        )
        .where(PushedObject.slide_id == slide.id)
        .group_by(PushedObject.origin, PushedObject.target)
        .order_by(PushedObject.origin, PushedObject.target)
    )
    return [
        {"origin": origin, "target": target, "objects": objects, "taken_back": taken_back}
        for origin, target, objects, taken_back in rows
    ]
