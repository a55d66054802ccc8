"""A triage: from predictions to what a person should look at, and what a model may be left."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from annotation.errors import InputError
from annotation.paths import require_no_file
from annotation.store import Store
from consensus.prediction_runs import weights_of
from consensus.queue.triage import Triaged, find_triage, record_triage
from models.triage.coverage_risk import coverage_risk
from models.triage.files import write_files
from models.triage.gathering import Gathered, gather
from models.triage.judged import Candidate
from models.triage.regions import candidate_regions, escalated_regions, judged_regions
from models.triage.slides import candidate_slides, escalated_slides, judged_slides
from models.triage.threshold import Aim, Fitted, fit_threshold

__all__ = ["Request", "triage"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    predictions, calibrate_on
        Prediction runs by name or number; None: the same one.
    positive
        The classes that must not be missed.
    measure
        One of :data:`models.triage.measures.MEASURES`.
    unit
        ``slides`` or ``regions``; None takes the release's.
    bootstrap
        Replicates over patients, for the curves.
    most
        Escalate so many, the least sure first, and show nothing by that; None fits a threshold.
    """

    predictions: str
    calibrate_on: str | None
    positive: tuple[str, ...]
    aim: Aim
    measure: str
    unit: str | None = None
    bootstrap: int = 1000
    most: int | None = None


