"""A release as training sees it: its slides with patient, site and part, and the items on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.paths import inside
from consensus.consensus_items import ResolvedItem
from consensus.release import FrozenRelease, open_release
from models.targets import NO_SITE, Targets

__all__ = ["ReleasedSlide", "TrainingRelease", "open_training_release", "targets_of"]


@dataclass(frozen=True, slots=True)
class ReleasedSlide:
    """A slide of a release.

    Attributes
    ----------
    patient, site
        Or None where the study knows none.
    part
        Of the release's split.
    path, fingerprint
        Its image and that image's fingerprint, where there are any.
    width_px, height_px, mpp
        Its size and microns per pixel at level 0.
    """

    name: str
    patient: str | None
    site: str | None
    part: str
    path: str | None
    fingerprint: str | None
    width_px: int
    height_px: int
    mpp: float

    @property
    def subject(self) -> str:
        """Who must not stand in two parts: the patient, or the slide itself."""
        return f"slide {self.name}" if self.patient is None else self.patient


@dataclass(frozen=True)
class TrainingRelease:
    """A release that the store still gives. Items are read while the session lasts.

    Attributes
    ----------
    classes, raters
        The consensus run's.
    ordered
        Whether the classes are grades, the lowest first, with nothing unordered among them.
    reads_alone
        Whether what a person decided on a triage is left out of what the raters said.
    """

    frozen: FrozenRelease
    slides: tuple[ReleasedSlide, ...]
    classes: tuple[str, ...]
    ordered: bool
    raters: tuple[str, ...]
    reads_alone: bool = False

    @property
    def name(self) -> str:
        """The release's name."""
        return self.frozen.row.name

    @property
    def manifest_sha256(self) -> str:
        """The digest that names its content."""
        return self.frozen.row.manifest_sha256

    @property
    def task(self) -> str:
        """The protocol's: ``regions``, ``objects`` or ``slides``."""
        return self.frozen.consensus.protocol.task

    @property
    def ranks(self) -> tuple[float, ...]:
        """The order of the classes; NaN of those without."""
        protocol = self.frozen.consensus.protocol
        rank = dict(zip(protocol.class_names, protocol.ranks, strict=True))
        return tuple(rank.get(name, math.nan) for name in self.classes)

    @property
    def negative(self) -> str | None:
        """The class of what was rated and is no finding, where the task has one."""
        return self.frozen.consensus.protocol.negative

    def with_images_in(self, folder: Path | None) -> TrainingRelease:
        """The same with its images in a folder, under the names of their files; None: as it is."""
        if folder is None:
            return self
        return replace(self, slides=tuple(_below(folder, slide) for slide in self.slides))

    def items(self, slide: ReleasedSlide) -> list[ResolvedItem]:
        """What the consensus says of a slide."""
        consensus = self.frozen.consensus
        items = consensus.items(next(row for row in consensus.slides if row.name == slide.name))
        decided = self._decided_on(slide) if self.reads_alone else set()
        if not decided:
            return items
        return [
            replace(item, pattern={r: c for r, c in item.pattern.items() if r not in decided})
            for item in items
        ]

    def _decided_on(self, slide: ReleasedSlide) -> set[str]:
        """Whose rating of a slide is a decision; they have no read of it that counts."""
        counted = self.frozen.consensus.run.summary.get("ai_assisted", [])
        return {one["annotator"] for one in counted if one["slide"] == slide.name}


def open_training_release(
    session: Session, name: str, *, reads_alone: bool = False
) -> TrainingRelease:
    """Open a release to train on it.

    Parameters
    ----------
    reads_alone
        For figures of raters: without decisions that were counted as ratings.

    Raises
    ------
    RefusedError
        The store no longer gives what its manifest says.
    """
    frozen = open_release(session, name)
    frozen.require_unchanged()
    consensus = frozen.consensus
    places = {place["name"]: place for place in frozen.manifest["slides"]}
    protocol = consensus.protocol
    rank = dict(zip(protocol.class_names, protocol.ranks, strict=True))
    ranks = [rank.get(name, math.nan) for name in consensus.classes]
    return TrainingRelease(
        frozen=frozen,
        slides=tuple(
            ReleasedSlide(
                name=row.name,
                patient=places[row.name]["patient"],
                site=places[row.name]["site"],
                part=places[row.name]["part"],
                path=row.path,
                fingerprint=row.fingerprint,
                width_px=row.width_px,
                height_px=row.height_px,
                mpp=row.mpp,
            )
            for row in consensus.slides
        ),
        classes=consensus.classes,
        # Comparisons with the rank of an unordered class, which is NaN, don't hold.
        ordered=len(ranks) > 1 and all(low < high for low, high in pairwise(ranks)),
        raters=tuple(consensus.run.summary["raters"]),
        reads_alone=reads_alone,
    )


def targets_of(
    release: TrainingRelease,
    slides: Sequence[ReleasedSlide],
    slide: NDArray[np.int64],
    *,
    posterior: NDArray[np.float32],
    hard: NDArray[np.int64],
    votes: NDArray[np.int64],
    weight: NDArray[np.float32],
    decided: NDArray[np.bool_],
    names: tuple[str, ...] = (),
) -> Targets:
    """Targets with patient, site and part from the slides that their items lie on.

    Parameters
    ----------
    slide : shape (n,)
        Which of ``slides`` each item lies on.
    """
    groups = tuple(sorted({s.subject for s in release.slides}))
    sites = tuple(sorted({s.site for s in release.slides if s.site is not None}))
    group_code = {name: code for code, name in enumerate(groups)}
    site_code: dict[str | None, int] = {name: code for code, name in enumerate(sites)}
    group = np.array([group_code[s.subject] for s in slides], dtype=np.int64)
    site = np.array([site_code.get(s.site, NO_SITE) for s in slides], dtype=np.int64)
    part = np.array([s.part for s in slides], dtype=np.str_)
    return Targets(
        posterior=posterior,
        hard=hard,
        votes=votes,
        weight=weight,
        group=group[slide],
        site=site[slide],
        part=part[slide],
        classes=release.classes,
        ordered=release.ordered,
        raters=release.raters,
        decided=decided,
        names=names,
        groups=groups,
        sites=sites,
    )


def _below(folder: Path, slide: ReleasedSlide) -> ReleasedSlide:
    if slide.path is None:
        return slide
    return replace(slide, path=str(inside(folder, Path(slide.path).name)))
