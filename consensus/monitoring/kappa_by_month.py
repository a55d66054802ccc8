"""How agreement has gone from month to month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from annotation.tables import PullRead, Read, Slide
from consensus.agreement import agreement
from consensus.ratings import Ratings
from consensus.study.counted_reads import CountedRead

__all__ = ["kappa_by_month", "kappa_of", "last_reads"]


def last_reads(
    reads: Sequence[tuple[Read, Slide, str, PullRead]], counted: Sequence[CountedRead]
) -> dict[str, date]:
    """Of each slide the day of its last read that counts.

    Parameters
    ----------
    reads, counted
        All reads of a protocol version, and those of them that count.
    """
    counts = {read.read for read in counted}
    last: dict[str, date] = {}
    for read, slide, _, pulled in reads:
        if read.id in counts:
            last[slide.name] = max(last.get(slide.name, date.min), pulled.read_date)
    return last


def kappa_of(ratings: Ratings, weights: str) -> dict[str, Any]:
    """Kappa over all pairs and of each class."""
    found = agreement(ratings, weights=weights)
    return {
        "items": found.items,
        "weights": found.weights,
        "kappa_on": found.kappa_on,
        "overall": found.coefficients["cohen_pooled"].to_dict(),
        "per_class": {
            name: statistics["kappa"].to_dict() for name, statistics in found.per_class.items()
        },
    }


def kappa_by_month(
    ratings: Ratings, weights: str, last_read: Mapping[str, date]
) -> list[dict[str, Any]]:
    """Kappa on the slides of each month; a slide belongs to the month of its last read.

    Parameters
    ----------
    last_read
        From :func:`last_reads`.
    """
    by_month: dict[str, list[int]] = defaultdict(list)
    for number, name in enumerate(ratings.slide_names):
        by_month[last_read[name].strftime("%Y-%m")].append(number)
    return [
        {
            "month": month,
            "slides": len(slides),
            **kappa_of(_of_slides(ratings, slides), weights),
        }
        for month, slides in sorted(by_month.items())
    ]


def _of_slides(ratings: Ratings, slides: Sequence[int]) -> Ratings:
    assert ratings.slide is not None  # noqa: S101 - ratings of a store have slides
    kept = np.isin(ratings.slide, slides)
    return replace(
        ratings,
        items=tuple(np.array(ratings.items, dtype=object)[kept]),
        codes=ratings.codes[kept],
        weight=ratings.weight[kept],
        cluster=ratings.cluster[kept],
        slide=ratings.slide[kept],
        domain_um2=None if ratings.domain_um2 is None else float(ratings.weight[kept].sum()),
        notes=(),
    )
