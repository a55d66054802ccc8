"""A model on a part of a release that it has not seen: all figures, as one document.

Shapes: n items, K classes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from annotation.errors import InputError, RefusedError
from consensus.agreement import agreement
from consensus.ratings import Ratings
from consensus.statistics.weights import disagreement_weights
from models.datasets.releases import TrainingRelease, open_training_release
from models.evaluation.assisted import assisted_note, assisted_slides
from models.evaluation.calibration import (
    CALIBRATION,
    Temperature,
    fit_temperature,
    reliability,
    tempered,
)
from models.evaluation.chosen_model import ChosenModel
from models.evaluation.doubts import Doubt, ranked
from models.evaluation.draws import Figure, PatientDraws, difference
from models.evaluation.experts import against_each_expert
from models.evaluation.external import external_document, sides_of
from models.evaluation.figures import (
    Method,
    Scored,
    class_figures,
    overall_figures,
    scored,
    site_figures,
)
from models.evaluation.held_out import require_unseen, seen_note, slides_of_part
from models.evaluation.items import JudgedItems, judged_items
from models.evaluation.mask_figures import CONSENSUS, mean_dice, per_class
from models.evaluation.predicted import Judgeable, Predicted
from models.labels.slide_labels import SlideLabelRule
from models.model_file import ModelDescription
from models.targets import OPEN, Targets
from models.training.out_of_fold import read_out_of_fold

__all__ = ["Evaluated", "Request", "evaluate"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be evaluated.

    Attributes
    ----------
    release, part
        The release, and the part of its split.
    features, slides_root
        The folder of the features, for a model of these; for one of masks where the images lie now,
        or None where they lay.
    baseline_features
        The folder of the features that the baseline takes; None: the same.
    bootstrap, seed
        Replicates over patients.
    calibrate
        Whether the figures are those at the temperature fitted on the calibration part.
    allow_missing
        Leave out slides without features or image.
    external
        A site to be held against the part's slides of the other sites.
    """

    release: str
    features: Path | None = None
    slides_root: Path | None = None
    part: str = "test"
    bootstrap: int = 1000
    seed: int = 0
    calibrate: bool = False
    allow_missing: bool = False
    baseline_features: Path | None = None
    external: str | None = None


@dataclass(frozen=True)
class Evaluated:
    """The document, and what the card and the list for people need beside it."""

    document: dict[str, Any]
    release: TrainingRelease
    temperature: Temperature | None
    doubts: list[Doubt]


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
    release = open_training_release(session, request.release, reads_alone=True)
    described = model.trained.description
    items = _judgeable(release, described, request)
    weights = [one.trained.description.weights_sha256 for one in (model, baseline) if one]
    assisted = assisted_slides(session, release.frozen.consensus, weights)
    judgeable = set(items.slides) - assisted.keys()
    slides = slides_of_part(described, release, judgeable, request.part)
    theirs = items if baseline is None else _of_baseline(release, items, baseline, request)
    for one, data in ((model, items), *([(baseline, theirs)] if baseline else [])):
        data.require_fit(one.trained.description, one.name)
        require_unseen(session, one.trained.description, slides, model=one.name, part=request.part)
    fitted, unfitted = _temperature(model, release, items, request, judgeable)
    value = fitted.value if fitted and request.calibrate else described.temperature
    found = items.predict(model.trained, slides, details=True)
    method = _method(release, request)
    judged, calls = found.at(value), found.calls()
    called = None if found.called is None else calls
    draws = method.draws(judged.targets.group)
    figures = _overall(judged, called, method, draws)
    kept, notes = _doubts_of_kept(model, release, items)
    doubts = ranked([*items.doubts(found, value, request.part), *kept])
    document = {
        "release": release.name,
        "manifest_sha256": release.manifest_sha256,
        "part": request.part,
        "item": items.kind,
        **_amounts(found, calls, len(slides)),
        "cluster_unit": "patient",
        "weights": method.weights,
        "bootstrap": request.bootstrap,
        "seed": request.seed,
        "temperature": value,
        "figures": {name: one.to_dict() for name, one in draws.statistics(figures).items()},
        "per_class": class_figures(judged, method, called),
        "per_site": site_figures(judged, method, called),
        "masks": _masks(found, calls, method),
        "confusion": _confusion(calls),
        "raters_agreement": _agreement(found.rated, release, method),
        "experts": against_each_expert(found, method),
        "external": _external(session, model, release, items, request, value, judgeable),
        "baseline": None,
        "calibration": {
            "fitted": None if fitted is None else vars(fitted),
            "reason": unfitted,
            "before": reliability(found.at(1.0), method).to_dict(),
            "after": (
                None if fitted is None else reliability(found.at(fitted.value), method).to_dict()
            ),
            "nll": _nll(found, fitted, method),
        },
        "label_issues": [one.document(rank) for rank, one in enumerate(doubts, start=1)],
        "skipped": [{"slide": name, "reason": reason} for name, reason in items.skipped],
        "ai_assisted": [{"slide": name, "reason": why} for name, why in assisted.items()],
        "notes": [
            *_notes(model, request.part, fitted, assisted_note(model.name, assisted)),
            *found.notes,
            *notes,
        ],
    }
    if baseline is not None:
        base = theirs.predict(baseline.trained, slides)
        beside = _overall(
            base.at(baseline.trained.description.temperature),
            None if base.called is None else base.calls(),
            method,
            draws,
        )
        apart = {name: difference(figures[name], beside[name]) for name in figures}
        document["baseline"] = {
            "model": baseline.name,
            "method": baseline.trained.description.method,
            "weights_sha256": baseline.trained.description.weights_sha256,
            "figures": {name: one.to_dict() for name, one in draws.statistics(beside).items()},
            "difference": {name: one.to_dict() for name, one in draws.statistics(apart).items()},
        }
    return Evaluated(document, release, fitted, doubts)


