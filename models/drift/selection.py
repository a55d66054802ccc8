"""What is held against what: slides of a prediction run, and the reference that they should be like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import InputError, RefusedError
from annotation.tables import Patient, ProtocolVersion, Slide
from annotation.terminal import counted
from consensus.prediction_runs import find_prediction_run
from consensus.tables import ConsensusRun, Model, PredictedSlide, PredictionRun, Release

__all__ = ["Asked", "ComparedSlide", "Comparison", "select_slides"]

DONE = "done"
TRAIN = "train"

_TRAINED_ON = "of patients whom the model was trained on"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be compared, and how strictly.

    Attributes
    ----------
    predictions, reference
        Runs by number or name; without a reference the model's own run over its release.
    since, until
        Days between which a slide of ``predictions`` came into the store to be a current one.
    permutations, alpha, seed
        Of the tests.
    """

    predictions: str
    reference: str | None = None
    since: date | None = None
    until: date | None = None
    permutations: int = 999
    alpha: float = 0.01
    seed: int = 0


@dataclass(frozen=True)
class ComparedSlide:
    """A slide with what a model said of it; ``subject`` is its patient, or the slide itself."""

    slide: Slide
    subject: str
    current: bool
    run: PredictionRun
    predicted: PredictedSlide

    @property
    def result(self) -> Mapping[str, Any]:
        """The scores and the statistics of the input."""
        return self.predicted.result or {}


@dataclass(frozen=True)
class Comparison:
    """The slides of both sides. No patient stands on both.

    ``releases`` are those that the model's members learnt from; ``notes`` say what was left out.
    """

    current: PredictionRun
    reference: PredictionRun
    model: Model
    releases: tuple[Release, ...]
    protocol: ProtocolVersion
    slides: tuple[ComparedSlide, ...]
    notes: list[str] = field(default_factory=list)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The patients, in the order of their names."""
        return tuple(sorted({one.subject for one in self.slides}))

    @property
    def patient(self) -> NDArray[np.int64]:
        """The number of each slide's patient, (n_slides,)."""
        number = {name: code for code, name in enumerate(self.subjects)}
        return np.array([number[one.subject] for one in self.slides], dtype=np.int64)

    @property
    def is_current(self) -> NDArray[np.bool_]:
        """Whether each patient is on the current side, (P,)."""
        current = np.zeros(len(self.subjects), dtype=bool)
        current[self.patient] = [one.current for one in self.slides]
        return current


def select_slides(session: Session, asked: Asked) -> Comparison:
    """The slides to compare.

    Slides of patients whom the model was trained on are on neither side: it is surer of them than of
    anybody else. A patient on both sides stays with the reference.

    Raises
    ------
    UnknownNameError
        There is no such run.
    RefusedError
        The runs are of different models, or there is no reference.
    InputError
        No slide is left on one of the sides.
    """
    if asked.since is not None and asked.until is not None and asked.until < asked.since:
        raise InputError(f"--until {asked.until} is before --since {asked.since}; exchange them")
    current = find_prediction_run(session, asked.predictions)
    releases = _releases(session, current)
    rows = _Rows(session)
    trained = _subjects_of(releases, {TRAIN})
    held = _subjects_of(releases, None) - trained
    if asked.reference is not None:
        reference = find_prediction_run(session, asked.reference)
        _require_one_model(current, reference)
        chosen = rows.of(reference)
    else:
        reference, chosen = _default_reference(rows, session, current, held, asked)
    left_out: Counter[str] = Counter()
    compared = []
    for one in _done(chosen, left_out):
        if one.name in trained:
            left_out[_TRAINED_ON] += 1
        else:
            compared.append(ComparedSlide(one.slide, one.name, False, reference, one.predicted))
    known = {one.slide.id for one in compared}
    taken = {one.subject for one in compared}
    for one in _done(rows.of(current), left_out):
        if one.slide.id in known:
            continue
        reason = None
        if not _within(one.slide.added_at.date(), asked):
            reason = "came into the store on other days"
        elif one.name in trained:
            reason = _TRAINED_ON
        elif one.name in taken:
            reason = "of patients who are in the reference"
        if reason is not None:
            left_out[reason] += 1
            continue
        compared.append(ComparedSlide(one.slide, one.name, True, current, one.predicted))
    for side, run in ((False, reference), (True, current)):
        if not any(one.current is side for one in compared):
            why = f" ({', '.join(f'{n} {reason}' for reason, n in left_out.items())})"
            raise InputError(
                f"no slide of prediction run {run.name!r} is left as "
                f"{'a current one' if side else 'reference'}{why if left_out else ''}; predict more "
                "slides, or give other days or another --reference"
            )
    consensus_run = session.get_one(ConsensusRun, releases[0].run_id)
    notes = [f"{counted(number, 'slide')} left out: {why}" for why, number in left_out.items()]
    if current.settings_sha256 != reference.settings_sha256:
        notes.append(
            f"runs {current.name!r} and {reference.name!r} were made under different settings"
        )
    return Comparison(
        current=current,
        reference=reference,
        model=session.get_one(Model, current.model_id),
        releases=releases,
        protocol=session.get_one(ProtocolVersion, consensus_run.protocol_id),
        slides=tuple(sorted(compared, key=lambda one: (one.current, one.slide.name))),
        notes=notes,
    )


