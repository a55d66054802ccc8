"""Writing objects for QuPath as GeoJSON, one file a slide, and taking them back.

What is written is recorded, so that it is known when it comes back in a pull and can be taken back
from where it was put. A file that is not ours, or that somebody changed, is never overwritten or
removed. Files and records come in together: each file is written beside its place, read back and
compared with what is stored before it is moved there.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.collector import collector_paused
from annotation.errors import ConflictError, InputError, RefusedError
from annotation.object_records import ObjectRecords
from annotation.push_records import nothing_there
from annotation.push_result import PushResult, listed
from annotation.staged_files import SlideObjects, StagedFile, file_sha256, stage
from annotation.store import Store, now
from annotation.tables import PushedObject, Slide

__all__ = ["push_to_folder", "revert_from_folder"]

_AT_ONCE = 2_000


def push_to_folder(
    store: Store,
    folder: Path,
    origin: str,
    slides: Iterable[SlideObjects],
    *,
    compress: bool = False,
) -> PushResult:
    """Write the objects of some slides into a folder, or nothing at all.

    Parameters
    ----------
    folder
        Made where it is missing.
    origin
        Where the objects come from, such as ``run/3``; the key under which they are taken back.
    slides
        Those without objects get no file.
    compress
        Write ``.geojson.gz``.

    Raises
    ------
    ConflictError
        A file of that name is not ours, was changed, or holds something else of ours.
    RefusedError
        What was written or stored reads back otherwise.
    """
    folder = _folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    result = PushResult()
    with ExitStack() as undo, tempfile.TemporaryDirectory(dir=folder, prefix=".push.") as hidden:
        staged = [
            stage(folder, Path(hidden), slide, compress=compress)
            for slide in slides
            if len(slide.objects)
        ]
        with store.writing() as session:
            new, lost = [], []
            for file in staged:
                known = _known(session, file)
                if known is None:
                    _check_unclaimed(file)
                    new.append(file)
                elif _stands(file, known, origin):
                    result.skipped += len(file.records)
                else:
                    lost.append(file)
                result.targets.append(str(file.path))
            result.notes += _displaced(session, [file.slide_id for file in staged])
            if new or lost:
                with collector_paused():
                    _store_objects(session, origin, new, lost)
            for file in (*new, *lost):
                result.pushed += len(file.records)
                if not file.path.exists():
                    undo.callback(file.path.unlink, missing_ok=True)
                    file.temporary.chmod(0o644)
                    file.temporary.replace(file.path)
        undo.pop_all()
    return result


def _displaced(session: Session, slides: Sequence[int]) -> list[str]:
    """A note for each slide of which QuPath's OpenSlide reader shows a part only."""
    found = session.scalars(select(Slide).where(Slide.id.in_(slides)).order_by(Slide.name))
    return [
        f"QuPath's OpenSlide reader shows of slide {slide.name!r} only what was scanned, from x "
        f"{slide.bounds[0]}, y {slide.bounds[1]} on, and a GeoJSON file lies that far off there; push "
        "into the project instead"
        for slide in found
        if slide.bounds not in (None, [0, 0, slide.width_px, slide.height_px])
    ]


def revert_from_folder(store: Store, folder: Path, origin: str) -> PushResult:
    """Remove from a folder what was pushed there from an origin, all of it or nothing.

    Raises
    ------
    UnknownNameError
        Nothing of that origin was pushed there.
    RefusedError
        A file was changed since; it and all others stay.
    """
    folder = _folder(folder)
    with ExitStack() as undo, store.writing() as session:
        files = {
            Path(target): sha256
            for target, sha256 in session.execute(
                select(PushedObject.target, PushedObject.file_sha256)
                .where(PushedObject.origin == origin, PushedObject.reverted_at.is_(None))
                .distinct()
            )
            if Path(target).parent == folder
        }
        if not files:
            raise nothing_there(origin, folder)
        present = [path for path in sorted(files) if path.exists()]
        changed = [path.name for path in present if file_sha256(path) != files[path]]
        if changed:
            raise RefusedError(
                f"{listed(changed)} in {folder} changed since the push, so nothing was removed; "
                "move what was changed elsewhere and revert again",
                changed=changed,
            )
        ours = (
            PushedObject.origin == origin,
            PushedObject.target.in_([str(path) for path in files]),
            PushedObject.reverted_at.is_(None),
        )
        objects = session.scalar(select(func.count()).select_from(PushedObject).where(*ours)) or 0
        session.execute(
            update(PushedObject).where(*ours).values(reverted_at=now()),
            execution_options={"synchronize_session": False},
        )
        record(
            session,
            actor=None,
            action="push reverted",
            subject=f"push:{origin}",
            old={"objects": objects, "files": {p.name: files[p] for p in sorted(files)}},
            new={"objects": 0, "folder": str(folder)},
        )
        aside = [undo.enter_context(_set_aside(path)) for path in present]
    for path in aside:
        path.unlink()
    return PushResult(reverted=objects, targets=[str(path) for path in sorted(files)])


