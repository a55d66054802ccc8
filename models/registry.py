"""Trained models on record: which weights came from which release, and how.

Nothing here needs torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import ConflictError, InputError
from annotation.lookup import unknown
from annotation.store import now
from consensus.tables import Model, Release

if TYPE_CHECKING:
    from models.model_file import ModelDescription

__all__ = ["MODEL_TRAINED", "find_model", "register_model", "require_free"]

MODEL_TRAINED = "model trained"


def require_free(session: Session, name: str) -> None:
    """Refuse a name that no model can be given.

    Raises
    ------
    InputError
        It is blank.
    ConflictError
        A model bears it.
    """
    if not name.strip():
        raise InputError("a model needs a name; write `pathquorum train --name NAME`")
    if session.scalar(select(Model.id).where(Model.name == name)) is not None:
        raise ConflictError(
            f"a model named {name!r} exists already; models never change, choose another --name",
            model=name,
        )


def register_model(
    session: Session,
    name: str,
    release: Release,
    description: ModelDescription,
    folder: Path,
    *,
    baseline: Model | None = None,
) -> Model:
    """Put a model that lies in a folder on record, with an event in the trail.

    Parameters
    ----------
    baseline
        What learnt the majority's labels under the same settings.

    Raises
    ------
    InputError, ConflictError
        As :func:`require_free` says.
    """
    require_free(session, name)
    row = Model(
        name=name,
        at=now(),
        release_id=release.id,
        manifest_sha256=description.manifest_sha256,
        method=description.method,
        config=_config(description),
        metrics=description.metrics,
        baseline_id=None if baseline is None else baseline.id,
        folder=str(folder.resolve()),
        weights_sha256=description.weights_sha256,
        software_version=description.code_version,
    )
    session.add(row)
    session.flush()
    record(
        session,
        actor=None,
        action=MODEL_TRAINED,
        subject=f"model:{row.id}",
        new={
            "name": name,
            "release": release.name,
            "manifest_sha256": row.manifest_sha256,
            "method": row.method,
            "config": row.config,
            "metrics": row.metrics,
            "baseline": None if baseline is None else baseline.name,
            "weights_sha256": row.weights_sha256,
        },
    )
    return row


def find_model(session: Session, name: str) -> Model:
    """The model of this name.

    Raises
    ------
    UnknownNameError
        There is none.
    """
    found = session.scalars(select(Model).where(Model.name == name)).first()
    if found is None:
        raise unknown(
            "model", name, session.scalars(select(Model.name)), "train one with `pathquorum train`"
        )
    return found


def _config(description: ModelDescription) -> dict[str, Any]:
    return {
        "architecture": description.architecture,
        "arguments": description.arguments,
        "classes": description.classes,
        "ordered": description.ordered,
        "input": description.input,
        "training": description.training,
        "augmentation": description.augmentation,
        "notes": description.notes,
    }