def triage(
    store: Store, request: Request, *, folder: Path | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Fit the threshold, and put what it escalates into the queue. Gives the document.

    The same triage again adds nothing.

    Parameters
    ----------
    folder
        For the table and the picture of coverage against risk; None writes none.
    dry_run
        Say what would be done, and leave the store as it is.

    Raises
    ------
    RefusedError
        There are too few patients, or the threshold does not hold what is asked of it.
    InputError, UnknownNameError, TileError
        What :func:`models.triage.gathering.gather` refuses, or a damaged file.
    """
    _check(request)
    if folder is not None:
        require_no_file(folder)
    with store.reading() as session:
        found = _compute(session, request)
        existing = find_triage(session, found.triaged)
        run, decided = (
            (None, 0) if existing is None else (existing.id, existing.summary["inherited"])
        )
    added = 0
    if run is None and not dry_run:
        with store.writing() as session:
            # Somebody else may have recorded the same meanwhile.
            row = find_triage(session, found.triaged) or record_triage(session, found.triaged)
            run, decided, added = row.id, row.summary["inherited"], len(found.triaged.places)
    document = {
        "triage": run,
        "added": added,
        "inherited": decided,
        "dry_run": dry_run,
        **found.document,
    }
    if folder is not None:
        document["files"] = write_files(folder, document)
    return document


@dataclass(frozen=True)
class _Computed:
    triaged: Triaged
    document: dict[str, Any]


def _compute(session: Session, request: Request) -> _Computed:
    gathered = gather(
        session, request.predictions, request.calibrate_on, request.positive, request.unit
    )
    if gathered.unit == "slides":
        judged = judged_slides(gathered, request.positive, request.measure)
        candidates = candidate_slides(gathered.asked, request.positive, request.measure)
    else:
        judged = judged_regions(gathered, request.positive, request.measure)
        candidates = candidate_regions(gathered, request.positive, request.measure)
    if request.most is None:
        fitted = fit_threshold(judged.labelled, request.aim)
        rule = fitted.to_dict()["threshold"]
        is_escalated = [one.uncertainty >= fitted.threshold for one in candidates]
    else:
        fitted, rule = None, None
        least_sure = sorted(range(len(candidates)), key=lambda n: -candidates[n].uncertainty)
        taken = set(least_sure[: request.most])
        is_escalated = [number in taken for number in range(len(candidates))]
    chosen = [one for one, takes in zip(candidates, is_escalated, strict=True) if takes]
    if gathered.unit == "slides":
        places = escalated_slides(chosen, gathered.asked, gathered.release.classes)
    else:
        places = escalated_regions(chosen, gathered)
    group = judged.labelled.unit_of
    curves = coverage_risk(
        judged.measures, judged.wrong, group, bootstrap=request.bootstrap, seed=request.aim.seed
    )
    figures = _figures(gathered, request, fitted, curves, candidates, is_escalated)
    row = gathered.release.frozen.consensus.protocol_row
    parameters = {
        "prediction_run": gathered.run.id,
        "calibration_run": gathered.calibration.id,
        "model": gathered.model.name,
        "weights_sha256": weights_of(gathered.run),
        "release": gathered.release.name,
        "unit": gathered.unit,
        "measure": request.measure,
        "threshold": rule,
        "positive": list(request.positive),
        "target": _target(request),
        "seed": request.aim.seed,
    }
    triaged = Triaged(
        row=row,
        classes=gathered.release.classes,
        places=places,
        parameters=parameters,
        input_digest=_digest(gathered, row.sha256),
        figures=figures,
    )
    document = {
        **figures,
        "weights_sha256": weights_of(gathered.run),
        "protocol": f"{row.name}@{row.version}",
        "slides": _slides(candidates, is_escalated),
        "notes": gathered.notes,
    }
    return _Computed(triaged, document)


def _target(request: Request) -> dict[str, Any]:
    if request.most is not None:
        return {"most": request.most}
    return {"sensitivity": request.aim.sensitivity, "confidence": request.aim.confidence}


def _check(request: Request) -> None:
    for what, value in (
        ("--target sensitivity", request.aim.sensitivity),
        ("--confidence", request.aim.confidence),
    ):
        if not 0 < value < 1:
            raise InputError(f"{what} {value:g} can't be shown; give a number between 0 and 1")


def _figures(
    gathered: Gathered,
    request: Request,
    fitted: Fitted | None,
    curves: dict[str, Any],
    candidates: Sequence[Candidate],
    is_escalated: Sequence[bool],
) -> dict[str, Any]:
    escalated = sum(is_escalated)
    return {
        "predictions": gathered.run.name,
        "calibrated_on": gathered.calibration.name,
        "model": gathered.model.name,
        "release": gathered.release.name,
        "unit": gathered.unit,
        "measure": request.measure,
        "positive": list(request.positive),
        "target": _target(request),
        "seed": request.aim.seed,
        "threshold": None if fitted is None else fitted.to_dict()["threshold"],
        "calibration": None if fitted is None else fitted.to_dict(),
        "triaged": {
            "units": len(candidates),
            "escalated": escalated,
            "automatic": len(candidates) - escalated,
            "automatic_share": 1 - escalated / len(candidates) if candidates else None,
            "called_positive": sum(one.called for one in candidates),
        },
        "coverage_risk": curves,
    }


def _slides(candidates: Sequence[Candidate], is_escalated: Sequence[bool]) -> list[dict[str, Any]]:
    """What becomes of each unit, by slide."""
    found = []
    for one, takes in zip(candidates, is_escalated, strict=True):
        bounds = None if one.geometry is None else [round(v, 2) for v in one.geometry.bounds]
        found.append(
            {
                "slide": one.slide.name,
                "bounds_px": bounds,
                "predicted": one.predicted,
                "called_positive": one.called,
                "value": one.uncertainty,
                "state": "escalated" if takes else "automatic",
            }
        )
    return found


def _digest(gathered: Gathered, protocol_sha256: str) -> str:
    """SHA-256 over the protocol, the release, and the outputs that were read."""
    outputs = sorted(
        (name, row.output_sha256, row.regions_sha256)
        for name, row in (
            *((one.released.name, one.predicted) for one in gathered.labelled),
            *((one.slide.name, one.predicted) for one in gathered.asked),
        )
    )
    content = [
        protocol_sha256,
        gathered.release.manifest_sha256,
        gathered.run.settings_sha256,
        outputs,
    ]
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()
