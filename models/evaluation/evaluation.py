"""A model on a part of a release that it has not seen: all figures, as one document.

Shapes: n items, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.errors import RefusedError
from consensus.agreement import agreement
from consensus.ratings import Ratings
from consensus.statistics.weights import disagreement_weights
from models.datasets.releases import TrainingRelease, open_training_release
from models.evaluation.assisted import assisted_note, assisted_slides, votes_of_reads
from models.evaluation.calibration import (
    CALIBRATION,
    Temperature,
    fit_temperature,
    reliability,
    tempered,
)
from models.evaluation.chosen_model import ChosenModel
from models.evaluation.draws import difference
from models.evaluation.experts import against_each_expert
from models.evaluation.figures import (
    Method,
    Scored,
    class_figures,
    overall_figures,
    scored,
    site_figures,
)
from models.evaluation.held_out import items_of_part, require_unseen, seen_note
from models.evaluation.items import JudgedItems, judged_items, require_fit
from models.evaluation.label_issues import label_issues
from models.targets import OPEN, Targets

__all__ = ["Evaluated", "Request", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be evaluated.

    Attributes
    ----------
    release, features, part
        The release, the folder of its features, and the part of the split.
    bootstrap, seed
        Replicates over patients.
    calibrate
        Whether the figures are those at the temperature fitted on the calibration part.
    allow_missing
        Leave out slides without features.
    """

    release: str
    features: Path
    part: str = "test"
    bootstrap: int = 1000
    seed: int = 0
    calibrate: bool = False
    allow_missing: bool = False


@dataclass(frozen=True)
class Evaluated:
    """The document, and what the card needs beside it."""

    document: dict[str, Any]
    release: TrainingRelease
    temperature: Temperature | None


def evaluate(
    session: Session, model: ChosenModel, baseline: ChosenModel | None, request: Request
) -> Evaluated:
    """All figures of a model on a part.

    Raises
    ------
    RefusedError
        The model has seen a patient of the part, or ``calibrate`` finds nothing to fit on.
    ModelFileError
        The model doesn't fit the release or its features.
    """
    release = open_training_release(session, request.release)
    items = judged_items(release, request.features, allow_missing=request.allow_missing)
    described = model.trained.description
    weights = [one.trained.description.weights_sha256 for one in (model, baseline) if one]
    assisted = assisted_slides(session, release.frozen.consensus, weights)
    numbers = items_of_part(described, release.manifest_sha256, items, request.part, assisted)
    slides = {items.slide_of[number] for number in numbers.tolist()}
    for one in (model, *([baseline] if baseline else [])):
        require_fit(one.trained.description, items, one.name)
        require_unseen(session, one.trained.description, slides, model=one.name, part=request.part)
    targets = votes_of_reads(
        items.targets.subset(numbers),
        [items.slide_of[number] for number in numbers.tolist()],
        release.frozen.consensus.run,
    )
    raw = items.predict(model.trained, numbers)
    fitted, unfitted = _temperature(model, release, items, request, assisted)
    value = fitted.value if fitted and request.calibrate else described.temperature
    method = _method(release, request)
    probabilities = tempered(raw, value)
    judged = scored(probabilities, targets)
    draws = method.draws(judged.targets.group)
    figures = overall_figures(judged, method, draws)
    document = {
        "release": release.name,
        "manifest_sha256": release.manifest_sha256,
        "part": request.part,
        "item": items.kind,
        **_amounts(targets, judged, len(slides)),
        "cluster_unit": "patient",
        "weights": method.weights,
        "bootstrap": request.bootstrap,
        "seed": request.seed,
        "temperature": value,
        "figures": {name: one.to_dict() for name, one in draws.statistics(figures).items()},
        "per_class": class_figures(judged, method),
        "per_site": site_figures(judged, method),
        "confusion": _confusion(judged),
        "raters_agreement": _agreement(targets, release, method),
        "experts": against_each_expert(probabilities, targets, method),
        "baseline": None,
        "calibration": {
            "fitted": None if fitted is None else vars(fitted),
            "reason": unfitted,
            "before": reliability(scored(raw, targets), method).to_dict(),
            "after": (
                None
                if fitted is None
                else reliability(scored(tempered(raw, fitted.value), targets), method).to_dict()
            ),
            "nll": _nll(raw, fitted, targets, method),
        },
        "label_issues": _issues(judged, items, numbers),
        "skipped": [{"slide": name, "reason": reason} for name, reason in items.skipped],
        "ai_assisted": [{"slide": name, "reason": why} for name, why in assisted.items()],
        "notes": _notes(model, request.part, fitted, assisted_note(model.name, assisted)),
    }
    if baseline is not None:
        other = tempered(
            items.predict(baseline.trained, numbers), baseline.trained.description.temperature
        )
        beside = overall_figures(scored(other, targets), method, draws)
        apart = {name: difference(figures[name], beside[name]) for name in figures}
        document["baseline"] = {
            "model": baseline.name,
            "method": baseline.trained.description.method,
            "weights_sha256": baseline.trained.description.weights_sha256,
            "figures": {name: one.to_dict() for name, one in draws.statistics(beside).items()},
            "difference": {name: one.to_dict() for name, one in draws.statistics(apart).items()},
        }
    return Evaluated(document, release, fitted)


