"""Which slides a model may be judged on: those of a part whose patients it has never seen."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import InputError, RefusedError
from annotation.tables import Slide
from models.datasets.releases import TrainingRelease
from models.model_file import ModelDescription
from models.training.learnable import TRAIN, VALIDATION

__all__ = ["require_unseen", "seen_note", "slides_of_part"]


def slides_of_part(
    described: ModelDescription, release: TrainingRelease, slides: Collection[str], part: str
) -> set[str]:
    """Those of some slides in a part: as the training has split the release, else the release's.

    A training that held a site out has a split of its own.
    """
    own = None
    if described.manifest_sha256 == release.manifest_sha256:
        own = described.split.get(part)
    if own is None:
        own = [slide.name for slide in release.slides if slide.part == part]
    return set(own) & set(slides)


def require_unseen(
    session: Session, described: ModelDescription, slides: Collection[str], *, model: str, part: str
) -> None:
    """Refuse slides that the model was trained on, or other slides of their patients.

    Raises
    ------
    RefusedError
        With the first of them.
    InputError
        There is no slide to judge the model on.
    """
    if not slides:
        raise InputError(
            f"the part {part!r} holds no slide that can be looked at; choose another --part, or a release "
            "with more patients",
            part=part,
        )
    trained = described.split.get(TRAIN, [])
    identities = _identities(session, {*trained, *slides})
    seen = {key for name in trained for key in identities[name]}
    for name in sorted(slides):
        if name in trained or seen & identities[name]:
            what = (
                "was trained on it" if name in trained else "was trained on slides of its patient"
            )
            raise RefusedError(
                f"slide {name!r} is no test of model {model!r}, which {what}; choose a part that it "
                "has not seen",
                slide=name,
                model=model,
            )


def seen_note(described: ModelDescription, part: str) -> str | None:
    """What the training has already taken from a part that it was not trained on."""
    if part == VALIDATION and described.training.get("metric") is not None:
        return (
            f"the training has kept the best of its epochs on the part {part}: these figures "
            "flatter the model"
        )
    return None


def _identities(session: Session, names: Collection[str]) -> dict[str, set[tuple[str, object]]]:
    """By what a slide is known: its name, its patient and its fingerprint."""
    found: dict[str, set[tuple[str, object]]] = {name: {("name", name)} for name in names}
    rows = session.execute(select(Slide.name, Slide.patient_id, Slide.fingerprint))
    for name, patient, fingerprint in rows:
        if name in found:
            found[name] |= {
                (kind, value)
                for kind, value in (("patient", patient), ("fingerprint", fingerprint))
                if value is not None
            }
    return found