def _external(
    session: Session,
    model: ChosenModel,
    release: TrainingRelease,
    items: Judgeable,
    request: Request,
    temperature: float,
    judgeable: Collection[str],
) -> dict[str, Any] | None:
    """A site by itself beside the other sites, where that is asked for."""
    if request.external is None:
        return None
    sides = sides_of(release, judgeable, request.external, request.part)
    for slides in sides:
        require_unseen(
            session, model.trained.description, slides, model=model.name, part=request.part
        )

    def figures_of(slides: Collection[str], number: int) -> tuple[PatientDraws, dict[str, Figure]]:
        method = _method(release, replace(request, seed=request.seed + number))
        found = items.predict(model.trained, slides)
        judged, called = found.at(temperature), found.calls()
        draws = method.draws(judged.targets.group)
        return draws, _overall(judged, None if found.called is None else called, method, draws)

    return external_document(request.external, request.part, sides, figures_of)


def _of_baseline(
    release: TrainingRelease, items: Judgeable, baseline: ChosenModel, request: Request
) -> Judgeable:
    """What the baseline takes: the same, or other features of the same items."""
    if request.baseline_features is None:
        return items
    own = replace(request, features=request.baseline_features)
    theirs = _judgeable(release, baseline.trained.description, own)
    if not isinstance(items, JudgedItems) or not isinstance(theirs, JudgedItems):
        raise InputError(
            "--baseline-features are of models that take features; leave them out for masks"
        )
    items.require_same(theirs, request.baseline_features)
    return theirs


def _judgeable(
    release: TrainingRelease, described: ModelDescription, request: Request
) -> Judgeable:
    """What the model takes: features, or the slides themselves."""
    if described.input.get("kind") == "tiles":
        if request.features is not None:
            raise InputError(
                f"a model of architecture {described.architecture!r} looks at pixels, not at "
                "features; leave out --features, and give --slides-root where the slides were moved"
            )
        from models.evaluation.mask_items import judged_masks

        return judged_masks(
            release,
            described,
            request.slides_root,
            seed=request.seed,
            allow_missing=request.allow_missing,
        )
    if request.features is None or request.slides_root is not None:
        raise InputError(
            f"a model of architecture {described.architecture!r} looks at features; give --features "
            "(the folder that `encode` wrote) and no --slides-root"
        )
    rule = described.input.get("slide_label")
    return judged_items(
        release,
        request.features,
        slide_label=None if rule is None else SlideLabelRule.from_dict(rule),
        allow_missing=request.allow_missing,
    )