def _temperature(
    model: ChosenModel,
    release: TrainingRelease,
    items: JudgedItems,
    request: Request,
    assisted: Collection[str],
) -> tuple[Temperature | None, str | None]:
    """The fitted temperature, or why there is none."""
    described = model.trained.description
    numbers = items_of_part(described, release.manifest_sha256, items, CALIBRATION, assisted)
    try:
        if not len(numbers):
            raise RefusedError(
                f"the part {CALIBRATION!r} of release {release.name!r} holds no item, so there is "
                "no temperature to fit; release with a calibration part"
            )
        targets = items.targets.subset(numbers)
        fitted = fit_temperature(items.predict(model.trained, numbers), targets)
        if fitted.note is not None and request.calibrate:
            raise RefusedError(f"{fitted.note}; evaluate without --calibrate")
        return fitted, None
    except RefusedError as error:
        if request.calibrate:
            raise
        return None, error.message


def _method(release: TrainingRelease, request: Request) -> Method:
    """Quadratic weights between the classes that have an order; nominal where none has."""
    rank = _ranks(release)
    weights = "nominal" if np.isnan(rank).all() else "quadratic"
    disagreement = disagreement_weights(weights, release.classes, rank)
    return Method(disagreement, weights, request.bootstrap, request.seed)


def _ranks(release: TrainingRelease) -> NDArray[np.float64]:
    protocol = release.frozen.consensus.protocol
    rank = dict(zip(protocol.class_names, protocol.ranks, strict=True))
    return np.array([rank.get(name, math.nan) for name in release.classes])


def _amounts(targets: Targets, judged: Scored, slides: int) -> dict[str, Any]:
    """What the figures rest on."""
    groups, sites = np.unique(judged.targets.group), np.unique(judged.targets.site)
    return {
        "items": len(judged.reference),
        "without_class": len(targets) - len(judged.reference),
        "slides": slides,
        "patients": len(groups),
        "sites": [targets.site_name(site) for site in sites.tolist()],
        "classes": list(targets.classes),
    }


def _confusion(judged: Scored) -> dict[str, Any]:
    """How much of each class was called what; the consensus in rows."""
    n_classes = len(judged.targets.classes)
    cell = judged.reference * n_classes + judged.said
    table = np.bincount(cell, weights=judged.weight, minlength=n_classes**2)
    return {
        "classes": list(judged.targets.classes),
        "weight": table.reshape(n_classes, n_classes).tolist(),
    }


def _agreement(targets: Targets, release: TrainingRelease, method: Method) -> dict[str, Any] | None:
    """How far the raters agree on these very items; None where fewer than two rated any."""
    used = (targets.votes != OPEN).any(axis=0)
    counted = np.flatnonzero(targets.weight > 0)
    if used.sum() < 2 or not len(counted):
        return None
    codes, cluster = np.unique(targets.group[counted], return_inverse=True)
    ratings = Ratings(
        items=tuple(map(str, counted.tolist())),
        raters=tuple(name for name, is_used in zip(targets.raters, used, strict=True) if is_used),
        classes=targets.classes,
        codes=targets.votes[np.ix_(counted, np.flatnonzero(used))].astype(np.int32),
        weight=targets.weight[counted].astype(np.float64),
        cluster=cluster.reshape(-1).astype(np.int64),
        cluster_names=tuple(targets.group_name(code) for code in codes.tolist()),
        rank=_ranks(release),
        weight_unit="um2",  # shares of a tile's area are no counts either
        cluster_unit="patient",
    )
    found = agreement(
        ratings, weights=method.disagreement, bootstrap=method.bootstrap, seed=method.seed
    )
    return {
        "raters": list(ratings.raters),
        **{name: found.coefficients[name].to_dict() for name in ("conger", "percent")},
    }


def _issues(judged: Scored, items: JudgedItems, numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The items whose label is doubted, with where they lie."""
    found = label_issues(judged)
    places = items.places(
        numbers[judged.numbers[np.array([issue.item for issue in found], dtype=np.int64)]]
    )
    return [
        {
            "rank": issue.rank,
            **asdict(place),
            "given": issue.given,
            "suggested": issue.suggested,
            "p_given": issue.p_given,
            "p_suggested": issue.p_suggested,
            "reason": issue.reason,
        }
        for issue, place in zip(found, places, strict=True)
    ]


def _nll(
    raw: NDArray[np.float64], fitted: Temperature | None, targets: Targets, method: Method
) -> dict[str, Any]:
    """Log-loss of the part at temperature 1, at the fitted one, and their paired difference."""
    before = scored(raw, targets)
    draws = method.draws(before.targets.group)
    one = overall_figures(before, method, draws)["nll"]
    document: dict[str, Any] = {"before": draws.statistic(one).to_dict()}
    if fitted is not None:
        after = before.predicted_by(tempered(before.probabilities, fitted.value))
        other = overall_figures(after, method, draws)["nll"]
        document["after"] = draws.statistic(other).to_dict()
        document["difference"] = draws.statistic(difference(other, one)).to_dict()
    return document


def _notes(
    model: ChosenModel, part: str, fitted: Temperature | None, assisted: str | None
) -> list[str]:
    described = model.trained.description
    own = [seen_note(described, part), assisted, None if fitted is None else fitted.note]
    return [*described.notes, *(note for note in own if note is not None)]