@dataclass(frozen=True)
class _Row:
    """A slide of a run; ``name`` is whose it is."""

    slide: Slide
    name: str
    predicted: PredictedSlide


class _Rows:
    """The slides of prediction runs."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of(self, run: PredictionRun) -> list[_Row]:
        rows = self._session.execute(
            select(PredictedSlide, Slide, Patient.name)
            .join(Slide, PredictedSlide.slide_id == Slide.id)
            .outerjoin(Patient, Slide.patient_id == Patient.id)
            .where(PredictedSlide.run_id == run.id)
            .order_by(Slide.name)
        )
        return [_Row(slide, _subject(slide.name, name), one) for one, slide, name in rows]


def _subject(slide: str, patient: str | None) -> str:
    return f"slide {slide}" if patient is None else patient


def _done(rows: Iterable[_Row], left_out: Counter[str]) -> Iterator[_Row]:
    for one in rows:
        if one.predicted.state == DONE and one.predicted.result is not None:
            yield one
        else:
            left_out[f"{one.predicted.state}, not done"] += 1


def _releases(session: Session, run: PredictionRun) -> tuple[Release, ...]:
    """The releases that the run's models learnt from, the first model's first."""
    first = session.get_one(Model, run.model_id)
    others = session.scalars(select(Model).where(Model.weights_sha256.in_(_weights(run))))
    ids = dict.fromkeys([first.release_id, *(model.release_id for model in others)])
    return tuple(session.get_one(Release, one) for one in ids)


def _weights(run: PredictionRun) -> list[str]:
    return sorted(str(member["weights_sha256"]) for member in run.members)


def _subjects_of(releases: Sequence[Release], parts: set[str] | None) -> set[str]:
    """Whose slides stand in these parts of any release; None: in any part."""
    found = set()
    for release in releases:
        for slide in msgspec.json.decode(release.manifest)["slides"]:
            if parts is None or slide["part"] in parts:
                found.add(_subject(slide["name"], slide["patient"]))
    return found


def _require_one_model(current: PredictionRun, reference: PredictionRun) -> None:
    if _weights(current) != _weights(reference):
        raise RefusedError(
            f"prediction runs {current.name!r} and {reference.name!r} are of different models, so "
            "what they say can't be compared; predict both with one model",
            predictions=current.name,
            reference=reference.name,
        )


def _default_reference(
    rows: _Rows, session: Session, current: PredictionRun, held: set[str], asked: Asked
) -> tuple[PredictionRun, list[_Row]]:
    """The run of the same model that covers most of its release; else the run's own earlier slides."""
    best: tuple[PredictionRun, list[_Row]] | None = None
    for run in session.scalars(select(PredictionRun).order_by(PredictionRun.id)):
        if _weights(run) != _weights(current):
            continue
        of_release = [
            one for one in rows.of(run) if one.name in held and one.predicted.state == DONE
        ]
        if of_release and (best is None or len(of_release) >= len(best[1])):
            best = run, of_release
    if best is not None:
        return best
    if asked.since is None:
        raise RefusedError(
            f"no run of this model covers the parts of its release that it was not trained on, so "
            f"run {current.name!r} has no reference; `pathquorum predict` them, or give --reference "
            "or --since",
            predictions=current.name,
        )
    earlier = [one for one in rows.of(current) if one.slide.added_at.date() < asked.since]
    return current, earlier


def _within(day: date, asked: Asked) -> bool:
    return (asked.since is None or asked.since <= day) and (
        asked.until is None or day <= asked.until
    )
