"""Encoders that were fine-tuned with labels: what is held out must not have taught them.

`tune` notes in the trail which slides taught an encoder. Whoever trains on its features holds its own
split against that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import RefusedError
from annotation.tables import Event
from models.encoders.encoder import FINE_TUNED
from models.training.learnable import TRAIN
from models.training.tuning_run import ENCODER_TUNED

__all__ = ["require_untaught"]


def require_untaught(
    session: Session, goes_in: Mapping[str, Any], split: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Refuse features of an encoder that slides outside the training part have taught.

    Parameters
    ----------
    goes_in
        What goes into the model, see :class:`models.model_file.ModelDescription`.
    split
        The slides of each part.

    Returns
    -------
    tuple of str
        What a reader of the model's card must know.

    Raises
    ------
    RefusedError
        With the slide, and the part it stands in.
    """
    if goes_in.get("encoder_weights") != FINE_TUNED:
        return ()
    taught: set[str] | None = None
    for event in session.scalars(select(Event).where(Event.action == ENCODER_TUNED)):
        new = event.new or {}
        if new.get("encoder_sha256") == goes_in["encoder_sha256"]:
            taught = (taught or set()) | set(new["split"].get(TRAIN, ()))
    if taught is None:
        return (
            "the encoder was fine-tuned with labels of slides that this store doesn't know of; only "
            "slides that it wasn't trained on show what a model by it is worth",
        )
    for part, slides in split.items():
        seen = sorted(taught & set(slides))
        if part != TRAIN and seen:
            raise RefusedError(
                f"slide {seen[0]!r} stands in {part}, and the encoder was fine-tuned on it; tune an "
                "encoder without it (`tune --leave-out-site`), or train with the split it was tuned "
                "with",
                slide=seen[0],
                part=part,
            )
    return ("the encoder was fine-tuned with labels of the training part",)
