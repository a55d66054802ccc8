"""Slides of the calibration part as a triage judges them, and slides that are triaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from annotation.errors import RefusedError
from annotation.tables import Slide
from consensus.queue.triage import Escalated
from models.datasets.releases import TrainingRelease
from models.triage.gathering import Gathered, LabelledSlide, PredictedPlace
from models.triage.judged import Candidate, Judged
from models.triage.measures import measure_of_slide, measures_beside
from models.triage.threshold import Labelled

__all__ = ["candidate_slides", "escalated_slides", "judged_slides"]


def judged_slides(gathered: Gathered, positive: Sequence[str], measure: str) -> Judged:
    """The slides of the calibration part that bear a label.

    Raises
    ------
    RefusedError
        None does.
    """
    rows = [
        (one, label)
        for one in gathered.labelled
        if (label := _label(gathered.release, one)) is not None
    ]
    if not rows:
        raise RefusedError(
            f"no slide of the calibration part of release {gathered.release.name!r} bears a label; "
            "decide its disputes and release again"
        )
    results = [one.predicted.result or {} for one, _ in rows]
    names = [one.released.name for one, _ in rows]
    measures = {
        kind: np.array(
            [
                measure_of_slide(kind, result, name)
                for result, name in zip(results, names, strict=True)
            ]
        )
        for kind in measures_beside(measure, "slides")
    }
    said = [result["predicted"] for result in results]
    patients, patient = np.unique([one.released.subject for one, _ in rows], return_inverse=True)
    called = np.isin(said, positive)
    is_positive = np.array([label in positive for _, label in rows])
    own = np.flatnonzero(is_positive)
    values = measures[measure]
    return Judged(
        labelled=Labelled(
            patients=tuple(patients.tolist()),
            positive_of=patient[own],
            caught_at=np.where(called, np.inf, values)[own],
            escalated_at=values[own],
            called=called[own],
            unit_of=patient,
            uncertainty=values,
        ),
        measures=measures,
        wrong=np.array([label != name for (_, label), name in zip(rows, said, strict=True)]),
    )


def candidate_slides(
    asked: Sequence[PredictedPlace], positive: Sequence[str], measure: str
) -> list[Candidate]:
    """The slides that are triaged."""
    found = []
    for one in asked:
        result = one.predicted.result or {}
        value = measure_of_slide(measure, result, one.slide.name)
        predicted = result["predicted"]
        found.append(Candidate(one.slide, None, 1.0, predicted, predicted in positive, value))
    return found


def escalated_slides(
    candidates: Sequence[Candidate], asked: Sequence[PredictedPlace], classes: Sequence[str]
) -> list[Escalated]:
    """Slides as they enter the queue, with the model's probabilities."""
    result_of = {one.slide.id: one.predicted.result or {} for one in asked}
    return [
        Escalated(one.slide, None, 1.0, _posterior(one.slide, result_of, classes))
        for one in candidates
    ]


def _posterior(
    slide: Slide, result_of: dict[int, dict[str, dict[str, float]]], classes: Sequence[str]
) -> tuple[float, ...]:
    shares = np.array([result_of[slide.id]["probability"].get(name, 0.0) for name in classes])
    return tuple((shares / shares.sum()).tolist())


def _label(release: TrainingRelease, one: LabelledSlide) -> str | None:
    return next((item.label for item in release.items(one.released)), None)
