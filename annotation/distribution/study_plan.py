"""A plan of who reads which slide, in which order, and what they read a second time.

Nothing here looks into a store: names go in, and reads come out, the same ones for the same seed.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from annotation.distribution.block_design import BlockDesign, balanced_blocks
from annotation.errors import InputError

__all__ = ["PlanRequest", "PlannedRead", "Replicates", "StudyPlan", "make_plan"]


@dataclass(frozen=True)
class Replicates:
    """How many of their own slides each annotator reads a second time, and how much later.

    ``share`` is a part of them, from 0 to 1; else ``count`` of them.
    """

    washout_days: int
    count: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str, washout_days: int) -> Replicates:
        """Read ``10`` (slides), ``10%`` or ``0.1`` (a share of them)."""
        try:
            if text.endswith("%"):
                share = float(text[:-1]) / 100
            elif "." in text:
                share = float(text)
            else:
                return cls(washout_days, count=_positive(int(text)))
            if not 0 < share <= 1:
                raise ValueError
        except ValueError:
            raise InputError(
                f"--replicates {text!r} is no number of slides and no share of them; write 10, "
                "10% or 0.1"
            ) from None
        return cls(washout_days, share=share)

    def of(self, annotator: str, slides: int) -> int:
        """How many of so many slides."""
        if self.count is None:
            return round((self.share or 0) * slides)
        if self.count > slides:
            raise InputError(
                f"annotator {annotator!r} reads {slides} slides, so --replicates {self.count} is too "
                "many; give a smaller number, or a share such as 10%",
                annotator=annotator,
            )
        return self.count


def _positive(number: int) -> int:
    if number < 1:
        raise ValueError
    return number


@dataclass(frozen=True)
class PlanRequest:
    """What is to be planned.

    Attributes
    ----------
    slides
        Names, each with the name of its site or None.
    start
        The day on which reading begins: washouts are counted from it.
    """

    protocol: str
    slides: Sequence[tuple[str, str | None]]
    annotators: Sequence[str]
    raters_per_slide: int
    seed: int
    start: date
    replicates: Replicates | None = None


@dataclass(frozen=True)
class PlannedRead:
    """One slide that one annotator is to read.

    ``order`` counts from 1 within an annotator's replicate. ``not_before`` is the first day on
    which a second reading can fall; handing it out counts the washout from the day of the first.
    """

    annotator: str
    order: int
    slide: str
    site: str | None
    replicate: int = 1
    washout_days: int | None = None
    not_before: date | None = None


@dataclass(frozen=True)
class StudyPlan:
    """All reads, by annotator, replicate and order, and the blocks they come from."""

    request: PlanRequest
    design: BlockDesign
    reads: tuple[PlannedRead, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan as a document."""
        people = self.request.annotators
        counts = self.design.pair_counts()
        shared = sorted(counts.values())
        return {
            "protocol": self.request.protocol,
            "slides": len(self.request.slides),
            "raters_per_slide": self.request.raters_per_slide,
            "seed": self.request.seed,
            "annotators": [
                {
                    "annotator": handle,
                    "slides": sum(r.replicate == 1 for r in self._of(handle)),
                    "replicates": sum(r.replicate > 1 for r in self._of(handle)),
                    "sites": dict(
                        Counter(r.site or "no site" for r in self._of(handle) if r.replicate == 1)
                    ),
                }
                for handle in people
            ],
            "pairs": {
                "min": shared[0] if shared else None,
                "max": shared[-1] if shared else None,
                "counts": [
                    {"a": people[a], "b": people[b], "slides": n} for (a, b), n in counts.items()
                ],
                "remark": self.design.remark(),
            },
            "reads": [vars(read).copy() for read in self.reads],
        }

    def _of(self, handle: str) -> list[PlannedRead]:
        return [read for read in self.reads if read.annotator == handle]


def make_plan(request: PlanRequest) -> StudyPlan:
    """Plan who reads what.

    Raises
    ------
    InputError
        The numbers don't fit each other, or a name stands twice.
    """
    _check(request)
    site_names = sorted({site or "" for _, site in request.slides})
    sites = [site_names.index(site or "") for _, site in request.slides]
    people = request.annotators
    design = balanced_blocks(sites, len(people), request.raters_per_slide, request.seed)
    rng = random.Random(f"order {request.seed}")  # noqa: S311 - an order, no secret
    own: list[list[int]] = [[] for _ in people]
    for slide, block in enumerate(design.blocks):
        for rater in block:
            own[rater].append(slide)
    repeats: Counter[int] = Counter()
    reads = []
    for handle, slides in zip(people, own, strict=True):
        reads += _in_order(request, handle, rng.sample(slides, len(slides)), 1)
        if request.replicates is not None:
            wanted = request.replicates.of(handle, len(slides))
            again = _repeated(slides, sites, wanted, repeats, rng)
            repeats.update(again)
            reads += _in_order(request, handle, rng.sample(again, len(again)), 2)
    return StudyPlan(request, design, tuple(reads))


def _check(request: PlanRequest) -> None:
    for what, names in (
        ("annotator", list(request.annotators)),
        ("slide", [name for name, _ in request.slides]),
    ):
        if not names:
            raise InputError(f"there is no {what} to plan for; name some with --{what}s")
        name, times = Counter(names).most_common(1)[0]
        if times > 1:
            raise InputError(f"{what} {name!r} is named twice; name each once")
    if not 1 <= request.raters_per_slide <= len(request.annotators):
        raise InputError(
            f"--raters-per-slide {request.raters_per_slide} does not fit "
            f"{len(request.annotators)} annotators; give 1 to {len(request.annotators)}"
        )
    if request.replicates is not None and request.replicates.washout_days < 0:
        raise InputError(
            f"--washout {request.replicates.washout_days} is negative; give days, 0 for none"
        )


def _in_order(
    request: PlanRequest, handle: str, slides: Sequence[int], replicate: int
) -> list[PlannedRead]:
    washout, day = None, None
    if replicate > 1 and request.replicates is not None:
        washout = request.replicates.washout_days
        day = request.start + timedelta(days=washout)
    return [
        PlannedRead(handle, place, *request.slides[slide], replicate, washout, day)
        for place, slide in enumerate(slides, start=1)
    ]


def _repeated(
    slides: Sequence[int],
    sites: Sequence[int],
    wanted: int,
    repeats: Counter[int],
    rng: random.Random,
) -> list[int]:
    """Slides to read again: of each site its share, and those first that nobody else repeats."""
    by_site: dict[int, list[int]] = defaultdict(list)
    for slide in slides:
        by_site[sites[slide]].append(slide)
    exact = {site: wanted * len(found) / len(slides) for site, found in by_site.items()}
    take = {site: int(share) for site, share in exact.items()}
    most_cut = sorted(exact, key=lambda site: (take[site] - exact[site], rng.random()))
    for site in most_cut[: wanted - sum(take.values())]:
        take[site] += 1
    again: list[int] = []
    for site, found in by_site.items():
        again += sorted(found, key=lambda slide: (repeats[slide], rng.random()))[: take[site]]
    return again
