"""A prediction run: a folder and a row that belong together, for these models, settings and slides.

A run that exists goes on where it was. It takes further slides, and nothing else that is other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import ConflictError, InputError, RefusedError
from annotation.paths import replacing
from annotation.store import SOFTWARE_VERSION, Store, now
from annotation.tables import Slide
from consensus.tables import Model, PredictedSlide, PredictionRun
from models.errors import ModelFileError
from models.prediction.claims import DONE, FAILED, WAITING
from models.prediction.slide_work import regions_path, slide_path
from models.prediction.work_order import Member

__all__ = ["PREDICTION_RUN", "RUN_FILE", "BegunRun", "begin_run", "find_run"]

PREDICTION_RUN = "prediction run"
RUN_FILE = "run.json"
FORMAT = "pathquorum-prediction-run/1"
_LARGEST_BYTES = 1 << 20
_NAMED = 3


class RunFile(msgspec.Struct, frozen=True):
    """What ``run.json`` says."""

    name: str
    members: list[dict[str, Any]]
    settings: dict[str, Any]
    settings_sha256: str
    software_version: str
    format: str = FORMAT


@dataclass(frozen=True)
class BegunRun:
    """A run that is ready to be worked on.

    Attributes
    ----------
    added, again
        Slides that are new to it; slides that are predicted once more, since they had failed or
        their files are gone.
    """

    id: int
    name: str
    folder: Path
    added: int
    again: int


def find_run(session: Session, name: str) -> PredictionRun | None:
    """The run of this name, if there is one."""
    return session.scalars(select(PredictionRun).where(PredictionRun.name == name)).first()


def begin_run(
    store: Store,
    folder: Path,
    members: Sequence[Member],
    settings: Mapping[str, Any],
    settings_sha256: str,
    slides: Sequence[int],
) -> BegunRun:
    """Put a run on record, or go on with the one that the folder holds.

    Parameters
    ----------
    settings
        How is predicted, as :meth:`PredictionSettings.to_dict` gives it.
    slides
        Keys of the slides.

    Raises
    ------
    ConflictError
        The folder holds something else, or its name is another run's.
    RefusedError
        The run was begun with other models, settings or slides; the message names what differs.
    """
    folder = folder.resolve()
    if not folder.name.strip():
        raise InputError(f"a run is called by its folder, and {str(folder)!r} has no name")
    wanted = RunFile(
        name=folder.name,
        members=[member.to_dict() for member in members],
        settings=dict(settings),
        settings_sha256=settings_sha256,
        software_version=SOFTWARE_VERSION,
    )
    there = _read(folder)
    with store.writing() as session:
        row = find_run(session, folder.name)
        _refuse_other_place(row, folder, there)
        if row is None:
            row = _new(session, wanted, folder, members[0])
        else:
            _refuse_other(row, wanted, members)
        added, again = _slides(session, row, folder, slides)
        # Within the transaction: without the file there is no run.
        if there is None:
            with replacing(folder / RUN_FILE) as temporary:
                encoded = msgspec.json.format(msgspec.json.encode(wanted), indent=2)
                temporary.write_bytes(encoded + b"\n")
        return BegunRun(row.id, row.name, folder, added, again)


def _read(folder: Path) -> RunFile | None:
    path = folder / RUN_FILE
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{str(folder)!r} is a file; give a folder for the run")
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
        found = msgspec.json.decode(content[:_LARGEST_BYTES], type=RunFile)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise ModelFileError(
            f"{path} is not what `pathquorum predict` wrote ({error}); choose another --to",
            path=path,
        ) from error
    if found.format != FORMAT:
        raise ModelFileError(
            f"{path} is of the format {found.format!r}, and this version writes {FORMAT!r}; choose "
            "another --to",
            path=path,
        )
    return found


def _refuse_other_place(row: PredictionRun | None, folder: Path, there: RunFile | None) -> None:
    if row is None and there is not None:
        raise ConflictError(
            f"{folder} holds the run {there.name!r}, which this store does not know; pass its "
            "--store, or choose another --to",
            folder=folder,
        )
    if row is None and folder.is_dir() and any(folder.iterdir()):
        raise ConflictError(
            f"{folder} is not empty and holds no run; choose another --to", folder=folder
        )
    if row is not None and Path(row.folder) != folder:
        raise ConflictError(
            f"a run named {row.name!r} lies in {row.folder}; go on with it there, or choose a "
            "folder of another name",
            run=row.name,
        )


def _new(session: Session, wanted: RunFile, folder: Path, first: Member) -> PredictionRun:
    model = session.scalars(select(Model).where(Model.name == first.name)).one()
    row = PredictionRun(
        name=wanted.name,
        at=now(),
        model_id=model.id,
        members=wanted.members,
        settings=wanted.settings,
        settings_sha256=wanted.settings_sha256,
        folder=str(folder),
        software_version=SOFTWARE_VERSION,
    )
    session.add(row)
    session.flush()
    record(
        session,
        actor=None,
        action=PREDICTION_RUN,
        subject=f"prediction:{row.id}",
        new={
            "name": row.name,
            "members": row.members,
            "settings": row.settings,
            "settings_sha256": row.settings_sha256,
        },
    )
    return row


def _refuse_other(row: PredictionRun, wanted: RunFile, members: Sequence[Member]) -> None:
    if row.members != wanted.members:
        before, asked = (
            ", ".join(_told(one) for one in members) for members in (row.members, wanted.members)
        )
        raise _other(row, f"the models {before}, now {asked}")
    if row.settings_sha256 != wanted.settings_sha256:
        names = sorted(row.settings.keys() | wanted.settings.keys())
        changed = [name for name in names if row.settings.get(name) != wanted.settings.get(name)]
        differing = "; ".join(
            f"{name} {row.settings.get(name)!r}, now {wanted.settings.get(name)!r}"
            for name in changed
        )
        raise _other(row, f"other settings: {differing}")
    if row.software_version != SOFTWARE_VERSION:
        raise _other(row, f"pathquorum {row.software_version}, now {SOFTWARE_VERSION}")


def _told(member: Mapping[str, Any]) -> str:
    return (
        f"{member['model']!r} ({member['weights_sha256'][:12]}, temperature "
        f"{member['temperature']:.4g})"
    )


def _slides(
    session: Session, row: PredictionRun, folder: Path, wanted: Sequence[int]
) -> tuple[int, int]:
    """Bring the run's slides up to those wanted; how many are new, and how many done again."""
    rows = {
        one.slide_id: one
        for one in session.scalars(select(PredictedSlide).where(PredictedSlide.run_id == row.id))
    }
    missing = rows.keys() - set(wanted)
    if missing:
        names = session.scalars(
            select(Slide.name).where(Slide.id.in_(sorted(missing))).order_by(Slide.id)
        ).all()
        named = ", ".join(map(repr, names[:_NAMED])) + (" ..." if len(names) > _NAMED else "")
        raise _other(row, f"slides that are not asked for now: {named}")
    again = 0
    on_record = session.execute(
        select(Slide.id, Slide.name)
        .join(PredictedSlide, PredictedSlide.slide_id == Slide.id)
        .where(PredictedSlide.run_id == row.id)
    )
    names_of = {key: name for key, name in on_record}  # noqa: C416 - rows are no pairs to dict()
    for slide_id, one in rows.items():
        reason = _why_again(one, folder, names_of[slide_id])
        if reason:
            again += 1
            one.state, one.attempts, one.reason, one.result = WAITING, 0, reason, None
            one.finished_at = one.output_sha256 = one.regions_sha256 = one.worker = None
    new = [key for key in wanted if key not in rows]
    session.add_all(
        PredictedSlide(run_id=row.id, slide_id=key, state=WAITING, attempts=0) for key in new
    )
    return len(new), again


def _why_again(one: PredictedSlide, folder: Path, name: str) -> str:
    if one.state == FAILED:
        return one.reason or ""
    if one.state == DONE:
        for path in (slide_path(folder, name), regions_path(folder, name)):
            if not path.is_file():
                return f"its file {path.name} is gone"
    return ""


def _other(row: PredictionRun, what: str) -> RefusedError:
    return RefusedError(
        f"the run {row.name!r} was begun with {what}; predict into another folder", run=row.name
    )
