"""What a run that was stopped while it wrote has left beside a project, and how it is cleared.

Old files go back where it was half-way. What somebody saved since then, or at the very moment, is
never written over.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from annotation.errors import SourceError
from annotation.projects.folder_exchange import digest_of, files_below

__all__ = [
    "EXCHANGING",
    "HIDDEN",
    "JOURNAL",
    "Recovered",
    "Replaced",
    "bring_saved",
    "put_back",
    "recover",
    "recovery_notes",
    "saved_in",
]

HIDDEN = ".pathquorum-push"
JOURNAL = "journal.json"
"""Stands while files are replaced one by one; the old ones lie in ``old``."""
EXCHANGING = "exchanging.json"
"""Stands while whole folders exchange their names; the other one is ``whole``."""


class Replaced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SHA-256 of a file before it is replaced and after; ``was`` is None where there was none."""

    was: str | None
    now: str


class Recovered(msgspec.Struct, frozen=True):
    """What a run that was stopped had left.

    ``saved`` names the images, by number, that somebody saved since, or at that moment: they are as
    they were saved.
    """

    anything: bool
    saved: tuple[str, ...] = ()


def recover(project: Path) -> Recovered:
    """Clear what a run that was stopped has left, putting old files back where it was half-way.

    Raises
    ------
    SourceError
        What was left can't be understood; nothing of it is touched.
    """
    hidden, data = project.parent / HIDDEN, project.parent / "data"
    if not hidden.exists():
        return Recovered(False)
    saved = put_back(hidden, data)
    whole = hidden / "whole"
    if (hidden / EXCHANGING).exists() and whole.exists():
        exchanging = _read(hidden / EXCHANGING)
        ours = [n for n, one in exchanging.items() if digest_of(whole / n) == one.now]
        found = saved_in(whole, data, {n: one.was for n, one in exchanging.items()})
        saved += bring_saved(whole, data, [name for name in found if name not in ours])
    for name in (JOURNAL, EXCHANGING):
        (hidden / name).unlink(missing_ok=True)
    shutil.rmtree(hidden)
    return Recovered(True, tuple(saved))


def recovery_notes(left: Recovered) -> list[str]:
    """What a person is told of it."""
    notes = ["what a push that was stopped had left was cleared away"] if left.anything else []
    if left.saved:
        notes.append(
            f"image {', '.join(left.saved)} (by number) was saved after that push, and stays as saved"
        )
    return notes


def put_back(hidden: Path, data: Path) -> list[str]:
    """Put old files back image by image; returns those images that were saved since, and stay."""
    journal = hidden / JOURNAL
    if not journal.exists():
        return []
    replaced = _read(journal)
    images: dict[str, list[str]] = defaultdict(list)
    for name in replaced:
        if data.resolve() in (data / name).resolve().parents:
            images[name.partition("/")[0]].append(name)
    kept: list[str] = []
    for image, names in images.items():
        if any(digest_of(data / n) not in (replaced[n].was, replaced[n].now) for n in names):
            kept.append(image)
        else:
            _put_back_image(hidden / "old", data, names, replaced)
    return kept


def _put_back_image(
    old: Path, data: Path, names: Sequence[str], replaced: Mapping[str, Replaced]
) -> None:
    for name in names:
        target, was = data / name, replaced[name].was
        if was is None:
            target.unlink(missing_ok=True)
        elif digest_of(target) != was:
            # A copy, so that being stopped here as well leaves what is needed to try again.
            temporary = target.with_name(target.name + ".restored")
            shutil.copy2(old / name, temporary)
            temporary.replace(target)


def saved_in(aside: Path, data: Path, known: Mapping[str, str | None]) -> list[str]:
    """Files of a folder that has left its place which the one in its place does not have.

    Parameters
    ----------
    aside, data
        The folder that left, and the one that came.
    known
        SHA-256 that files in ``aside`` should have, by path; all others should be the same file in
        both.
    """
    found = []
    for path in files_below(aside):
        name = path.relative_to(aside).as_posix()
        if name in known:
            same = digest_of(path) == known[name]
        else:
            other = data / name
            same = os.path.lexists(other) and os.path.samestat(path.lstat(), other.lstat())
        if not same:
            found.append(name)
    return found


def bring_saved(aside: Path, data: Path, names: Sequence[str]) -> list[str]:
    """Bring what was saved into its place, whole images, where it is newer; returns their numbers."""
    newer = [name for name in names if _is_newer(aside / name, data / name)]
    images = sorted({name.partition("/")[0] for name in newer})
    for image in images:
        for path in files_below(aside / image):
            target = data / path.relative_to(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    return images


def _is_newer(one: Path, other: Path) -> bool:
    return not os.path.lexists(other) or one.lstat().st_mtime_ns > other.lstat().st_mtime_ns


def _read(journal: Path) -> dict[str, Replaced]:
    try:
        return msgspec.json.decode(journal.read_bytes(), type=dict[str, Replaced])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        hidden = journal.parent
        raise SourceError(
            f"{journal} can't be read, and it tells which files a stopped push has replaced; the old "
            f"ones lie in {hidden / 'old'}, put them back by hand and remove {hidden}",
            file=journal,
        ) from None