def _temperature(
    model: ChosenModel,
    release: TrainingRelease,
    items: Judgeable,
    request: Request,
    judgeable: Collection[str],
) -> tuple[Temperature | None, str | None]:
    """The fitted temperature, or why there is none."""
    slides = slides_of_part(model.trained.description, release, judgeable, CALIBRATION)
    try:
        if not slides:
            raise RefusedError(
                f"the part {CALIBRATION!r} of release {release.name!r} holds no item, so there is "
                "no temperature to fit; release with a calibration part"
            )
        found = items.predict(model.trained, slides)
        fitted = fit_temperature(found.probabilities, found.targets)
        if fitted.note is not None and request.calibrate:
            raise RefusedError(f"{fitted.note}; evaluate without --calibrate")
        return fitted, None
    except RefusedError as error:
        if request.calibrate:
            raise
        return None, error.message


def _doubts_of_kept(
    model: ChosenModel, release: TrainingRelease, items: Judgeable
) -> tuple[list[Doubt], list[str]]:
    """Doubted labels of what the model was trained on, out of fold, and notes on that."""
    described = model.trained.description
    if described.out_of_fold_sha256 is None or not isinstance(items, JudgedItems):
        return [], []
    if described.manifest_sha256 != release.manifest_sha256:
        return [], [
            "the out-of-fold predictions of the training are of another release; its labels are not "
            "looked at"
        ]
    kept = read_out_of_fold(model.folder, described.out_of_fold_sha256, len(described.classes))
    doubts, missing = items.doubts_of_kept(kept)
    if not missing:
        return doubts, []
    return doubts, [f"{missing} items of the training have no features here and are not looked at"]


def _overall(
    judged: Scored, called: Scored | None, method: Method, draws: PatientDraws
) -> dict[str, Figure]:
    """Figures over all classes; of masks the mean Dice as well."""
    figures = overall_figures(judged, method, draws, called)
    if called is not None:
        of_calls = method.draws(called.targets.group)
        figures["dice_macro"] = mean_dice(called, called.said, of_calls)
    return figures


def _masks(found: Predicted, calls: Scored, method: Method) -> dict[str, Any] | None:
    """Dice and distances of each class against the consensus, in all and of each site."""
    if found.called is None or found.called.distances is None:
        return None
    distances = found.called.distances
    return {
        "sampled_pixels": len(found.probabilities),
        "per_class": per_class(calls, distances, CONSENSUS, method),
        "per_site": {
            calls.targets.site_name(site): per_class(
                calls.at_site(site), distances.of_site(site), CONSENSUS, method
            )
            for site in np.unique(calls.targets.site).tolist()
        },
    }


def _method(release: TrainingRelease, request: Request) -> Method:
    """Quadratic weights between the classes that have an order; nominal where none has."""
    rank = np.array(release.ranks)
    weights = "nominal" if np.isnan(rank).all() else "quadratic"
    disagreement = disagreement_weights(weights, release.classes, rank)
    return Method(disagreement, weights, request.bootstrap, request.seed)


def _amounts(found: Predicted, calls: Scored, slides: int) -> dict[str, Any]:
    """What the figures rest on."""
    groups, sites = np.unique(calls.targets.group), np.unique(calls.targets.site)
    of = found.rated
    all_items = len(of) if found.called is None else int(found.called.pixels.sum())
    return {
        "items": calls.count(),
        "without_class": all_items - calls.count(),
        "area_um2": None if found.called is None else float(calls.weight.sum()),
        "slides": slides,
        "patients": len(groups),
        "sites": [of.site_name(site) for site in sites.tolist()],
        "classes": list(of.classes),
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
        rank=np.array(release.ranks),
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


def _nll(found: Predicted, fitted: Temperature | None, method: Method) -> dict[str, Any]:
    """Log-loss of the part at temperature 1, at the fitted one, and their paired difference."""
    before = scored(found.probabilities, found.targets)
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
