"""The tables of the store that hold consensus runs, disputes, decisions, releases, models, predictions.

A run and everything under it is written once and never changed; what an adjudicator says
stands in ``decisions``, a row for each answer, the last one in force.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from annotation.tables import Base

__all__ = [
    "ConsensusItem",
    "ConsensusRun",
    "Decision",
    "Dispute",
    "Model",
    "PatientPart",
    "PredictedSlide",
    "PredictionRun",
    "Release",
]

BigKey = BigInteger().with_variant(Integer, "sqlite")


class ConsensusRun(Base):
    """Ratings + method + parameters: a class and a posterior for each item."""

    __tablename__ = "consensus_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    protocol_id: Mapped[int] = mapped_column(ForeignKey("protocols.id"), index=True)
    method: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    input_digest: Mapped[str] = mapped_column(String(64))
    classes: Mapped[list[Any]]
    summary: Mapped[dict[str, Any]]
    software_version: Mapped[str]


class ConsensusItem(Base):
    """One item of a run: what each rater said of it, and what follows.

    ``weight`` is um2 for regions and 1 otherwise. ``label`` is null where the rule leaves the
    item open; ``state`` then says why (``disputed``, ``too few raters``, ``below the area``).
    """

    __tablename__ = "consensus_items"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("consensus_runs.id"), index=True)
    slide_id: Mapped[int] = mapped_column(ForeignKey("slides.id"), index=True)
    name: Mapped[str]
    weight: Mapped[float]
    pattern: Mapped[dict[str, Any]]
    label: Mapped[str | None]
    state: Mapped[str]
    posterior: Mapped[list[Any]]
    geometry: Mapped[bytes | None]


class Dispute(Base):
    """An entry of the adjudicator's queue: a region, object or slide that the rule leaves open.

    ``entropy`` (0 to 1) is that of the probabilities which order the queue; ``region`` numbers,
    within the run, the place that neighbouring disputes form together. Both are null in runs of
    a store that did not hold them yet.
    """

    __tablename__ = "disputes"
    __table_args__ = (Index(None, "run_id", "region"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("consensus_runs.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("consensus_items.id"), index=True)
    slide_id: Mapped[int] = mapped_column(ForeignKey("slides.id"), index=True)
    weight: Mapped[float]
    severity: Mapped[float]
    entropy: Mapped[float | None]
    region: Mapped[int | None]
    geometry: Mapped[bytes | None]
    reopened_because: Mapped[str | None]


class Decision(Base):
    """One answer to a dispute; ``answer`` is class, indeterminate, exclude or reopen."""

    __tablename__ = "decisions"

    id: Mapped[int] = mapped_column(primary_key=True)
    dispute_id: Mapped[int] = mapped_column(ForeignKey("disputes.id"), index=True)
    at: Mapped[datetime]
    by_id: Mapped[int | None] = mapped_column(ForeignKey("annotators.id"))
    answer: Mapped[str]
    path_class: Mapped[str | None] = mapped_column("class")
    reason: Mapped[str]
    inherited_from_id: Mapped[int | None] = mapped_column(ForeignKey("decisions.id"))


class Release(Base):
    """A run and its decisions up to an event, frozen as a training set."""

    __tablename__ = "releases"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("consensus_runs.id"))
    at: Mapped[datetime]
    up_to_event_id: Mapped[int] = mapped_column(ForeignKey("events.id"))
    manifest: Mapped[str]
    manifest_sha256: Mapped[str] = mapped_column(String(64))


class Model(Base):
    """A model that was trained on a release; written once, a row for each training.

    ``config`` says how, so far as the release does not; ``baseline_id`` is the model that learnt
    the majority's labels under the same settings. The package ``models`` writes these rows, and a
    trace from a model to its reads needs no more than them.
    """

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    at: Mapped[datetime]
    release_id: Mapped[int] = mapped_column(ForeignKey("releases.id"), index=True)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    method: Mapped[str]
    config: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    baseline_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))
    folder: Mapped[str]
    weights_sha256: Mapped[str] = mapped_column(String(64))
    software_version: Mapped[str]


class PatientPart(Base):
    """The part of the split that a patient belongs to, set once for the whole study.

    A slide without a patient stands for itself.
    """

    __tablename__ = "patient_parts"
    __table_args__ = (UniqueConstraint("patient_id"), UniqueConstraint("slide_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[int | None] = mapped_column(ForeignKey("patients.id"))
    slide_id: Mapped[int | None] = mapped_column(ForeignKey("slides.id"))
    part: Mapped[str]
    release_id: Mapped[int] = mapped_column(ForeignKey("releases.id"))


class PredictionRun(Base):
    """What models were asked to say of slides; written once, the slides stand by themselves.

    ``model_id`` is the first of ``members``, of which an ensemble has several. The package
    ``models`` writes these rows; what consensus and QuPath need of a prediction is in them.
    """

    __tablename__ = "prediction_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    at: Mapped[datetime]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), index=True)
    members: Mapped[list[Any]]
    settings: Mapped[dict[str, Any]]
    settings_sha256: Mapped[str] = mapped_column(String(64))
    folder: Mapped[str]
    software_version: Mapped[str]


class PredictedSlide(Base):
    """A slide of a prediction run: who works on it, and what came of it.

    ``state`` is ``waiting``, ``claimed``, ``done`` or ``failed``. A claim holds until
    ``claimed_until``; ``attempts`` counts them. ``reason`` says why a slide failed. ``result`` holds
    the scores; ``output_sha256`` and ``regions_sha256`` are those of the slide's files.
    """

    __tablename__ = "predicted_slides"
    __table_args__ = (UniqueConstraint("run_id", "slide_id"),)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("prediction_runs.id"))
    slide_id: Mapped[int] = mapped_column(ForeignKey("slides.id"), index=True)
    state: Mapped[str]
    attempts: Mapped[int]
    worker: Mapped[str | None]
    claimed_until: Mapped[datetime | None]
    reason: Mapped[str | None]
    finished_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    output_sha256: Mapped[str | None] = mapped_column(String(64))
    regions_sha256: Mapped[str | None] = mapped_column(String(64))
