"""What is pushed of a prediction run: its slides that are done, and how their classes are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.class_mapping import trimmed_path_class
from annotation.errors import RefusedError
from annotation.protocol import Protocol
from annotation.push_result import listed
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Slide
from annotation.terminal import counted
from consensus.prediction_runs import find_prediction_run, prediction_origin
from consensus.tables import ConsensusRun, Model, PredictedSlide, PredictionRun, Release
from models.prediction.claims import DONE
from models.pushing.run_files import DoneSlide

__all__ = ["PredictedRun", "predicted_class", "predicted_run"]

BASE_CLASS = "Predicted"


@dataclass(frozen=True)
class PredictedRun:
    """A prediction run that may be pushed.

    Attributes
    ----------
    model
        Its name; of an ensemble, the names of all.
    weights_sha256
        Of each member.
    colors
        [r, g, b] by class, of those that the protocol gives one.
    left_out
        Names of slides that are not done.
    """

    name: str
    origin: str
    model: str
    weights_sha256: tuple[str, ...]
    settings_sha256: str
    colors: Mapping[str, list[int]]
    slides: list[DoneSlide]
    left_out: list[str]


def predicted_class(name: str) -> str:
    """The class of a prediction in QuPath: derived from one that no pathologist uses.

    QuPath hides and shows all that derive from ``Predicted`` together. No protocol knows that class,
    so that a prediction which a person moves or copies is stored, not rated, until that person gives
    it a class of the protocol.
    """
    return trimmed_path_class(f"{BASE_CLASS}: {name}")


def predicted_run(
    session: Session, given: str, *, allow_missing: bool, revert: bool
) -> PredictedRun:
    """The run of this name or number.

    Parameters
    ----------
    revert
        It is to be taken back, which nothing forbids.

    Raises
    ------
    UnknownNameError
        There is none.
    RefusedError
        A slide of it is not done and that is not allowed, none is, or the protocol would take a
        prediction for somebody's answer.
    """
    run = find_prediction_run(session, given)
    protocol = _protocol(session, run)
    slides, missing = _slides(session, run)
    if not revert and (not slides or (missing and not allow_missing)):
        instead = "" if not slides else ", or pass --allow-missing"
        raise RefusedError(
            f"{counted(len(missing), 'slide')} of prediction run {run.name!r} not done "
            f"({listed(missing) or 'it has none'}); run `pathquorum predict` again{instead}",
            run=run.name,
        )
    classes = {name for slide in slides for name in slide.result["classes"]}
    for name in sorted(classes):
        mapping = protocol.map_class(predicted_class(name))
        if not revert and mapping.kind in ("class", "domain"):
            raise RefusedError(
                f"protocol {protocol.name!r} would take {predicted_class(name)!r} for a person's "
                f"{mapping.name or 'domain'!r}, so predictions can't be told from answers; rename its "
                f"class or pattern {BASE_CLASS!r} in a new version",
                protocol=protocol.name,
            )
    colors = {one.name: one.rgb for one in protocol.classes}
    return PredictedRun(
        name=run.name,
        origin=prediction_origin(run),
        model=", ".join(member["model"] for member in run.members),
        weights_sha256=tuple(member["weights_sha256"] for member in run.members),
        settings_sha256=run.settings_sha256,
        colors={name: list(rgb) for name, rgb in colors.items() if rgb is not None},
        slides=slides,
        left_out=missing,
    )


def _protocol(session: Session, run: PredictionRun) -> Protocol:
    model = session.get_one(Model, run.model_id)
    release = session.get_one(Release, model.release_id)
    consensus = session.get_one(ConsensusRun, release.run_id)
    return protocol_of(session.get_one(ProtocolVersion, consensus.protocol_id))


def _slides(session: Session, run: PredictionRun) -> tuple[list[DoneSlide], list[str]]:
    done: list[DoneSlide] = []
    missing: list[str] = []
    rows = session.execute(
        select(Slide, PredictedSlide)
        .join(PredictedSlide, PredictedSlide.slide_id == Slide.id)
        .where(PredictedSlide.run_id == run.id)
        .order_by(Slide.name)
    )
    for slide, row in rows:
        if row.state != DONE or row.result is None:
            missing.append(slide.name)
            continue
        done.append(
            DoneSlide(
                slide.id,
                slide.name,
                Path(run.folder),
                row.result,
                row.output_sha256,
                row.regions_sha256,
            )
        )
    return done, missing
