"""External validation: a site that the model has never seen, beside the sites that it comes from.

Patients of the two are different people, so that the drop is a difference of two samples: replicates
draw each by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotation.errors import InputError
from annotation.terminal import plain
from consensus.reporting.numbers import number_text
from consensus.statistics.clusters import few_clusters
from consensus.statistics.intervals import Drawn, Resampled
from consensus.statistics.statistic import Interval, Statistic
from models.datasets.releases import TrainingRelease
from models.evaluation.draws import Figure, PatientDraws

__all__ = ["Side", "drop", "external_document", "sides_of", "told_of_drop"]

LESS_IS_BETTER = frozenset({"nll", "brier"})


@dataclass(frozen=True, eq=False)
class Side:
    """The figures of the slides of one side, and the patients they are drawn by."""

    slides: Collection[str]
    draws: PatientDraws
    figures: Mapping[str, Figure]


def sides_of(
    release: TrainingRelease, slides: Collection[str], site: str, part: str
) -> tuple[set[str], set[str]]:
    """The slides of a site, and those of a part of the release from the other sites.

    The part is that of the release, which a training that held the site out took nothing of either.
    Patients who were also seen at the site, and slides of no known site, are on neither side.

    Raises
    ------
    InputError
        There is no such site, or nothing on one of the sides.
    """
    sites = sorted({slide.site for slide in release.slides if slide.site is not None})
    if site not in sites:
        known = ", ".join(repr(name) for name in sites) or "none"
        raise InputError(
            f"release {release.name!r} has no site {site!r}; --external takes one of: {known}",
            site=site,
        )
    outside = {slide.name for slide in release.slides if slide.site == site} & set(slides)
    there = {slide.subject for slide in release.slides if slide.site == site}
    home = {
        slide.name
        for slide in release.slides
        if slide.site not in (site, None) and slide.part == part and slide.subject not in there
    } & set(slides)
    for found, where in ((outside, f"site {site!r}"), (home, f"the part {part!r} of other sites")):
        if not found:
            raise InputError(
                f"{where} holds no slide that can be looked at, so there is nothing to hold against; "
                "choose another --external or --part"
            )
    return outside, home


def external_document(
    site: str,
    part: str,
    slides: tuple[Collection[str], Collection[str]],
    figures_of: Callable[[Collection[str], int], tuple[PatientDraws, Mapping[str, Figure]]],
) -> dict[str, Any]:
    """The figures of a site and of the other sites side by side, and by how much the first are worse.

    Parameters
    ----------
    slides
        From :func:`sides_of`.
    figures_of
        Patients and figures of some slides; the second argument is added to the seed, so that the
        two are not drawn alike.
    """
    outside, home = (Side(names, *figures_of(names, number)) for number, names in enumerate(slides))
    return {
        "site": site,
        "part": part,
        "outside": _told(outside),
        "home": _told(home),
        "drop": {name: drop(outside, home, name).to_dict() for name in outside.figures},
    }


def drop(outside: Side, home: Side, name: str) -> Statistic:
    """By how much a figure is worse outside than at home; below 0 it is better."""
    sign = -1.0 if name in LESS_IS_BETTER else 1.0
    one, other = (
        outside.draws.statistic(outside.figures[name]),
        home.draws.statistic(home.figures[name]),
    )
    if one.value is None or other.value is None:
        return Statistic.undefined((one if one.value is None else other).status.partition(": ")[2])
    value = sign * (other.value - one.value)
    patients = min(_patients(outside, name), _patients(home, name))
    status = few_clusters(patients)
    if not (len(outside.draws.often) and len(home.draws.often)):
        if not status.startswith("undefined"):
            status = "undefined: no bootstrap was asked for"
        return Statistic.of(value, Interval(status), interval_clusters=patients)
    drawn, alone = [], []
    for side, whole, toward in ((outside, other.value, -sign), (home, one.value, sign)):
        figure = side.figures[name]
        drawn.append(toward * figure.evaluate(side.draws.often))
        without = figure.evaluate(1.0 - np.eye(side.draws.n_patients))
        alone.append(toward * (without - whole))
    left_out = np.concatenate(alone)
    made = Resampled("patient", n_raters=0, asked=True, chosen="expanded")
    interval, beside = made.interval(
        Drawn(value, drawn[0] + drawn[1], left_out, np.ones(len(left_out), dtype=np.int64), None),
        patients,
    )
    return Statistic.of(value, interval, **beside)


def told_of_drop(external: Mapping[str, Any], kind: str, title: str) -> str:
    """The drop of a figure in plain words, claiming no more than its interval."""
    site, dropped = plain(external["site"]), external["drop"][kind]
    if dropped["value"] is None:
        return f"{title} at {site} can't be held against the other sites: {dropped['status']}"
    there, home = (_figure(external[side]["figures"][kind]) for side in ("outside", "home"))
    value = dropped["value"]
    way = "worse" if value > 0 else "better"
    told = f"{title} is {there} at {site} and {home} at the other sites: {number_text(abs(value))} {way}"
    low, high = dropped["ci_low"], dropped["ci_high"]
    if low is None:
        return f"{told}, without an interval ({dropped['ci_status']}): nothing is shown"
    told = f"{told}; the drop's 95 % interval is {number_text(low)} to {number_text(high)}"
    if low > 0:
        return f"{told}: the model does worse at {site}"
    if high < 0:
        return f"{told}: the model does better at {site}"
    return f"{told}: no drop is shown, and none is ruled out within it"


def _figure(statistic: Mapping[str, Any]) -> str:
    if statistic["ci_low"] is None:
        return number_text(statistic["value"])
    low, high = number_text(statistic["ci_low"]), number_text(statistic["ci_high"])
    return f"{number_text(statistic['value'])} ({low} to {high})"


def _told(side: Side) -> dict[str, Any]:
    return {
        "slides": len(side.slides),
        "patients": side.draws.n_patients,
        "figures": {
            name: one.to_dict() for name, one in side.draws.statistics(side.figures).items()
        },
    }


def _patients(side: Side, name: str) -> int:
    patients = side.figures[name].patients
    return side.draws.n_patients if patients is None else patients
