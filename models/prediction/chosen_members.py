"""The models that shall predict: on record, and as they lie in their folders now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import InputError, RefusedError
from consensus.tables import Model
from models.errors import ModelFileError
from models.model_file import DESCRIPTION, ModelDescription, read_description
from models.prediction.work_order import Member
from models.registry import find_model

__all__ = ["choose_members"]


def choose_members(
    session: Session, given: Sequence[str]
) -> tuple[tuple[Member, ...], list[ModelDescription]]:
    """Models by their folders or names; their weights are not read yet.

    Raises
    ------
    UnknownNameError
        It is neither.
    RefusedError
        A folder's model is not on record, so that nobody could tell where a prediction came from.
    ModelFileError
        What lies in the folder is no model, or not the one on record.
    InputError
        One is named twice.
    """
    found = [_choose(session, text) for text in given]
    members = tuple(member for member, _ in found)
    for member in members:
        if [one.weights_sha256 for one in members].count(member.weights_sha256) > 1:
            raise InputError(
                f"the model {member.name!r} is named twice; an ensemble needs different ones",
                model=member.name,
            )
    return members, [description for _, description in found]


def _choose(session: Session, given: str) -> tuple[Member, ModelDescription]:
    folder = Path(given)
    if (folder / DESCRIPTION).is_file():
        description = read_description(folder)
        row = session.scalars(
            select(Model).where(Model.weights_sha256 == description.weights_sha256)
        ).first()
        if row is None:
            raise RefusedError(
                f"the model in {folder} is not on record in this store; pass the --store in which "
                "it was trained",
                path=folder,
            )
    else:
        row = find_model(session, given)
        folder = Path(row.folder)
        description = read_description(folder)
        if description.weights_sha256 != row.weights_sha256:
            raise ModelFileError(
                f"the model in {folder} is not the one on record as {given!r}: the weights differ; "
                "give the folder of the model you mean",
                model=given,
                path=folder,
            )
    return (
        Member(
            row.name, folder.resolve(), description.weights_sha256, float(description.temperature)
        ),
        description,
    )
