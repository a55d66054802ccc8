"""What a triage works on: the predictions, those of the calibration part, and the labels of these."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import get_args

from sqlalchemy.orm import Session

from annotation.errors import InputError, RefusedError
from annotation.lookup import unknown
from annotation.tables import Slide
from annotation.terminal import counted
from consensus.prediction_runs import find_prediction_run, predicted_slides, weights_of
from consensus.tables import Model, PredictedSlide, PredictionRun, Release
from models.datasets.releases import ReleasedSlide, TrainingRelease, open_training_release
from models.evaluation.assisted import assisted_slides
from models.evaluation.calibration import CALIBRATION
from models.triage.measures import Unit

__all__ = ["Gathered", "LabelledSlide", "PredictedPlace", "gather"]

DONE = "done"


@dataclass(frozen=True)
class PredictedPlace:
    """A slide with its prediction."""

    slide: Slide
    predicted: PredictedSlide


@dataclass(frozen=True)
class LabelledSlide:
    """A slide of the calibration part with its prediction."""

    released: ReleasedSlide
    predicted: PredictedSlide


@dataclass(frozen=True)
class Gathered:
    """Everything that a triage reads.

    Attributes
    ----------
    run, calibration
        The prediction run whose slides are triaged, and the one that holds the calibration part.
    labelled
        The slides of the calibration part.
    asked
        The slides that are triaged: those that the model's release does not hold.
    notes
        What was left out, and why.
    """

    run: PredictionRun
    calibration: PredictionRun
    model: Model
    release: TrainingRelease
    unit: Unit
    labelled: list[LabelledSlide]
    asked: list[PredictedPlace]
    notes: list[str]


def gather(
    session: Session,
    predictions: str,
    calibrate_on: str | None,
    positive: tuple[str, ...],
    unit: str | None,
) -> Gathered:
    """Find the predictions, and refuse what doesn't fit together.

    Parameters
    ----------
    predictions, calibrate_on
        Prediction runs by name or number; None: the same one.
    unit
        None takes the release's.

    Raises
    ------
    UnknownNameError
        There is no such run, or no such class.
    RefusedError
        The runs were made by other weights or other settings, a slide is still to be predicted, or
        there is nothing to fit on, or nothing to triage.
    InputError
        The unit is not the protocol's.
    """
    run = find_prediction_run(session, predictions)
    calibration = run if calibrate_on is None else find_prediction_run(session, calibrate_on)
    _require_alike(run, calibration)
    model = session.get_one(Model, run.model_id)
    release = open_training_release(session, session.get_one(Release, model.release_id).name)
    _require_classes(release, positive)
    notes: list[str] = []
    return Gathered(
        run=run,
        calibration=calibration,
        model=model,
        release=release,
        unit=_unit(release, unit),
        labelled=_labelled(session, calibration, release, notes),
        asked=_asked(session, run, release, notes),
        notes=notes,
    )


def _require_alike(run: PredictionRun, calibration: PredictionRun) -> None:
    same_weights = weights_of(run) == weights_of(calibration)
    if same_weights and run.settings_sha256 == calibration.settings_sha256:
        return
    what = "settings" if same_weights else "weights"
    raise RefusedError(
        f"prediction runs {run.name!r} and {calibration.name!r} were made with other {what}, so that a "
        "threshold of the one says nothing of the other; predict the calibration part as the rest"
    )


def _require_classes(release: TrainingRelease, positive: tuple[str, ...]) -> None:
    for name in positive:
        if name not in release.classes:
            raise unknown(
                "class", name, release.classes, f"choose from {', '.join(release.classes)}"
            )
    if not positive or len(set(positive)) == len(release.classes):
        raise InputError(
            "--positive names no class, or all of them; name those that must not be missed"
        )


def _unit(release: TrainingRelease, unit: str | None) -> Unit:
    """Slides or regions, as the protocol rates them."""
    units: tuple[Unit, ...] = get_args(Unit)
    own = next((one for one in units if one == release.task), None)
    if own is None:
        raise InputError(
            f"release {release.name!r} is of {release.task}, and a triage brings up slides or regions"
        )
    if unit not in (None, own):
        raise InputError(
            f"release {release.name!r} is of {own}, and under its protocol nobody could decide about "
            f"{unit}; leave out --unit"
        )
    return own


def _labelled(
    session: Session, run: PredictionRun, release: TrainingRelease, notes: list[str]
) -> list[LabelledSlide]:
    predicted = {
        slide.name: row for slide, row in predicted_slides(session, run) if row.state == DONE
    }
    of_part = [slide for slide in release.slides if slide.part == CALIBRATION]
    assisted = assisted_slides(session, release.frozen.consensus, weights_of(run))
    found, absent, left_out = [], 0, 0
    for slide in of_part:
        if slide.name not in predicted:
            absent += 1
        elif slide.name in assisted:
            left_out += 1
        else:
            found.append(LabelledSlide(slide, predicted[slide.name]))
    if absent:
        notes.append(
            f"{counted(absent, 'slide')} of the calibration part of release {release.name} have no "
            f"prediction in run {run.name}, and the threshold was fitted without them"
        )
    if left_out:
        notes.append(
            f"{counted(left_out, 'slide')} of the calibration part were labelled with predictions of "
            "this model in sight, and the threshold was fitted without them"
        )
    if not found:
        raise RefusedError(
            f"prediction run {run.name!r} holds no slide of the calibration part of release "
            f"{release.name!r}, so there is nothing to fit a threshold on; predict that part and name "
            "the run with --calibrate-on",
            run=run.name,
        )
    return found


def _asked(
    session: Session, run: PredictionRun, release: TrainingRelease, notes: list[str]
) -> list[PredictedPlace]:
    in_release = {slide.name for slide in release.slides}
    rows = predicted_slides(session, run)
    states = Counter(row.state for _, row in rows)
    failed = states["failed"]
    waiting = len(rows) - states[DONE] - failed
    if waiting:
        raise RefusedError(
            f"{counted(waiting, 'slide')} of prediction run {run.name!r} are still to be predicted; "
            "finish it with `pathquorum predict`",
            run=run.name,
        )
    done = [PredictedPlace(slide, row) for slide, row in rows if row.state == DONE]
    asked = [one for one in done if one.slide.name not in in_release]
    if failed:
        notes.append(
            f"{counted(failed, 'slide')} could not be predicted and are neither escalated nor left to "
            "the model: a person has to look at them"
        )
    if len(asked) < len(done):
        notes.append(
            f"{counted(len(done) - len(asked), 'slide')} of the run are in release {release.name}, "
            "where people have read them, and are not triaged"
        )
    if not asked:
        raise RefusedError(
            f"prediction run {run.name!r} holds no slide beyond release {release.name!r}, which people "
            "have read; predict new slides",
            run=run.name,
        )
    return asked
