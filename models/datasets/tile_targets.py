"""What tiles of all kinds share: which slides have them, which of them to read, and their targets.

Shapes: n tiles that are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError, RefusedError
from models.datasets.releases import ReleasedSlide, TrainingRelease, targets_of
from models.errors import TileError
from models.labels.tiles import TileLabels
from models.targets import OPEN, Targets
from models.tiling.grid import TileGrid

__all__ = ["released_grids", "require_task", "targets_of_tiles"]


def require_task(release: TrainingRelease, task: str) -> None:
    """Refuse a release of another task."""
    if release.task != task:
        raise InputError(
            f"this needs a release of {task}, and {release.name!r} is of {release.task}; choose "
            "another release",
            release=release.name,
        )


def released_grids(
    release: TrainingRelease, grids: Mapping[str, TileGrid], *, allow_missing: bool
) -> tuple[list[ReleasedSlide], tuple[tuple[str, str], ...]]:
    """The slides that have tiles, and those left out with the reason.

    Raises
    ------
    TileError
        Slides have no tiles, all named; or their tiles were chosen by different settings.
    RefusedError
        Tiles of another file than the slide that was released.
    """
    missing = [slide.name for slide in release.slides if slide.name not in grids]
    if missing and not allow_missing:
        raise TileError(
            f"{len(missing)} of {len(release.slides)} slides have no tiles: "
            f"{', '.join(repr(name) for name in missing[:5])}; lay them, or leave the slides out "
            "with --allow-missing",
            slides=tuple(missing),
        )
    slides = [slide for slide in release.slides if slide.name in grids]
    if not slides:
        raise TileError(f"no slide of release {release.name!r} has tiles")
    first = grids[slides[0].name]
    for slide in slides:
        grid = grids[slide.name]
        known = slide.fingerprint is not None and grid.fingerprint is not None
        if known and grid.fingerprint != slide.fingerprint:
            raise RefusedError(
                f"the tiles of slide {slide.name!r} were laid on another file than the one that was "
                "released: the fingerprints differ; lay them again",
                slide=slide.name,
            )
        if grid.settings.sha256 != first.settings.sha256:
            raise TileError(
                f"the tiles of slides {slides[0].name!r} and {slide.name!r} have different "
                "settings; lay all in one way",
                slide=slide.name,
            )
    return slides, tuple((name, "it has no tiles") for name in missing)


def targets_of_tiles(
    release: TrainingRelease, slides: Sequence[ReleasedSlide], labels: Sequence[TileLabels]
) -> tuple[Targets, NDArray[np.int64], NDArray[np.int64]]:
    """The tiles of which the consensus or a rater says anything, over all slides.

    Returns
    -------
    targets
        A tile weighs as much as it is labelled.
    slide, row : shape (n,)
        Which of the slides each tile lies on, and which of that slide's tiles it is.

    Raises
    ------
    TileError
        There is no such tile.
    """
    rows = [
        np.flatnonzero((of_slide.labelled > 0) | (of_slide.votes != OPEN).any(axis=1))
        for of_slide in labels
    ]
    slide = np.repeat(np.arange(len(slides)), [len(row) for row in rows])
    if not len(slide):
        raise TileError(
            f"no tile of release {release.name!r} lies on anything that was rated; lay tiles where "
            "something was",
            release=release.name,
        )
    kept = list(zip(labels, rows, strict=True))
    targets = targets_of(
        release,
        slides,
        slide,
        posterior=np.concatenate([of_slide.posterior[row] for of_slide, row in kept]),
        hard=np.concatenate([of_slide.hard[row] for of_slide, row in kept]),
        votes=np.concatenate([of_slide.votes[row] for of_slide, row in kept]),
        weight=np.concatenate([of_slide.labelled[row] for of_slide, row in kept]),
        decided=np.concatenate([of_slide.decided[row] for of_slide, row in kept]),
    )
    return targets, slide, np.concatenate(rows)
