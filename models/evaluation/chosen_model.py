"""The model that is asked for: a folder, or the name of one on record, with its baseline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from consensus.tables import Model
from models.errors import ModelFileError
from models.model_file import DESCRIPTION, TrainedModel, load_model
from models.registry import find_model

__all__ = ["ChosenModel", "baseline_of", "choose_model"]


@dataclass(frozen=True)
class ChosenModel:
    """A model in its folder; ``row`` is its record in the store, where there is one."""

    name: str
    folder: Path
    trained: TrainedModel
    row: Model | None


def choose_model(session: Session, given: str, device: str) -> ChosenModel:
    """Load the model in a folder, or of a name.

    Raises
    ------
    UnknownNameError
        It is neither.
    ModelFileError
        What lies in the folder is no model, or not the one on record.
    """
    folder = Path(given)
    if (folder / DESCRIPTION).is_file():
        trained = load_model(folder, device=device)
        row = session.scalars(
            select(Model).where(Model.weights_sha256 == trained.description.weights_sha256)
        ).first()
        return ChosenModel(folder.resolve().name if row is None else row.name, folder, trained, row)
    row = find_model(session, given)
    folder = Path(row.folder)
    trained = load_model(folder, device=device)
    if trained.description.weights_sha256 != row.weights_sha256:
        raise ModelFileError(
            f"the model in {folder} is not the one on record as {given!r}: the weights differ; "
            "give the folder of the model you mean",
            model=given,
            path=folder,
        )
    return ChosenModel(row.name, folder, trained, row)


def baseline_of(
    session: Session, model: ChosenModel, given: str | None, device: str
) -> ChosenModel | None:
    """The baseline that is asked for, or that is on record for a model; None where there is none."""
    if given is not None:
        return choose_model(session, given, device)
    if model.row is None or model.row.baseline_id is None:
        return None
    return choose_model(session, session.get_one(Model, model.row.baseline_id).name, device)