def _folder(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give --to a folder, it gets one file a slide")
    return folder.resolve()


@dataclass(frozen=True)
class _Known:
    """What is on record of a file: whose objects it holds, and its SHA-256."""

    origin: str
    file_sha256: str


def _in_force(file: StagedFile) -> tuple[ColumnElement[bool], ...]:
    return (
        PushedObject.slide_id == file.slide_id,
        PushedObject.target == str(file.path),
        PushedObject.reverted_at.is_(None),
    )


def _known(session: Session, file: StagedFile) -> _Known | None:
    row = session.execute(
        select(PushedObject.origin, PushedObject.file_sha256).where(*_in_force(file)).limit(1)
    ).first()
    return None if row is None else _Known(*row)


def _check_unclaimed(file: StagedFile) -> None:
    """Refuse a file that somebody else put there.

    One with the very bytes that we are about to write is ours: a push that was killed left it.
    """
    if file.path.exists() and file_sha256(file.path) != file.sha256:
        raise ConflictError(
            f"{file.path} exists and was not pushed by this study, so it stays and nothing was "
            "pushed; choose another folder, or move it",
            target=file.path,
        )


def _stands(file: StagedFile, known: _Known, origin: str) -> bool:
    """Whether the file is there as it was pushed; refused where it is something else."""
    if known.origin != origin:
        raise ConflictError(
            f"{file.path} holds {known.origin}; take that back with `pathquorum push --revert`, "
            "or choose another folder",
            target=file.path,
        )
    if known.file_sha256 != file.sha256:
        raise ConflictError(
            f"{file.path} holds {origin} as it was before later decisions, or as other options draw "
            "it; take that back with `pathquorum push --revert`, then push again",
            target=file.path,
        )
    if not file.path.exists():
        return False
    if file_sha256(file.path) != file.sha256:
        raise ConflictError(
            f"{file.path} was changed since it was pushed, so it stays and nothing was pushed; "
            "move it, or choose another folder",
            target=file.path,
        )
    return True


def _store_objects(
    session: Session, origin: str, new: Sequence[StagedFile], lost: Sequence[StagedFile]
) -> None:
    """Record what is about to be in its place, and see that it is recorded."""
    # Into the table itself: the mapping would double the time that a million rows take.
    connection = session.connection()
    into = insert(PushedObject.metadata.tables[PushedObject.__tablename__])
    for file in new:
        for rows in file.rows(origin):
            connection.execute(into, rows)
    for file in (*new, *lost):
        if _stored(session, file) != file.records:
            raise RefusedError(
                f"the store does not hold what {file.path.name} holds, so nothing was pushed; "
                "check it with `pathquorum audit verify`",
                target=file.path,
            )
    record(
        session,
        actor=None,
        action="pushed",
        subject=f"push:{origin}",
        new={
            "objects": sum(len(file.records) for file in (*new, *lost)),
            "folder": str((*new, *lost)[0].path.parent),
            "files": {file.path.name: file.sha256 for file in (*new, *lost)},
        },
    )


def _stored(session: Session, file: StagedFile) -> ObjectRecords:
    """What the store holds of a file's objects, in the order in which they were written."""
    records = ObjectRecords()
    found = session.execute(
        select(PushedObject.uuid, PushedObject.path_class, PushedObject.geometry_digest)
        .where(*_in_force(file))
        .order_by(PushedObject.id)
        .execution_options(yield_per=_AT_ONCE)
    )
    for rows in found.partitions():
        records.add(*zip(*rows, strict=True))
    return records


@contextmanager
def _set_aside(path: Path) -> Iterator[Path]:
    """Hide a file under another name; it comes back if the block fails."""
    aside = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}.reverted")
    path.replace(aside)
    try:
        yield aside
    except BaseException:
        aside.replace(path)
        raise
